//! The baseline: what anyone gets from tonic with its defaults, answering a constant.

use std::error::Error;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// The argument that makes this program the baseline.
pub(crate) const ARGUMENT: &str = "--bare-tonic";

#[derive(Debug)]
struct Constant;

#[tonic::async_trait]
impl RateLimitService for Constant {
    async fn should_rate_limit(
        &self,
        _: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        Ok(Response::new(RateLimitResponse { overall_code: Code::Ok.into(), ..Default::default() }))
    }
}

/// Serves on a free port, which it says as Spillway does, until standard input ends: with the benchmark at the latest.
#[tokio::main]
pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    // `Server::serve` would do just this, but keep the port to itself.
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    eprintln!("listening for gRPC address={}", incoming.local_addr()?);
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    Server::builder()
        .add_service(RateLimitServiceServer::new(Constant))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
