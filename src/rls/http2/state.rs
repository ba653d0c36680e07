//! What is known of a connection from the bytes that come and go.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::authority::SanitizedStream;
use super::flood::Flood;

/// What is known of a connection from the bytes that were read.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Whether the client has said that it speaks HTTP/2.
    pub(super) began: Cell<bool>,
    /// Whether the client has said anything at all.
    pub(super) spoke: Cell<bool>,
    /// When the reading began that brought what is being looked at now. Whatever came with it is at least that old,
    /// or will be thought a little older than it is.
    pub(super) arrived: Cell<Instant>,
    /// Bytes of requests that were decided since other connections had their turn.
    pub(super) decided: Cell<usize>,
    /// Whether everything that had come was read.
    drained: Cell<bool>,
    /// Calls that were begun, and those of them that are done with.
    begun: Cell<u64>,
    done: Cell<u64>,
    /// Whether the last write found no room.
    blocked: Cell<bool>,
    /// Why the connection has to end.
    pub(super) flood: Cell<Option<Flood>>,
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self {
            began: Cell::new(false),
            spoke: Cell::new(false),
            arrived: Cell::new(Instant::now()),
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
    /// What changes as long as the client does anything.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.begun.get(), self.done.get())
    }

    /// Whether there is something that only its client can let go on.
    pub(super) fn waits_for_its_client(&self) -> bool {
        self.blocked.get() || self.begun.get() > self.done.get()
    }
}

/// A call that was begun, until it is done with.
#[derive(Debug)]
pub(super) struct InFlight(Rc<ConnectionState>);

impl InFlight {
    /// One more call.
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

/// The socket, with an eye on what comes.
pub(super) struct ObservedStream<IO> {
    inner: SanitizedStream<IO>,
    state: Rc<ConnectionState>,
}

impl<IO> ObservedStream<IO> {
    /// Tells `state` what comes and goes on `inner`.
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

    // Not vectored, though the socket could: h2 would then send each answer of 256 bytes or more by itself, instead of
    // copying it (as it does up to 1,024) into the buffer where the answers of a batch are collected.
}
