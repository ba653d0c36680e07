//! Connections, and the calls on them.

use std::sync::atomic::Ordering;

use super::LONGEST_SHOWN;
use crate::model::{Peer, lossy};
use crate::telemetry::Metrics;

/// A client names itself by an `:authority` that is none, as Envoy does in front of a cluster with an Istio name.
#[derive(Debug)]
pub struct AuthoritySanitized<'a> {
    /// What it sent.
    pub original: &'a str,
    /// Who sent it.
    pub peer: Peer,
}

impl AuthoritySanitized<'_> {
    /// Logs and counts it, once for each connection.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.authorities_sanitized.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.authority_lines.admit() else { return };
        // A header may have kilobytes, and the beginning says which cluster it is.
        let shown = self.original.as_bytes().get(..LONGEST_SHOWN).unwrap_or(self.original.as_bytes());
        tracing::info!(
            authority = %lossy(shown),
            peer = %self.peer,
            held_back,
            "calls on this connection carry an invalid `:authority`; answering them all the same. Set \
             `envoy_grpc.authority` in Envoy's configuration to a host name to be rid of this line",
        );
    }
}

/// A connection was ended, and not by its client saying so.
#[derive(Debug)]
pub struct ConnectionEnded<'a> {
    /// Why.
    pub reason: &'a (dyn std::error::Error + Send + Sync + 'static),
    /// Whether it was us who ended it, for what the client did or did not do.
    pub by_us: bool,
    /// Whose it was.
    pub peer: Peer,
}

impl ConnectionEnded<'_> {
    /// Counts what we ended, and logs it at most once a second. Clients that go without a word, as the probes of load
    /// balancers do, are nothing to wake an operator for.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { reason, peer, .. } = self;
        if !self.by_us {
            tracing::debug!(%peer, "connection ended: {reason}");
            return;
        }
        metrics.connections_ended.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = metrics.ended_lines.admit() {
            tracing::warn!(%peer, held_back, "connection ended: {reason}");
        }
    }
}

/// A connection ended by an internal error (bug).
#[derive(Debug)]
pub struct ConnectionLost<'a> {
    /// How.
    pub error: &'a (dyn std::error::Error + Send + Sync + 'static),
}

impl ConnectionLost<'_> {
    /// Logs it, at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        if let Some(held_back) = metrics.lost_lines.admit() {
            tracing::error!(
                held_back,
                "a connection was lost, which is a mistake in Spillway: {}",
                self.error
            );
        }
    }
}

/// A connection could not be taken.
#[derive(Debug)]
pub struct AcceptFailed<'a> {
    /// Why not.
    pub error: &'a std::io::Error,
}

impl AcceptFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.accepts_failed.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = metrics.accept_lines.admit() {
            tracing::warn!(held_back, "a connection could not be taken: {}", self.error);
        }
    }
}

/// A call met an internal error (bug). It was answered with INTERNAL, and all others go on.
#[derive(Debug)]
pub struct CallPanicked<'a> {
    /// What was said in despair.
    pub panic: &'a (dyn std::any::Any + Send),
}

impl CallPanicked<'_> {
    /// Counts it, and logs it at most once a second. Where it happened was logged by the panic itself.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.calls_panicked.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.panic_lines.admit() else { return };
        let said = self.panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| self.panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            held_back,
            "a call failed, which is a mistake in Spillway: {}",
            said.unwrap_or("it panicked")
        );
    }
}

/// A connection was refused, for there are as many as there may be and all of them are in use.
#[derive(Debug)]
pub struct ConnectionRefused {
    /// On which port.
    pub what: &'static str,
    /// Whose it was.
    pub peer: Peer,
}

impl ConnectionRefused {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = metrics.refused_lines.admit() {
            tracing::warn!(
                peer = %self.peer,
                held_back,
                "a connection for {} was refused: there are as many as there may be, and none was without a \
                 call for long enough to be closed; raise `--max-connections` or the limit of file descriptors",
                self.what
            );
        }
    }
}

/// A request is beyond a bound of what is decided.
#[derive(Debug)]
pub struct RequestBeyondBounds {
    /// What the bound is.
    pub bound: &'static str,
    /// What became of the request.
    pub outcome: &'static str,
    /// Who sent it.
    pub peer: Peer,
}

impl RequestBeyondBounds {
    /// Counts it, and logs it at most once a second for each bound.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.requests_beyond_bounds.fetch_add(1, Ordering::Relaxed);
        if let Some(held_back) = metrics.beyond_lines.admit(self.bound) {
            tracing::warn!(peer = %self.peer, held_back, "a request beyond a bound {}: {}", self.outcome, self.bound);
        }
    }
}
