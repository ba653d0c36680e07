//! What operators ask for on the admin port.

use std::net::SocketAddr;
use std::sync::Arc;
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

/// Who has asked for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Where they are.
    pub address: SocketAddr,
    /// The name in the certificate that they have shown, if they have.
    pub certificate: Option<Arc<str>>,
}

/// The audit line of a change that was asked for on the admin port.
#[derive(Clone, Copy, Debug)]
pub struct AdminChange<'a> {
    /// Who asked.
    pub peer: &'a Operator,
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
        let (address, certificate) = (&peer.address, peer.certificate.as_deref());
        tracing::info!(peer = %address, certificate, what, object, before, after, "admin change");
    }
}

/// The changes that operators make cannot be kept or read where they should outlive a crash. They were made all the same.
#[derive(Debug)]
pub struct ChangeNotKept<'a> {
    /// `kept` or `read`.
    pub doing: &'a str,
    /// Why not.
    pub error: &'a dyn std::error::Error,
}

impl ChangeNotKept<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!("what operators changed cannot be {} in the store: {}", self.doing, self.error);
    }
}

/// The fields of a subject that change, as answers and lines of the log name them.
pub const SUBJECT_FIELDS: [&str; 6] =
    ["enabled", "attributes", "billing_anchor", "time_zone", "facts", "credentials"];

/// The audit line of a change of one subject that was made on the admin port.
#[derive(Debug)]
pub struct AdminSubjectChange<'a> {
    /// Who asked.
    pub peer: &'a Operator,
    /// What for, as `subject change`.
    pub what: &'a str,
    /// The subject's domain.
    pub domain: &'a str,
    /// Its id.
    pub subject: &'a str,
    /// For each of [`SUBJECT_FIELDS`] what it was and what it is, where it changed. No credential is in it.
    pub changes: [Option<String>; SUBJECT_FIELDS.len()],
}

impl AdminSubjectChange<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { peer, what, domain, subject, changes } = self;
        let [enabled, attributes, billing_anchor, time_zone, facts, credentials] =
            changes.each_ref().map(Option::as_deref);
        let (address, certificate) = (&peer.address, peer.certificate.as_deref());
        tracing::info!(
            peer = %address, certificate, what, domain, subject, enabled, attributes, billing_anchor, time_zone, facts, credentials, "admin change"
        );
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

/// It is known again whether a change of a subject is kept that was in doubt, and what is in force agrees with it.
#[derive(Debug)]
pub struct SubjectChangeSettled<'a> {
    /// The subject's domain.
    pub domain: &'a str,
    /// Its id.
    pub subject: &'a str,
    /// Whether the change is kept.
    pub is_kept: bool,
}

impl SubjectChangeSettled<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { domain, subject, is_kept } = self;
        let became = if *is_kept { "was made" } else { "was not made; make it again" };
        tracing::warn!(domain, subject, "the change of a subject that was in doubt {became}");
    }
}
