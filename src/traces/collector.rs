//! A collector, and the connection to it: HTTP/2 for gRPC, else HTTP/1.1.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Status};

use super::options::{Protocol, TraceOptions};
use super::proto::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, METHOD,
};
use crate::channel::{Channel, Stream};
use crate::telemetry::build;
use crate::tls::{self, Hints};

/// The most bytes of an answer. It is a few as a rule.
const LONGEST_ANSWER: usize = 64 << 10;
/// The most characters of what a collector says that a line of the log shows.
const LONGEST_SHOWN: usize = 200;

/// How what is missed is said.
const HINTS: Hints = Hints {
    authority: "OTEL_EXPORTER_OTLP_CERTIFICATE=/certs/ca.crt",
    certificate: "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/certs/tls.crt OTEL_EXPORTER_OTLP_CLIENT_KEY=/certs/tls.key",
};

/// A collector. Its connection is opened when it is needed, and stays open.
#[derive(Debug)]
pub(super) struct Collector {
    options: Arc<TraceOptions>,
    connection: Option<Connection>,
}

/// Why a batch was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SendError {
    /// In words.
    pub(super) why: String,
    /// Whether the same batch may be taken later.
    pub(super) is_passing: bool,
    /// How long the collector wants to be left alone.
    pub(super) pause: Option<Duration>,
}

impl SendError {
    /// The collector could not be asked.
    pub(super) fn away(why: impl fmt::Display) -> Self {
        Self { why: why.to_string(), is_passing: true, pause: None }
    }
}

/// What a collector refused of a batch that it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) spans: u64,
    pub(super) why: String,
}

impl Collector {
    pub(super) fn new(options: Arc<TraceOptions>) -> Self {
        Self { options, connection: None }
    }

    /// Sends a batch, within the time of one try.
    pub(super) async fn send(&mut self, batch: &ExportTraceServiceRequest) -> Result<Refused, SendError> {
        let timeout = self.options.timeout;
        let sent = tokio::time::timeout(timeout, self.try_to_send(batch)).await;
        let sent = sent.unwrap_or_else(|_| Err(SendError::away(format!("no answer within {timeout:?}"))));
        if sent.as_ref().is_err_and(|error| error.is_passing) {
            // It may be what is wrong.
            self.connection = None;
        }
        sent
    }

    async fn try_to_send(&mut self, batch: &ExportTraceServiceRequest) -> Result<Refused, SendError> {
        // A collector may close a connection that rests.
        let connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => Connection::open(&self.options).await?,
        };
        let connection = self.connection.insert(connection);
        let answer = match &mut connection.sender {
            Sender::Http1(sender) => by_http(sender, &self.options, batch).await?,
            Sender::Http2(sender) => by_grpc(sender, &self.options, batch).await?,
        };
        let ExportTracePartialSuccess { rejected_spans, error_message } =
            answer.partial_success.unwrap_or_default();
        Ok(Refused { spans: u64::try_from(rejected_spans).unwrap_or_default(), why: shown(&error_message) })
    }
}

