//! The service as tonic serves it.
//!
//! Written by hand where a code generator would have written it, because the messages are our own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::{proto, wire};
use crate::clock::Clock;
use crate::engine::{self, Engine};
use crate::store::Store;

/// The service's full name, which health checks ask for too.
pub const NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// 200 descriptors with values of 50 KB fit; Envoy sends no more than its own header limit allows.
const LARGEST_MESSAGE: usize = 16 << 20;
const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Answers `ShouldRateLimit` from an engine.
#[derive(Debug)]
pub struct RateLimitService<S, C> {
    engine: Arc<Engine<S, C>>,
}

impl<S, C> RateLimitService<S, C> {
    /// The service that asks `engine`.
    pub fn new(engine: Arc<Engine<S, C>>) -> Self {
        Self { engine }
    }
}

impl<S, C> Clone for RateLimitService<S, C> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<S, C> NamedService for RateLimitService<S, C> {
    const NAME: &'static str = NAME;
}

impl<S: Store, C: Clock> RateLimitService<S, C> {
    async fn should_rate_limit(
        &self,
        message: proto::RateLimitRequest,
    ) -> Result<proto::RateLimitResponse, Status> {
        let request = wire::decode(&message)?;
        let policy = self.engine.policy();
        let verdict = self.engine.decide(&policy, &request).await.map_err(wire::unavailable)?;
        let answer = engine::answer(&policy, &request, &verdict);
        Ok(wire::encode(&verdict, answer))
    }
}

impl<S: Store, C: Clock> UnaryService<proto::RateLimitRequest> for RateLimitService<S, C> {
    type Response = proto::RateLimitResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<proto::RateLimitRequest>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.should_rate_limit(request.into_inner()).await.map(Response::new) })
    }
}

impl<S: Store, C: Clock> Service<http::Request<Body>> for RateLimitService<S, C> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != SHOULD_RATE_LIMIT {
            return Box::pin(no_such_method());
        }
        let service = self.clone();
        let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(LARGEST_MESSAGE);
        Box::pin(async move { Ok(grpc.unary(service, request).await) })
    }
}

fn no_such_method() -> Ready<Result<http::Response<Body>, Infallible>> {
    ready(Ok(Status::unimplemented("the service has one method, ShouldRateLimit").into_http()))
}
