//! `ShouldRateLimit` for requests and answers in JSON, as envoyproxy/ratelimit has it at `/json`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Semaphore;
use tonic::Code;

use super::beyond::{BeyondBounds, Bound, Undecided};
use super::codec::{PREFIX, json};
use super::http2::LongRequests;
use super::service::Caller;
use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::store::Store;
use crate::telemetry::{Metrics, RequestBeyondBounds};
use crate::traces::Span;

/// The most bytes of a request in JSON.
const LONGEST: usize = 2 << 20;
/// The most bytes of all requests in JSON that are read or parsed.
const MOST_UNFINISHED: usize = 32 << 20;
/// Longer ones are parsed on a thread that serves nobody: a probe of the same port waits for less than a millisecond. They are
/// parsed one by one, so that they take the time of no more than one processor.
const PARSED_HERE: usize = 8 << 10;

/// Decides on requests in JSON, on a thread of its own: nothing of it comes between Envoy's calls.
#[derive(Clone, Debug)]
pub struct JsonRequests {
    requests: LongRequests,
    beyond_bounds: BeyondBounds,
    metrics: Arc<Metrics>,
    /// Bytes that are read or parsed.
    unfinished: Arc<AtomicUsize>,
    parsing: Arc<Semaphore>,
}

/// The text of a request, while it is read.
#[derive(Debug)]
pub struct JsonText {
    text: Vec<u8>,
    unfinished: Arc<AtomicUsize>,
}

/// A text that has no room.
#[derive(Clone, Copy, Debug)]
pub struct NoRoom(Bound);

impl JsonText {
    /// Adds a piece that came.
    ///
    /// # Errors
    ///
    /// When the text is longer than 2 MiB, or all that are read have more than 32 MiB together.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), NoRoom> {
        if self.text.len() + piece.len() > LONGEST {
            return Err(NoRoom(Bound::JsonMessage));
        }
        let fits = |of_all: usize| (of_all + piece.len() <= MOST_UNFINISHED).then_some(of_all + piece.len());
        if self.unfinished.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(NoRoom(Bound::UnfinishedJson));
        }
        self.text.extend_from_slice(piece);
        Ok(())
    }
}

impl Drop for JsonText {
    fn drop(&mut self) {
        self.unfinished.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

impl JsonRequests {
    /// Starts the thread, which decides by `limiter`. It ends when the last handle is dropped.
    pub fn start<S: Store, C: Clock>(
        limiter: Arc<Limiter<S, C>>,
        metrics: Arc<Metrics>,
        beyond_bounds: BeyondBounds,
    ) -> io::Result<Self> {
        let requests = LongRequests::start(limiter, Arc::clone(&metrics))?;
        let parsing = Arc::new(Semaphore::new(1));
        Ok(Self { requests, beyond_bounds, metrics, unfinished: Arc::default(), parsing })
    }

    /// The text of another request, of which nothing has come.
    pub fn text(&self) -> JsonText {
        JsonText { text: Vec::new(), unfinished: Arc::clone(&self.unfinished) }
    }

    /// Whether a request may have as many bytes as it says of itself.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn may_have(&self, bytes: u64) -> Result<(), NoRoom> {
        if bytes > LONGEST as u64 { Err(NoRoom(Bound::JsonMessage)) } else { Ok(()) }
    }

    /// Decides on the `RateLimitRequest` that `text` is: 200 or 429 with the `RateLimitResponse`, 400 for what is no request, and 500
    /// where the store fails. One beyond a bound is answered as `--beyond-bounds` says, as over gRPC.
    pub async fn answer(&self, text: JsonText, peer: SocketAddr) -> (StatusCode, String) {
        let parsed = if text.text.len() > PARSED_HERE {
            // It is never closed.
            let _turn = self.parsing.acquire().await;
            let parsing = tokio::task::spawn_blocking(move || json::request(&text.text)).await;
            parsing.unwrap_or_else(|_| Err("internal error: reading it panicked".to_owned()))
        } else {
            json::request(&text.text)
        };
        let message = match parsed {
            Ok(message) => Bytes::from(message),
            Err(wrong) => return (StatusCode::BAD_REQUEST, wrong),
        };
        let caller = Caller { peer: peer.into(), deadline: None };
        let answer = self.requests.of_connection().answer(message, caller, Span::off()).await;
        match answer.map(|(answer, _)| answer) {
            Some(Ok(answer)) => response(&answer),
            Some(Err(Undecided::Beyond(bound))) => self.beyond(bound, peer),
            Some(Err(Undecided::Failed(status))) if status.code() == Code::InvalidArgument => {
                (StatusCode::BAD_REQUEST, status.message().to_owned())
            }
            Some(Err(Undecided::Failed(status))) => {
                (StatusCode::INTERNAL_SERVER_ERROR, status.message().to_owned())
            }
            None => (StatusCode::INTERNAL_SERVER_ERROR, "internal error: the decision panicked".to_owned()),
        }
    }

    /// The answer to one that there is no room for.
    pub fn without_room(&self, NoRoom(bound): NoRoom, peer: SocketAddr) -> (StatusCode, String) {
        self.beyond(bound, peer)
    }

    fn beyond(&self, bound: Bound, peer: SocketAddr) -> (StatusCode, String) {
        let (outcome, answer) = self.beyond_bounds.answer();
        RequestBeyondBounds { bound: bound.text(), outcome, peer: peer.into() }.emit(&self.metrics);
        match answer {
            Some(answer) => response(&answer),
            None => (StatusCode::INTERNAL_SERVER_ERROR, bound.text().to_owned()),
        }
    }
}

/// An answer, which has its prefix, in JSON.
fn response(answer: &[u8]) -> (StatusCode, String) {
    match json::response(answer.get(PREFIX..).unwrap_or_default()) {
        Ok((true, text)) => (StatusCode::TOO_MANY_REQUESTS, text),
        Ok((false, text)) => (StatusCode::OK, text),
        Err(wrong) => (StatusCode::INTERNAL_SERVER_ERROR, wrong),
    }
}