async fn by_http(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    options: &TraceOptions,
    batch: &ExportTraceServiceRequest,
) -> Result<ExportTraceServiceResponse, SendError> {
    let mut request = Request::new(Full::new(Bytes::from(batch.encode_to_vec())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = options.endpoint.path.parse().map_err(SendError::away)?;
    let headers = request.headers_mut();
    headers.insert(HOST, options.endpoint.authority().parse().map_err(SendError::away)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(USER_AGENT, user_agent());
    headers.extend(options.headers.iter().cloned());
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| SendError::away(hinted(&error, options.endpoint.port)))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if head.status.is_success() {
        // What cannot be read of an answer says nothing else than that the batch was taken.
        return Ok(ExportTraceServiceResponse::decode(body).unwrap_or_default());
    }
    let pause = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_passing = matches!(
        head.status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    Err(SendError {
        why: format!("it answered {}", head.status),
        is_passing,
        pause: pause.map(Duration::from_secs),
    })
}

async fn by_grpc(
    sender: &mut http2::SendRequest<Body>,
    options: &TraceOptions,
    batch: &ExportTraceServiceRequest,
) -> Result<ExportTraceServiceResponse, SendError> {
    let mut grpc = Grpc::with_origin(Channel(sender.clone()), origin(options)?);
    grpc.ready().await.map_err(|error| SendError::away(chain(&error)))?;
    let mut request = tonic::Request::new(batch.clone());
    let mut metadata = std::mem::take(request.metadata_mut()).into_headers();
    metadata.insert(USER_AGENT, user_agent());
    metadata.extend(options.headers.iter().cloned());
    *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(metadata);
    let codec = tonic_prost::ProstCodec::default();
    let answer = grpc.unary(request, PathAndQuery::from_static(METHOD), codec).await;
    answer.map(tonic::Response::into_inner).map_err(|status| of_grpc(&status))
}

fn of_grpc(status: &Status) -> SendError {
    // These, by the specification of OTLP.
    let is_passing = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            // As a proxy in between says that it did not get through.
            | Code::Unknown
    );
    let why = match status.source() {
        Some(source) => chain(source),
        None => format!("it answered {:?}: {}", status.code(), shown(status.message())),
    };
    SendError { why, is_passing, pause: None }
}

/// What went wrong in HTTP/1.1 with this port. One who speaks only HTTP/2 is for gRPC. It greets unasked: hyper reads that as an
/// answer it cannot parse or, where it came before the request was written, cancels the request.
fn hinted(error: &hyper::Error, port: u16) -> String {
    let why = chain(error);
    if error.is_parse() || error.is_canceled() || port == Protocol::Grpc.port() {
        return format!("{why}. A collector's port for gRPC needs `OTEL_EXPORTER_OTLP_PROTOCOL=grpc`");
    }
    why
}

fn user_agent() -> HeaderValue {
    let text = format!("spillway/{}", build::VERSION);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("spillway"))
}

fn origin(options: &TraceOptions) -> Result<Uri, SendError> {
    let scheme = if options.endpoint.is_tls { "https" } else { "http" };
    format!("{scheme}://{}", options.endpoint.authority()).parse().map_err(SendError::away)
}

/// An open connection. It is closed when this is dropped.
#[derive(Debug)]
struct Connection {
    sender: Sender,
    driver: AbortHandle,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Body>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(options: &TraceOptions) -> Result<Self, SendError> {
        let endpoint = &options.endpoint;
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let stream = stream.map_err(SendError::away)?;
        // A batch is written at once.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = if endpoint.is_tls {
            let protocol: &[u8] = if options.protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
            let config = options.tls.config(&[protocol]).map_err(SendError::away)?;
            let name = ServerName::try_from(endpoint.host.clone()).map_err(SendError::away)?;
            let connector = TlsConnector::from(Arc::new(config));
            Box::new(connector.connect(name, stream).await.map_err(|error| SendError::away(chain(&error)))?)
        } else {
            Box::new(stream)
        };
        let failed = |error| SendError::away(chain(&error));
        let io = TokioIo::new(stream);
        Ok(match options.protocol {
            Protocol::Grpc => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
                Self { sender: Sender::Http2(sender), driver: drive(connection) }
            }
            Protocol::Http => {
                let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
                Self { sender: Sender::Http1(sender), driver: drive(connection) }
            }
        })
    }

    fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }
}

/// What fails is said by the request that it fails.
fn drive(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> AbortHandle {
    let driven = async {
        let _ = connection.await;
    };
    tokio::spawn(driven).abort_handle()
}

fn chain(error: &(dyn Error + 'static)) -> String {
    tls::told(error, HINTS)
}

/// What a collector says, as far as a line of the log shows it.
fn shown(text: &str) -> String {
    crate::model::lossy(text.as_bytes()).chars().take(LONGEST_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// An empty SETTINGS frame, which a server of HTTP/2 sends first.
    const GREETING: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    #[tokio::test]
    async fn who_greets_in_http2_is_told_to_be_for_grpc_whenever_the_greeting_comes() {
        for greets_first in [true, false] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 10);
            if greets_first {
                theirs.write_all(&GREETING).await.unwrap();
            }
            let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
            let answer = sender.send_request(Request::new(Full::new(Bytes::new())));
            let _driver = drive(connection);
            let greets = async {
                if !greets_first {
                    tokio::task::yield_now().await;
                    theirs.write_all(&GREETING).await.unwrap();
                }
            };
            let why = hinted(&tokio::join!(answer, greets).0.unwrap_err(), 4318);
            assert!(why.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "{greets_first}: {why}");
        }
    }
}
