//! Control planes that configurations come from.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::configuration::{ConfigChange, names};
use crate::telemetry::Metrics;

/// Nobody is served before each control plane has sent a set without mistakes.
#[derive(Debug)]
pub struct XdsWaiting<'a> {
    /// Their names.
    pub sources: &'a str,
}

impl XdsWaiting<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(sources = self.sources, "waiting for a first configuration by xDS before serving");
    }
}

/// There is no domain any more, and the process is ready only while there is one.
#[derive(Debug)]
pub struct NoDomain;

impl NoDomain {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!("not ready: HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED is set, and there is no domain");
    }
}

/// A connection to a control plane is open, and resources are asked for.
#[derive(Debug)]
pub struct XdsConnected<'a> {
    /// Its name.
    pub source: &'a str,
    /// As whom it is asked.
    pub node: &'a str,
}

impl XdsConnected<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(source = self.source, node = self.node, "connected to the xDS server");
    }
}

/// The files changed that TLS to a control plane was begun with.
#[derive(Debug)]
pub struct XdsRenewing<'a> {
    /// Its name.
    pub source: &'a str,
}

impl XdsRenewing<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(
            source = self.source,
            "certificate files have changed: a new connection to the xDS server is made with them"
        );
    }
}

/// A control plane cannot be reached, or ended the connection.
#[derive(Debug)]
pub struct XdsAway<'a> {
    /// Its name.
    pub source: &'a str,
    /// Why.
    pub error: &'a str,
    /// When it is tried again.
    pub again_in: Duration,
    /// Whether a set of it is in force.
    pub is_kept: bool,
}

impl XdsAway<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let again_in = format!("{:.1?}", self.again_in);
        let (source, error) = (self.source, self.error);
        if self.is_kept {
            tracing::warn!(
                source,
                again_in,
                error,
                "the xDS server is away; what it sent last stays in force"
            );
        } else {
            tracing::warn!(source, again_in, error, "the xDS server is away, and has sent nothing yet");
        }
    }
}

/// What a control plane sent is in force.
#[derive(Debug)]
pub struct XdsAccepted<'a> {
    /// Its name.
    pub source: &'a str,
    /// What it calls the set.
    pub version: &'a str,
    /// How many resources the set has.
    pub resources: usize,
    /// How many rules there are now, from wherever they come.
    pub rules: usize,
    /// What that changes.
    pub change: &'a ConfigChange<'a>,
}

impl XdsAccepted<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.configs_loaded.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            source = self.source,
            version = self.version,
            resources = self.resources,
            rules = self.rules,
            rules_before = self.change.rules_before,
            domains_added = names(self.change.added),
            domains_removed = names(self.change.removed),
            subjects = self.change.subjects().map(|[_, after]| after),
            subjects_before = self.change.subjects().map(|[before, _]| before),
            "configuration loaded by xDS"
        );
        self.change.warn(self.rules);
    }
}

/// A control plane sent what is in force already, as it does to each new connection.
#[derive(Debug)]
pub struct XdsUnchanged<'a> {
    /// Its name.
    pub source: &'a str,
    /// What it calls the set.
    pub version: &'a str,
}

impl XdsUnchanged<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::debug!(source = self.source, version = self.version, "the xDS server sent nothing new");
    }
}

/// A set of resources is refused, and the control plane is told why.
#[derive(Debug)]
pub struct XdsRefused<'a> {
    /// Its name.
    pub source: &'a str,
    /// What it calls the set.
    pub version: &'a str,
    /// How many resources it has.
    pub resources: usize,
}

impl XdsRefused<'_> {
    /// Logs it. The mistakes are reported as those of files are.
    pub fn emit(&self) {
        tracing::warn!(
            source = self.source,
            version = self.version,
            resources = self.resources,
            "a configuration that came by xDS is refused"
        );
    }
}

/// A control plane goes on sending a set that was refused.
#[derive(Debug)]
pub struct XdsStillRefused<'a> {
    /// Its name.
    pub source: &'a str,
    /// What it calls the set.
    pub version: &'a str,
    /// How often it was sent since this was told the last time.
    pub times: u64,
}

impl XdsStillRefused<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { source, version, times } = self;
        tracing::warn!(
            source,
            version,
            times,
            "the xDS server still sends the configuration that is refused"
        );
    }
}
