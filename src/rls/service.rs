//! The service's one method, from the bytes of a call to the bytes of its answer.
//!
//! One service belongs to one thread, which writes its answers with one pen. Written by hand where a code generator and tonic's codec would have done it: the messages are our own, and a call is
//! one small message each way, so most of what it cost was the machinery for streams around it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::poll;
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

/// Why a call is not decided.
pub(super) enum Refused {
    /// Nobody waits for it any more.
    Late,
    /// It is told why.
    With(Status),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::With(status)
    }
}

impl<S, C> RateLimitService<S, C> {
    /// The service that asks `engine`.
    pub fn new(engine: Arc<Engine<S, C>>) -> Self {
        Self { engine, pen: RefCell::default() }
    }
}

impl<S: Store, C: Clock> RateLimitService<S, C> {
    /// Decides on the message in `body`, unless `is_late` says that its time is over when it has arrived.
    pub(super) async fn answer<B>(
        &self,
        body: B,
        held: &Held,
        is_late: impl Fn() -> bool,
    ) -> Result<Bytes, Refused>
    where
        B: Body<Data = Bytes>,
        B::Error: fmt::Display,
    {
        let message = message(body, held).await?;
        if is_late() {
            return Err(Refused::Late);
        }
        // While the store is waited for, another call may want the pen: it takes a new one then.
        let mut pen = self.pen.take();
        let answer = self.decide(&message, &mut pen).await;
        self.pen.replace(pen);
        Ok(answer?)
    }

    /// Keys and values stay where they are in `message`.
    async fn decide(&self, message: &[u8], pen: &mut Pen) -> Result<Bytes, Status> {
        let request = decode_in(std::mem::take(&mut pen.descriptors), message)?;
        let policy = self.engine.snapshot();
        let desk = std::mem::take(&mut pen.desk);
        let verdict = self.engine.decide_at(desk, &policy, &request).await.map_err(unavailable)?;
        let answer = pen.write(&policy, &request, &verdict);
        pen.desk = verdict.into_desk();
        pen.descriptors = recycled(request.descriptors);
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
#[derive(Debug, Default)]
pub(super) struct Held(Cell<usize>);

impl Held {
    /// Sets so much aside for one message. What is said counts, not what has come: what had come first would depend on
    /// the order in which streams are looked at.
    fn reserve(&self, length: usize) -> Result<Reserved<'_>, Status> {
        let held = self.0.get() + length;
        if held > MOST_HELD {
            let most = MOST_HELD >> 20;
            return Err(Status::resource_exhausted(format!(
                "the unfinished requests of a connection have at most {most} MiB together"
            )));
        }
        self.0.set(held);
        Ok(Reserved { held: self, length })
    }
}

/// Room for one message.
struct Reserved<'h> {
    held: &'h Held,
    length: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.held.0.set(self.held.0.get() - self.length);
    }
}

/// The one message of a call, without its prefix.
async fn message<B>(body: B, held: &Held) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    let mut arrival = pin!(collect(body, held));
    // Nearly always all of it is there, and no timer is needed.
    if let Poll::Ready(message) = poll!(arrival.as_mut()) {
        return message;
    }
    tokio::time::timeout(ARRIVES_WITHIN, arrival).await.unwrap_or_else(|_| {
        let seconds = ARRIVES_WITHIN.as_secs();
        Err(Status::deadline_exceeded(format!("the request did not arrive within {seconds} s")))
    })
}

async fn collect<B>(body: B, held: &Held) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    let mut body = pin!(body);
    let mut next = async || next_data(body.as_mut()).await;
    let Some(first) = next().await? else { return Err(Status::internal("the call has no message")) };
    let mut length = length_of(&first)?;
    let mut more = next().await?;
    if more.is_none() && length == Some(first.len()) {
        // Nearly always the first piece is all there is.
        return Ok(first.slice(PREFIX..));
    }
    let mut whole = first.to_vec();
    drop(first);
    let mut reserved = None;
    while let Some(data) = more {
        whole.extend_from_slice(&data);
        length = length_of(&whole)?;
        if let (Some(length), None) = (length, &reserved) {
            reserved = Some(held.reserve(length)?);
        }
        more = next().await?;
    }
    if length != Some(whole.len()) {
        return Err(Status::internal("the message is not as long as it says"));
    }
    Ok(Bytes::from(whole).slice(PREFIX..))
}

/// The next piece of a body; what is not data is trailers, of which a call has none worth knowing.
async fn next_data<B>(mut body: Pin<&mut B>) -> Result<Option<Bytes>, Status>
where
    B: Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    while !body.is_end_stream()
        && let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
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
