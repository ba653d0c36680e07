//! The process, from its first line to its last.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::telemetry::{Metrics, StatsdOptions};

/// The first line.
#[derive(Debug)]
pub struct Starting {
    /// Of this program.
    pub version: &'static str,
    /// That it is built from.
    pub commit: &'static str,
}

impl Starting {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(version = self.version, commit = self.commit, "starting");
    }
}

/// A port is open.
#[derive(Debug)]
pub struct Listening<'a> {
    /// What is served there.
    pub what: &'static str,
    /// Where.
    pub address: &'a str,
}

impl Listening<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(address = %self.address, "listening for {}", self.what);
    }
}

/// Every part is up.
#[derive(Debug)]
pub struct Ready;

impl Ready {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!("ready");
    }
}

/// A signal asked for the end, which is put off.
#[derive(Debug)]
pub struct NotReady {
    /// For how long.
    pub drain_delay: Duration,
}

impl NotReady {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(
            drain_delay = ?self.drain_delay,
            "not ready any more: calls and new connections are still served, then it drains; a second signal ends at once"
        );
    }
}

/// Calls in flight are waited for.
#[derive(Debug)]
pub struct Draining;

impl Draining {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(
            "draining: calls in flight finish, new ones are not taken; a second signal ends at once"
        );
    }
}

/// The end.
#[derive(Debug)]
pub struct Drained {
    /// Whether calls in flight were all answered.
    pub complete: bool,
}

impl Drained {
    /// Logs it.
    pub fn emit(&self) {
        if self.complete {
            tracing::info!("drained");
        } else {
            tracing::warn!("some connections did not close in time and were cut off");
        }
    }
}

/// Statistics could not be sent to `StatsD`, or can again.
#[derive(Debug)]
pub struct StatisticsSent<'a> {
    /// Where they go.
    pub to: &'a StatsdOptions,
    /// Why they could not be sent.
    pub error: Option<&'a std::io::Error>,
}

impl StatisticsSent<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let StatsdOptions { host, port, .. } = self.to;
        if let Some(error) = self.error {
            tracing::warn!("cannot send statistics to `{host}:{port}`, and will try again: {error}");
        } else {
            tracing::info!("statistics are sent to `{host}:{port}` again");
        }
    }
}

/// A task that should run as long as the server ended, which is an internal error (bug).
#[derive(Debug)]
pub struct TaskEnded {
    /// What it did.
    pub what: &'static str,
    /// Whether it is started again.
    pub is_restarted: bool,
}

impl TaskEnded {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.tasks_ended.fetch_add(1, Ordering::Relaxed);
        let then = if self.is_restarted { "; it is started again" } else { "" };
        tracing::error!("internal error (bug): the task for {} ended{then}", self.what);
    }
}
