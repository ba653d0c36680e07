//! The service's one method, from the bytes of a call to the bytes of its answer.
//!
//! Written by hand where a code generator and tonic's codec would have done it: the messages are our own, and a call is
//! one small message each way, so most of what it cost was the machinery for streams around it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use super::{proto, wire};
use crate::clock::Clock;
use crate::engine::{self, Engine};
use crate::store::Store;

/// The service's full name, which health checks ask for too.
pub const NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// 200 descriptors with values of 50 KB fit; Envoy sends no more than its own header limit allows.
const LARGEST_MESSAGE: usize = 16 << 20;
/// The method's path.
pub(super) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Before each message: whether it is compressed, and its length
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
const PREFIX: usize = 5;

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
    async fn answer(self, call: http::Request<Body>) -> Result<Bytes, Status> {
        let message = message(call.into_body()).await?;
        // Keys and values stay where they are in `message`; decoding copies none of them.
        let message = proto::RateLimitRequest::decode(message)
            .map_err(|error| Status::internal(format!("the request cannot be decoded: {error}")))?;
        let request = wire::decode(&message)?;
        let policy = self.engine.policy();
        let verdict = self.engine.decide(&policy, &request).await.map_err(wire::unavailable)?;
        let answer = engine::answer(&policy, &request, &verdict);
        framed(&wire::encode(&verdict, answer))
    }
}

impl<S: Store, C: Clock> Service<http::Request<Body>> for RateLimitService<S, C> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: http::Request<Body>) -> Self::Future {
        if call.uri().path() != SHOULD_RATE_LIMIT {
            return Box::pin(no_such_method());
        }
        let service = self.clone();
        Box::pin(async move {
            Ok(match service.answer(call).await {
                Ok(message) => response(message),
                Err(status) => status.into_http(),
            })
        })
    }
}

fn no_such_method() -> Ready<Result<http::Response<Body>, Infallible>> {
    ready(Ok(Status::unimplemented("the service has one method, ShouldRateLimit").into_http()))
}

/// The one message of a call, without its prefix.
async fn message(body: Body) -> Result<Bytes, Status> {
    let mut body = std::pin::pin!(body);
    let mut whole = Bytes::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        // What is not data is trailers, of which a call has none worth knowing.
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + data.len() > LARGEST_MESSAGE + PREFIX {
            let most = LARGEST_MESSAGE >> 20;
            return Err(Status::out_of_range(format!("a request has at most {most} MiB")));
        }
        // Nearly always the first piece is all there is.
        whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
    }
    let Some((&[compressed, a, b, c, d], rest)) = whole.split_first_chunk::<PREFIX>() else {
        return Err(Status::internal("the call has no message"));
    };
    if compressed != 0 {
        return Err(Status::unimplemented("compressed requests are not taken"));
    }
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(rest.len()) {
        return Err(Status::internal("the message is not as long as it says"));
    }
    Ok(whole.slice(PREFIX..))
}

/// A message behind its prefix.
fn framed(message: &proto::RateLimitResponse) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let told = u32::try_from(length).map_err(|_| Status::internal("the answer is too long"))?;
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(told);
    message.encode(&mut bytes).map_err(|error| Status::internal(error.to_string()))?;
    Ok(bytes.freeze())
}

fn response(message: Bytes) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Answer { message: Some(message), told: false }));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// One message, and the status OK behind it.
struct Answer {
    message: Option<Bytes>,
    told: bool,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.told, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.told
    }
}
