//! The service's one method, from the bytes of a call to the bytes of its answer.
//!
//! One service belongs to one thread, which writes its answers with one pen. Written by hand where a code generator and tonic's codec would have done it: the messages are our own, and a call is
//! one small message each way, so most of what it cost was the machinery for streams around it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame};
use tonic::Status;

use super::decode::decode_in;
use super::encode::encode;
use crate::clock::Clock;
use crate::engine::{self, Desk, Engine, Room, Verdict};
use crate::model::{Descriptor, Request, recycled};
use crate::policy::Policy;
use crate::store::{Store, StoreError};

/// The service's full name, which health checks ask for too.
pub const NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// The method's path.
pub(super) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// 200 descriptors with values of 50 KB fit; Envoy sends no more than its own header limit allows.
const LARGEST_MESSAGE: usize = 16 << 20;
/// What the unfinished messages of one connection may hold together.
const MOST_HELD: usize = 32 << 20;
/// How long a message may take to arrive after its call. Envoy sends both in one packet.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// Before each message: whether it is compressed, and its length
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
const PREFIX: usize = 5;
/// Answers are cut from sheets of so many bytes, and a new one is taken when less than that is left: enough for nearly
/// every answer, and for those that are longer a sheet grows.
const SHEET: usize = 16 << 10;
const SHEET_LEFT: usize = 1 << 10;

/// Answers `ShouldRateLimit` from an engine.
#[derive(Debug)]
pub struct RateLimitService<S, C> {
    engine: Arc<Engine<S, C>>,
    pen: RefCell<Pen>,
}

impl<S, C> RateLimitService<S, C> {
    /// The service that asks `engine`.
    pub fn new(engine: Arc<Engine<S, C>>) -> Self {
        Self { engine, pen: RefCell::default() }
    }
}

impl<S: Store, C: Clock> RateLimitService<S, C> {
    /// Decides on `message` at once, if the store needs no waiting; else `None`, and nothing has happened.
    pub(super) fn answer_now(&self, message: &[u8]) -> Option<Result<Bytes, Status>> {
        if !S::AT_ONCE {
            return None;
        }
        match pin!(self.answer(message)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => {
                Some(Err(Status::internal("the counter store waits, though it said it would not")))
            }
        }
    }

    /// Decides on `message`. Keys and values stay where they are in it.
    pub(super) async fn answer(&self, message: &[u8]) -> Result<Bytes, Status> {
        // While the store is waited for, another call may want the pen: it takes a new one then.
        let mut pen = self.pen.take();
        let request = decode_in(std::mem::take(&mut pen.descriptors), message)?;
        let policy = self.engine.snapshot();
        let desk = std::mem::take(&mut pen.desk);
        let verdict = self.engine.decide_at(desk, &policy, &request).await.map_err(unavailable)?;
        let answer = pen.write(&policy, &request, &verdict);
        pen.desk = verdict.into_desk();
        pen.descriptors = recycled(request.descriptors);
        self.pen.replace(pen);
        answer
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

/// How much the unfinished messages of a connection may come to hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Rc<Cell<usize>>);

impl Held {
    /// Sets so much aside for one message. What is said counts, not what has come: what had come first would depend on
    /// the order in which streams are looked at.
    fn reserve(&self, length: usize) -> Result<Reserved, Status> {
        let held = self.0.get() + length;
        if held > MOST_HELD {
            let most = MOST_HELD >> 20;
            return Err(Status::resource_exhausted(format!(
                "the unfinished requests of a connection have at most {most} MiB together"
            )));
        }
        self.0.set(held);
        Ok(Reserved { held: self.clone(), length })
    }
}

/// Room for one message.
struct Reserved {
    held: Held,
    length: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.held.0.set(self.held.0.get() - self.length);
    }
}

/// The one message of a call, on its way.
pub(super) struct Arrival<B> {
    body: B,
    held: Held,
    /// Nearly always the first piece is all there is, and then it is not copied.
    first: Bytes,
    pieces: Vec<u8>,
    reserved: Option<Reserved>,
}

impl<B> Arrival<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    /// The message that `body` brings.
    pub(super) fn of(body: B, held: &Held) -> Self {
        Self { body, held: held.clone(), first: Bytes::new(), pieces: Vec::new(), reserved: None }
    }

    /// The message without its prefix, if all of it came with the call.
    ///
    /// Nothing is set aside for one of which more has to come: who is done with may not have been looked at yet.
    pub(super) fn message_now(&mut self) -> Option<Result<Bytes, Status>> {
        let context = &mut Context::from_waker(Waker::noop());
        while self.first.is_empty()
            || length_of(&self.first).is_ok_and(|length| length == Some(self.first.len()))
        {
            match self.poll_piece(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Some(self.whole()),
                Poll::Ready(Err(status)) => return Some(Err(status)),
                Poll::Pending => return None,
            }
        }
        None
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        while ready!(self.poll_piece(context))? {}
        Poll::Ready(self.whole())
    }

    /// Takes the next piece, and says whether there was one.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Status>> {
        if self.body.is_end_stream() {
            return Poll::Ready(Ok(false));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(Ok(false));
        };
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        // What is not data is trailers, of which a call has none worth knowing.
        if let Ok(data) = frame.into_data() {
            self.push(data)?;
        }
        Poll::Ready(Ok(true))
    }

    /// The message without its prefix, once it is there, and no later than messages may come.
    pub(super) async fn message(mut self) -> Result<Bytes, Status> {
        let arrival = poll_fn(|context| self.poll_message(context));
        tokio::time::timeout(ARRIVES_WITHIN, arrival).await.unwrap_or_else(|_| {
            let seconds = ARRIVES_WITHIN.as_secs();
            Err(Status::deadline_exceeded(format!("the request did not arrive within {seconds} s")))
        })
    }

    fn push(&mut self, data: Bytes) -> Result<(), Status> {
        if data.is_empty() {
            return Ok(());
        }
        if self.first.is_empty() && self.pieces.is_empty() {
            self.first = data;
            return length_of(&self.first).map(drop);
        }
        self.pieces.extend_from_slice(&std::mem::take(&mut self.first));
        self.pieces.extend_from_slice(&data);
        if let (Some(length), None) = (length_of(&self.pieces)?, &self.reserved) {
            self.reserved = Some(self.held.reserve(length)?);
        }
        Ok(())
    }

    fn whole(&mut self) -> Result<Bytes, Status> {
        let whole = if self.pieces.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.pieces).into()
        };
        match length_of(&whole)? {
            Some(length) if length == whole.len() => Ok(whole.slice(PREFIX..)),
            None if whole.is_empty() => Err(Status::internal("the call has no message")),
            _ => Err(Status::internal("the message is not as long as it says")),
        }
    }
}

/// How many bytes there will be, prefix and all, once `bytes` say so; an error as soon as they can become no message.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, Status> {
    let Some((&[compressed, a, b, c, d], rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    if compressed != 0 {
        return Err(Status::unimplemented("compressed requests are not taken"));
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > LARGEST_MESSAGE {
        let most = LARGEST_MESSAGE >> 20;
        return Err(Status::resource_exhausted(format!("a request has at most {most} MiB")));
    }
    if rest.len() > length {
        return Err(Status::internal("the message is not as long as it says"));
    }
    Ok(Some(PREFIX + length))
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
