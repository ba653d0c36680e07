//! Reads the one message of a call, and bounds the memory of messages that are incomplete.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tonic::Status;

use super::long_requests::LONG;
use crate::rls::beyond::{Bound, Undecided};
use crate::rls::codec::{PREFIX, prefixed_length};

/// The most bytes of all incomplete messages of one connection.
const MOST_HERE: usize = 32 << 20;
/// The most time between a call's headers and the end of its message. Envoy sends both in one packet.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// The most bytes of all incomplete messages of all connections.
const MOST_OF_ALL: usize = 256 << 20;
/// Bytes that are kept for short messages in addition, so that long ones of other clients do not keep them out. A message
/// is short when it fits into what Envoy's client can send in headers.
const MOST_SHORT_ONES: usize = 64 << 20;

/// The bytes that incomplete messages of all connections hold.
#[derive(Clone, Debug, Default)]
pub struct MemoryBudget(Arc<AtomicUsize>);

/// The bytes that incomplete messages of one connection have reserved.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionBudget {
    here: Rc<Cell<usize>>,
    of_all: MemoryBudget,
}

impl ConnectionBudget {
    /// The budget of a new connection.
    pub(super) fn new(of_all: &MemoryBudget) -> Self {
        Self { here: Rc::default(), of_all: of_all.clone() }
    }

    /// Reserves `length` bytes for one message, whether they have come or not. To count only bytes that have come would make
    /// the result depend on the order in which streams are polled.
    fn reserve(&self, length: usize) -> Result<Reservation, Bound> {
        let budget = self.here.get() + length;
        if budget > MOST_HERE {
            return Err(Bound::UnfinishedHere);
        }
        self.here.set(budget);
        Ok(Reservation { budget: self.clone(), length, received: 0 })
    }
}

/// Memory for one message, which is given back on drop.
struct Reservation {
    budget: ConnectionBudget,
    /// Bytes of the message, as its prefix says.
    length: usize,
    received: usize,
}

impl Reservation {
    /// Counts `bytes` that came. The budget of all connections counts only these, because it costs a client nothing to
    /// announce a length.
    fn come(&mut self, bytes: usize) -> Result<(), Bound> {
        self.received += bytes;
        let most = if self.length <= LONG { MOST_OF_ALL + MOST_SHORT_ONES } else { MOST_OF_ALL };
        let of_all = self.budget.of_all.0.fetch_add(bytes, Ordering::Relaxed);
        if of_all.saturating_add(bytes) > most { Err(Bound::UnfinishedByAll) } else { Ok(()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.here.set(self.budget.here.get() - self.length);
        self.budget.of_all.0.fetch_sub(self.received, Ordering::Relaxed);
    }
}

/// Reads the one message of a call.
pub(super) struct MessageReader<B> {
    body: B,
    budget: ConnectionBudget,
    /// The first piece. Nearly always it is the whole message, which is not copied then.
    first: Bytes,
    pieces: Vec<u8>,
    reserved: Option<Reservation>,
}

impl<B> MessageReader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    /// A reader of the message in `body`.
    pub(super) fn of(body: B, budget: &ConnectionBudget) -> Self {
        Self { body, budget: budget.clone(), first: Bytes::new(), pieces: Vec::new(), reserved: None }
    }

    /// The message without its prefix, if all of it came with the call.
    ///
    /// Reserves nothing for a message that is incomplete: calls that have ended may still hold their reservations.
    pub(super) fn message_now(&mut self) -> Option<Result<Bytes, Undecided>> {
        let context = &mut Context::from_waker(Waker::noop());
        while self.first.is_empty()
            || prefixed_length(&self.first).is_ok_and(|length| length == Some(self.first.len()))
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

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Undecided>> {
        loop {
            match self.poll_piece(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(self.whole()),
                Poll::Ready(Err(undecided)) => return Poll::Ready(Err(undecided)),
                Poll::Pending => {
                    return self
                        .hold()
                        .map_or_else(|undecided| Poll::Ready(Err(undecided)), |()| Poll::Pending);
                }
            }
        }
    }

    /// Counts what came of a message whose rest has to be waited for. It is copied: a piece holds all that was read with it.
    fn hold(&mut self) -> Result<(), Undecided> {
        if self.first.is_empty() { Ok(()) } else { self.add(&[]) }
    }

    /// Reads the next piece. Returns whether there was one.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Undecided>> {
        if self.body.is_end_stream() {
            return Poll::Ready(Ok(false));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(Ok(false));
        };
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        // Any other frame is trailers, and those of a call mean nothing.
        if let Ok(data) = frame.into_data() {
            self.push(data)?;
        }
        Poll::Ready(Ok(true))
    }

    /// The message without its prefix. Fails after [`ARRIVES_WITHIN`].
    pub(super) async fn message(mut self) -> Result<Bytes, Undecided> {
        let message = poll_fn(|context| self.poll_message(context));
        tokio::time::timeout(ARRIVES_WITHIN, message).await.unwrap_or_else(|_| {
            let seconds = ARRIVES_WITHIN.as_secs();
            Err(Status::deadline_exceeded(format!("the request did not arrive within {seconds} s")).into())
        })
    }

    fn push(&mut self, data: Bytes) -> Result<(), Undecided> {
        if data.is_empty() {
            return Ok(());
        }
        if self.first.is_empty() && self.pieces.is_empty() {
            self.first = data;
            return prefixed_length(&self.first).map(drop);
        }
        self.add(&data)
    }

    /// Adds `data` to what came before.
    fn add(&mut self, data: &[u8]) -> Result<(), Undecided> {
        let before = if self.reserved.is_some() { self.pieces.len() } else { 0 };
        self.pieces.extend_from_slice(&std::mem::take(&mut self.first));
        self.pieces.extend_from_slice(data);
        if let (Some(length), None) = (prefixed_length(&self.pieces)?, &self.reserved) {
            self.reserved = Some(self.budget.reserve(length)?);
        }
        if let Some(reserved) = &mut self.reserved {
            reserved.come(self.pieces.len() - before)?;
        }
        Ok(())
    }

    fn whole(&mut self) -> Result<Bytes, Undecided> {
        let whole = if self.pieces.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.pieces).into()
        };
        match prefixed_length(&whole)? {
            Some(length) if length == whole.len() => Ok(whole.slice(PREFIX..)),
            None if whole.is_empty() => Err(Status::internal("the call has no message").into()),
            _ => Err(Status::internal("the message is not as long as it says").into()),
        }
    }
}
