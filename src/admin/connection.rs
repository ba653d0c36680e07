//! What a request knows of the connection that it came over.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::telemetry::Operator;

/// The connection of a request, which whoever serves the port puts among the request's extensions.
#[derive(Clone)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub(super) is_tls: bool,
    /// The first name in the certificate that the client has shown, which is one of those that are let in.
    pub(super) certificate: Option<Arc<str>>,
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
        let (end, lasts, in_use) = (Arc::default(), Arc::default(), Arc::new(in_use));
        Self { peer, is_tls: false, certificate: None, end, lasts, in_use }
    }

    /// The same over TLS, of a client that has shown a certificate with that name, if it has shown any.
    #[must_use]
    pub fn over_tls(self, certificate: Option<String>) -> Self {
        Self { is_tls: true, certificate: certificate.map(Arc::from), ..self }
    }

    /// Who is at the other end, for audit lines.
    pub(super) fn operator(&self) -> Operator {
        Operator { address: self.peer, certificate: self.certificate.clone() }
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
