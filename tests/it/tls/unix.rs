//! gRPC on a Unix socket.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use super::{POLICY, ask};
use crate::rls::{descriptor, request};
use crate::support::{Spillway, command, directory};

#[derive(Clone)]
struct Connector(PathBuf);

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}

fn client(path: &Path) -> Channel {
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(Connector(path.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_may_call_on_a_unix_socket() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let socket = config.path().join("grpc.sock");
    let by_flag = format!("unix:{}", socket.display());
    for is_flag in [true, false] {
        // Left by one that was killed.
        let _ = std::os::unix::net::UnixListener::bind(&socket);
        let mut serve = command(&["serve", "--http-addr", "127.0.0.1:0", "--config"]);
        serve.arg(config.path());
        if is_flag {
            serve.args(["--grpc-addr", &by_flag]);
        } else {
            serve.env("GRPC_UDS", &socket).env("GRPC_PORT", "1");
        }
        let mut spillway = Spillway::running(&mut serve);
        assert!(spillway.seen.iter().any(|line| line.contains(&format!("address={by_flag}"))));
        assert!(std::fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
        let channel = client(&socket);
        assert_eq!(ask(&channel).await, Ok(Code::Ok));
        let mut unknown = request(vec![descriptor(&[("key", "a")])]);
        unknown.domain = "elsewhere".into();
        RateLimitServiceClient::new(channel).should_rate_limit(unknown).await.unwrap();
        assert!(spillway.log_line("elsewhere").contains("peer=unix"));

        let mut second =
            command(&["serve", "--http-addr", "127.0.0.1:0", "--grpc-addr", &by_flag, "--config"]);
        let second = second.arg(config.path()).output().unwrap();
        let told = String::from_utf8(second.stderr).unwrap();
        let expected = format!("cannot listen for gRPC on `{by_flag}`: the address is in use");
        assert!(second.status.code() == Some(70) && told.contains(&expected), "{told}");

        spillway.signal("TERM");
        assert_eq!(spillway.wait().code(), Some(0));
        assert!(!socket.exists(), "it is removed");
    }
}
