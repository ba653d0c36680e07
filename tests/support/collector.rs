//! A collector of OpenTelemetry's own messages, by gRPC and by HTTP, which does what a test tells it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;

use super::PATIENCE;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Takes,
    /// Takes it, and says that it dropped two spans of it.
    DropsTwo,
    /// Takes it never.
    Refuses,
    /// Not now.
    Unavailable,
    /// It is read, and never answered.
    Stalls,
}

/// A batch as it came.
pub(crate) struct Batch {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) path: String,
    pub(crate) request: ExportTraceServiceRequest,
}

impl Batch {
    /// The attributes of the server that sent it.
    pub(crate) fn resource(&self) -> HashMap<String, String> {
        attributes(&self.request.resource_spans[0].resource.as_ref().unwrap().attributes)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let scopes = self.request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

pub(crate) fn attributes(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

/// An id as people write it.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A collector that listens until it is dropped.
pub(crate) struct Collector {
    /// For gRPC.
    pub(crate) grpc: SocketAddr,
    /// For HTTP.
    pub(crate) http: SocketAddr,
    does: Arc<Mutex<Does>>,
    came: Receiver<Batch>,
    runtime: Option<Runtime>,
}

#[derive(Clone)]
struct Door {
    does: Arc<Mutex<Does>>,
    came: Sender<Batch>,
}

impl Door {
    async fn take(&self, batch: Batch) -> Result<ExportTraceServiceResponse, tonic::Status> {
        let does = *self.does.lock().unwrap();
        // A test that has ended does not ask.
        let _ = self.came.send(batch);
        match does {
            Does::Takes => Ok(ExportTraceServiceResponse::default()),
            Does::DropsTwo => Ok(ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: 2,
                    error_message: "spans of two years ago".into(),
                }),
            }),
            Does::Refuses => Err(tonic::Status::permission_denied("no such tenant")),
            Does::Unavailable => Err(tonic::Status::unavailable("come back later")),
            Does::Stalls => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl TraceService for Door {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = texts(&metadata.into_headers());
        self.take(Batch { headers, path: String::new(), request }).await.map(tonic::Response::new)
    }
}

fn texts(headers: &HeaderMap) -> HashMap<String, String> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

async fn by_http(State(door): State<Door>, request: axum::extract::Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap();
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let batch = Batch { headers: texts(&head.headers), path: head.uri.path().to_owned(), request };
    let (status, body) = match door.take(batch).await {
        Ok(answer) => (StatusCode::OK, answer.encode_to_vec()),
        Err(error) if error.code() == tonic::Code::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, Vec::new())
        }
        Err(_) => (StatusCode::FORBIDDEN, Vec::new()),
    };
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

fn listener(address: SocketAddr) -> TcpListener {
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    TcpListener::from_std(listener).unwrap()
}

impl Collector {
    /// One that takes everything, on ports of the system's choice.
    pub(crate) fn start() -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        Self::on(any, any)
    }

    /// The same on these ports.
    pub(crate) fn on(grpc: SocketAddr, http: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let (send, came) = channel();
        let does = Arc::new(Mutex::new(Does::Takes));
        let door = Door { does: Arc::clone(&does), came: send };
        // A test has a runtime of its own, in which it cannot wait for this one.
        let within = runtime.enter();
        let (by_grpc, for_http) = (listener(grpc), listener(http));
        let (grpc, http) = (by_grpc.local_addr().unwrap(), for_http.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(door.clone()));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(by_grpc)));
        let router = axum::Router::new().fallback(post(by_http)).with_state(door);
        runtime.spawn(async { axum::serve(for_http, router).await });
        drop(within);
        Self { grpc, http, does, came, runtime: Some(runtime) }
    }

    pub(crate) fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// The next batch.
    pub(crate) fn batch(&self) -> Batch {
        self.came.recv_timeout(PATIENCE).expect("a batch of spans")
    }

    /// So many spans, of as many batches as it takes.
    pub(crate) fn spans(&self, many: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < many {
            spans.extend(self.batch().spans());
        }
        spans
    }

    /// Whether nothing comes for so long.
    pub(crate) fn is_left_alone(&self, time: Duration) -> bool {
        matches!(self.came.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Its ports are free then. A test must not wait for a runtime within its own.
            let ended = std::thread::spawn(|| runtime.shutdown_timeout(PATIENCE));
            let _ = ended.join();
        }
    }
}
