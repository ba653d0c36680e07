//! What operators ask for on the admin port.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use crate::telemetry::Metrics;

/// The port is not opened, and the server goes on without it.
#[derive(Debug)]
pub struct AdminAway<'a> {
    /// Where it would have been.
    pub address: SocketAddr,
    /// Why it is not there.
    pub error: &'a str,
}

impl AdminAway<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            address = %self.address,
            "there is no admin port: {}; choose another one with `--admin-addr 127.0.0.1:6071`, or write `--admin-addr off`",
            self.error
        );
    }
}

/// A request was refused for who sent it, or how: a wrong token, another site's page, a missing header.
#[derive(Debug)]
pub struct AdminRefused<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Why it was refused.
    pub why: &'a str,
}

impl AdminRefused<'_> {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.admin_refused.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.admin_lines.admit() else { return };
        tracing::warn!(peer = %self.peer, held_back, "a request to the admin port was refused: {}", self.why);
    }
}

/// The audit line of a change that was asked for on the admin port.
#[derive(Debug)]
pub struct AdminChange<'a> {
    /// Who asked.
    pub peer: SocketAddr,
    /// What for, as `counters reset`.
    pub what: &'a str,
    /// What it is about, as `leads: subject acme`.
    pub object: &'a str,
    /// What was before.
    pub before: &'a str,
    /// What is now.
    pub after: &'a str,
}

impl AdminChange<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { peer, what, object, before, after } = self;
        tracing::info!(%peer, what, object, before, after, "admin change");
    }
}

/// A change of a subject that was made on the admin port cannot be made any more, as files have changed since.
#[derive(Debug)]
pub struct SubjectChangeLeftOut<'a> {
    /// The subject's domain.
    pub domain: &'a str,
    /// Why not; it names the subject.
    pub why: &'a dyn std::error::Error,
}

impl SubjectChangeLeftOut<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(
            domain = self.domain,
            "a change of a subject is left out: {}; take it back (DELETE /api/v1/subjects/DOMAIN/ID/changes), or change the file",
            self.why
        );
    }
}
