//! The service's one method, from the bytes of a call to the bytes of its answer.
//!
//! Written by hand where a code generator and tonic's codec would have done it: the messages are our own, and a call is
//! one small message each way, so most of what it cost was the machinery for streams around it. A service belongs to one
//! thread, which writes its answers with one pen.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use tonic::Status;

use super::beyond::Undecided;
use super::decode::decode_in;
use super::encode::encode;
use crate::clock::Clock;
use crate::engine::{self, Desk, Engine, Room, Unmatched, Verdict};
use crate::model::{Descriptor, Request, recycled};
use crate::policy::Policy;
use crate::store::{Store, StoreError};
use crate::telemetry::{Metrics, SentLimitLeftOut, UnknownDomain, UnmatchedDescriptors};

/// The service's full name, which health checks ask for too.
pub const NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// The method's path.
pub(super) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Before each message: whether it is compressed, and its length
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
pub(super) const PREFIX: usize = 5;
/// Answers are cut from sheets of so many bytes, and a new one is taken when less than that is left: enough for nearly
/// every answer, and for those that are longer a sheet grows.
const SHEET: usize = 16 << 10;
const SHEET_LEFT: usize = 1 << 10;

/// Answers `ShouldRateLimit` from an engine.
#[derive(Debug)]
pub struct RateLimitService<S, C> {
    engine: Arc<Engine<S, C>>,
    metrics: Arc<Metrics>,
    pen: RefCell<Pen>,
}

impl<S, C> RateLimitService<S, C> {
    /// The service that asks `engine`, and tells `metrics` of limits that are not there.
    pub fn new(engine: Arc<Engine<S, C>>, metrics: Arc<Metrics>) -> Self {
        Self { engine, metrics, pen: RefCell::default() }
    }
}

impl<S: Store, C: Clock> RateLimitService<S, C> {
    /// Decides on `message` at once, if the store needs no waiting; else `None`, and nothing has happened.
    pub(super) fn answer_now(&self, message: &[u8]) -> Option<Result<Bytes, Undecided>> {
        if !S::AT_ONCE {
            return None;
        }
        match pin!(self.answer(message)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => {
                Some(Err(Status::internal("the counter store waits, though it said it would not").into()))
            }
        }
    }

    /// Decides on `message`. Keys and values stay where they are in it.
    pub(super) async fn answer(&self, message: &[u8]) -> Result<Bytes, Undecided> {
        // While the store is waited for, another call may want the pen: it takes a new one then.
        let mut pen = self.pen.take();
        let request = decode_in(std::mem::take(&mut pen.descriptors), message, |domain, descriptor, why| {
            SentLimitLeftOut { domain, descriptor, why: &why }.emit(&self.metrics);
        })?;
        let policy = self.engine.snapshot();
        let desk = std::mem::take(&mut pen.desk);
        let verdict = self.engine.decide_at(desk, &policy, &request).await.map_err(unavailable)?;
        if verdict.unmatched.many > 0 {
            self.tell(&policy, &request, verdict.unmatched);
        }
        let answer = pen.write(&policy, &request, &verdict);
        pen.desk = verdict.into_desk();
        pen.descriptors = recycled(request.descriptors);
        self.pen.replace(pen);
        answer.map_err(Undecided::Failed)
    }
}

impl<S, C> RateLimitService<S, C> {
    /// Tells of descriptors that nothing limits.
    #[cold]
    fn tell(&self, policy: &Policy, request: &Request<'_>, unmatched: Unmatched) {
        let Some(domain) = policy.domain(request.domain) else {
            let known = policy.domains().map(|domain| domain.name.as_str());
            return UnknownDomain { domain: request.domain, known }.emit(&self.metrics);
        };
        let first = request.descriptors.get(unmatched.first);
        let first = first.map_or(&[][..], |descriptor| &descriptor.entries);
        UnmatchedDescriptors { domain: &domain.name, many: unmatched.many, first }.emit(&self.metrics);
    }
}

/// What answers are written with: room that is used again and again.
#[derive(Debug, Default)]
struct Pen {
    descriptors: Vec<Descriptor<'static>>,
    desk: Desk,
    room: Room,
    sheet: BytesMut,
}

impl Pen {
    /// The answer behind its prefix.
    fn write(
        &mut self,
        policy: &Policy,
        request: &Request<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<Bytes, Status> {
        if self.sheet.capacity() < SHEET_LEFT {
            self.sheet = BytesMut::with_capacity(SHEET);
        }
        let answer = engine::answer_in(std::mem::take(&mut self.room), policy, request, verdict);
        self.sheet.put_bytes(0, PREFIX);
        encode(verdict, &answer, &mut self.sheet);
        self.room = answer.into_room();
        let mut written = self.sheet.split();
        let length = u32::try_from(written.len() - PREFIX);
        let length = length.map_err(|_| Status::internal("the answer is too long"))?;
        written[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        Ok(written.freeze())
    }
}

/// Could not decide: an error, so that Envoy's own failure mode applies, and never an OK with invented numbers.
#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn unavailable(error: StoreError) -> Status {
    Status::unavailable(error.to_string())
}

/// The answer that is `message`.
pub(super) fn response(message: Bytes) -> http::Response<Answer> {
    let mut response = http::Response::new(Answer { message: Some(message), told: false });
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// One message, and the status OK behind it.
pub(super) struct Answer {
    message: Option<Bytes>,
    told: bool,
}

impl Answer {
    /// The message, then the status, then nothing.
    pub(super) fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        if let Some(message) = self.message.take() {
            return Some(Frame::data(message));
        }
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Some(Frame::trailers(trailers))
    }

    pub(super) fn is_told(&self) -> bool {
        self.told
    }
}
