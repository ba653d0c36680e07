//! Handshakes and certificates.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::Peer;
use crate::telemetry::{Metrics, TlsInForce, TlsPort};

/// A client and the server have not agreed on TLS.
#[derive(Debug)]
pub struct HandshakeFailed<'a> {
    /// Where.
    pub port: TlsPort,
    /// Which client.
    pub peer: Peer,
    /// Why, as metrics name it.
    pub reason: &'static str,
    /// Why, for people.
    pub words: &'a str,
}

impl HandshakeFailed<'_> {
    /// Counts it, and logs it at most once a second for each reason.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { port, peer, reason, words } = self;
        metrics.tls(*port).failures.add(reason, 1);
        let Some(held_back) = metrics.tls_lines.admit(reason) else { return };
        tracing::warn!(%peer, reason, held_back, "a TLS handshake for {} failed: {words}", port.name());
    }
}

/// The certificate of a client that is connected would not be let in any more: its connection ends.
#[derive(Debug)]
pub struct ClientShutOut<'a> {
    /// Where.
    pub port: TlsPort,
    /// Which client.
    pub peer: Peer,
    /// Why, as metrics name it.
    pub reason: &'static str,
    /// Why, for people.
    pub words: &'a str,
}

impl ClientShutOut<'_> {
    /// Logs it, at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { port, peer, reason, words } = self;
        let Some(held_back) = metrics.shut_out_lines.admit() else { return };
        tracing::warn!(
            %peer, reason, held_back, "a connection for {} ends, as its client is let in no more: {words}", port.name()
        );
    }
}

/// A certificate is in force.
#[derive(Debug)]
pub struct CertificateServed<'a> {
    /// Where.
    pub port: TlsPort,
    /// Its names, for a line of the log.
    pub names: &'a str,
    /// The same with all that is in force.
    pub in_force: TlsInForce,
}

impl CertificateServed<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        let counts = metrics.tls(self.port);
        let TlsInForce { not_after, clients, .. } = &self.in_force;
        let lists_until = clients.as_ref().and_then(|clients| clients.lists_until);
        counts.not_after.store(*not_after, Ordering::Relaxed);
        counts.lists_until.store(lists_until.unwrap_or_default(), Ordering::Relaxed);
        counts.loads.fetch_add(1, Ordering::Relaxed);
        counts.is_stale.store(false, Ordering::Relaxed);
        counts.refusal.store(None);
        counts.in_force.store(Some(Arc::new(self.in_force.clone())));
        let until = i64::try_from(*not_after).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
        let until = until.unwrap_or(jiff::Timestamp::MAX);
        tracing::info!(%until, "TLS for {} with a certificate for {}", self.port.name(), self.names);
    }
}

/// Files of TLS have changed into some that cannot be used; what was read before stays in force.
#[derive(Debug)]
pub struct CertificateRefused<'a> {
    /// Where.
    pub port: TlsPort,
    /// What is wrong with them.
    pub error: &'a str,
}

impl CertificateRefused<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        let counts = metrics.tls(self.port);
        counts.refused.fetch_add(1, Ordering::Relaxed);
        counts.is_stale.store(true, Ordering::Relaxed);
        counts.refusal.store(Some(Arc::new(self.error.to_owned())));
        tracing::error!(
            "the new files for TLS of {} cannot be used, the old ones stay in force: {}",
            self.port.name(),
            self.error
        );
    }
}

/// A certificate expires soon, or has expired.
#[derive(Debug)]
pub struct CertificateExpires {
    /// Where.
    pub port: TlsPort,
    /// How long it is still good; less than 0 if it is not.
    pub seconds_left: i128,
}

impl CertificateExpires {
    /// Logs it.
    pub fn emit(&self) {
        let port = self.port.name();
        let hours = self.seconds_left.unsigned_abs() / 3_600;
        if self.seconds_left < 0 {
            tracing::error!(
                "the certificate for TLS of {port} expired {hours} h ago, and clients that look refuse it: put a new one in its place"
            );
        } else {
            tracing::warn!(
                "the certificate for TLS of {port} expires in {hours} h: put a new one in its place, it is read without a restart"
            );
        }
    }
}

/// A list of revoked certificates is out of date: whom the authority has revoked since is let in.
#[derive(Debug)]
pub struct RevocationsOutdated<'a> {
    /// Where.
    pub port: TlsPort,
    /// The list.
    pub path: &'a Path,
    /// How long ago the authority wanted to publish the next one.
    pub seconds_ago: u64,
}

impl RevocationsOutdated<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { port, path, seconds_ago } = self;
        let minutes = seconds_ago / 60;
        tracing::error!(
            "the list of revoked certificates in `{}` for TLS of {} has been out of date for {minutes} min: it still counts, but whoever was \
             revoked since is let in. Put a new one in its place, it is read without a restart",
            path.display(),
            port.name()
        );
    }
}

/// Some of the authorities that the system trusts cannot be read; the others are trusted.
#[derive(Debug)]
pub struct SystemAuthoritiesLeftOut<'a> {
    /// How many are trusted.
    pub authorities: usize,
    /// How many files or certificates are left out.
    pub left_out: usize,
    /// What is wrong with the first one.
    pub reason: &'a str,
}

impl SystemAuthoritiesLeftOut<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { authorities, left_out, reason } = self;
        tracing::warn!(
            authorities,
            left_out,
            "some authorities that the system trusts are left out: {reason}"
        );
    }
}
