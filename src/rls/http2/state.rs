//! The state of a connection, as its bytes show it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::authority::SanitizedStream;
use super::flood::Flood;
use crate::rls::service::Batch;

/// The state of a connection, which its stream and its calls keep up to date.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Whether the client has sent the preface of HTTP/2.
    pub(super) began: Cell<bool>,
    /// Whether the client has sent any byte.
    pub(super) spoke: Cell<bool>,
    /// When the first read after a pause returned bytes. Calls that are being answered now came at that time, or a little
    /// later.
    pub(super) arrived: Cell<Instant>,
    /// Answers that have not left yet.
    answered: Cell<Option<Batch>>,
    /// Bytes of requests that were decided since the other connections had their turn.
    pub(super) decided: Cell<usize>,
    /// Whether the last read found no more bytes.
    drained: Cell<bool>,
    /// Calls that were begun, and how many of them have ended.
    begun: Cell<u64>,
    done: Cell<u64>,
    /// Whether the last write had to wait for the client.
    blocked: Cell<bool>,
    /// The flood that ends the connection.
    pub(super) flood: Cell<Option<Flood>>,
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self {
            began: Cell::new(false),
            spoke: Cell::new(false),
            arrived: Cell::new(Instant::now()),
            answered: Cell::new(None),
            decided: Cell::new(0),
            drained: Cell::new(true),
            begun: Cell::new(0),
            done: Cell::new(0),
            blocked: Cell::new(false),
            flood: Cell::new(None),
        }
    }
}

impl ConnectionState {
    /// Adds an answer to those that have not left yet, all of which were read when it `arrived`: a batch that was read at
    /// another time is returned.
    pub(super) fn answer(&self, arrived: Instant) -> Option<Batch> {
        let before = self.answered.take();
        let same = before.filter(|batch| batch.arrived == arrived);
        let answers = same.map_or(0, |batch| batch.answers) + 1;
        self.answered.set(Some(Batch { arrived, answers }));
        before.filter(|_| same.is_none())
    }

    /// The answers that leave now.
    pub(super) fn take_answered(&self) -> Option<Batch> {
        self.answered.take()
    }

    /// Values that change whenever a call begins or ends.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.begun.get(), self.done.get())
    }

    /// Whether a write or a call waits for the client.
    pub(super) fn waits_for_its_client(&self) -> bool {
        self.blocked.get() || self.begun.get() > self.done.get()
    }
}

/// A call in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Rc<ConnectionState>);

impl InFlight {
    /// Counts a call that begins.
    pub(super) fn new(state: &Rc<ConnectionState>) -> Self {
        state.begun.set(state.begun.get() + 1);
        Self(Rc::clone(state))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.done.set(self.0.done.get() + 1);
    }
}

/// A stream that keeps a [`ConnectionState`] up to date.
pub(super) struct ObservedStream<IO> {
    inner: SanitizedStream<IO>,
    state: Rc<ConnectionState>,
}

impl<IO> ObservedStream<IO> {
    /// Updates `state` with what is read from `inner` and written to it.
    pub(super) fn new(inner: SanitizedStream<IO>, state: &Rc<ConnectionState>) -> Self {
        Self { inner, state: Rc::clone(state) }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ObservedStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, state } = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut *inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            state.spoke.set(true);
        }
        match &read {
            Poll::Pending => state.drained.set(true),
            Poll::Ready(Ok(())) => {
                if state.drained.replace(false) {
                    state.arrived.set(Instant::now());
                }
            }
            Poll::Ready(Err(error)) => {
                state.flood.set(error.get_ref().and_then(|error| error.downcast_ref()).copied());
            }
        }
        if !state.began.get() {
            state.began.set(inner.has_begun());
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> ObservedStream<IO> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.blocked.set(written.is_pending());
        written
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ObservedStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    // `is_write_vectored` stays false, although the socket supports it. With vectored writes h2 sends each answer of 256
    // bytes or more by itself; without them it copies answers of up to 1,024 bytes into the buffer of a batch.
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_to_requests_that_were_read_together_are_one_batch() {
        let state = ConnectionState::default();
        let first = Instant::now();
        let second = first + Duration::from_millis(1);
        let counted = |batch: Option<Batch>| batch.map(|batch| (batch.arrived, batch.answers));
        for arrived in [first, first, first] {
            assert_eq!(counted(state.answer(arrived)), None);
        }
        assert_eq!(
            counted(state.answer(second)),
            Some((first, 3)),
            "what was read before leaves with what is read now"
        );
        assert_eq!(counted(state.take_answered()), Some((second, 1)));
        assert_eq!(counted(state.take_answered()), None);
    }
}
