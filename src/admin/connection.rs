//! What a request knows of the connection that it came over.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The connection of a request, which whoever serves the port puts among the request's extensions.
#[derive(Clone)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Notified when the connection has to end.
    pub end: Arc<Notify>,
    /// Whether the answer goes on for as long as the client reads it.
    lasts: Arc<AtomicBool>,
    /// To be called now and then while it does: the connection is in use.
    in_use: Arc<dyn Fn() + Send + Sync>,
}

impl Connection {
    /// The connection of `peer`. `in_use` notes that it is in use.
    pub fn new(peer: SocketAddr, in_use: impl Fn() + Send + Sync + 'static) -> Self {
        Self { peer, end: Arc::default(), lasts: Arc::default(), in_use: Arc::new(in_use) }
    }

    /// Has the connection last.
    pub(super) fn lasts(&self) {
        self.lasts.store(true, Ordering::Relaxed);
    }

    /// Whether the answer goes on for as long as the client reads it.
    pub fn is_lasting(&self) -> bool {
        self.lasts.load(Ordering::Relaxed)
    }

    /// Notes that it is in use.
    pub fn is_in_use(&self) {
        (self.in_use)();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}
