//! Numbers for those who show them otherwise than `/metrics` does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::hits::RuleTotals;
use super::process::Process;
use super::recent::{Denial, Seen, Unmatched};
use super::tally::DomainTotals;
use super::{Bounds, Metrics};
use crate::model::{Catalog, Timestamp};

/// What was counted for the rules and the domains of one policy.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// As in [`Catalog::rules`].
    pub rules: Vec<RuleTotals>,
    /// As in [`Catalog::domains`].
    pub domains: Vec<DomainTotals>,
}

/// Connections that are open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Of Envoy.
    pub grpc: u64,
    /// Of the port for probes and scrapes.
    pub http: u64,
    /// Of the admin port.
    pub admin: u64,
}

/// How the store answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Calls that it failed, since the start.
    pub failures: u64,
    /// Workers that do not ask it now, because it failed lately.
    pub breakers_open: u64,
    /// Requests that were refused without it.
    pub refused_without: u64,
    /// Requests that were counted here instead.
    pub counted_without: u64,
}

impl Metrics {
    /// What was counted up to now for the rules and the domains of `catalog`. The work grows with their number.
    pub fn counts(&self, catalog: &Arc<Catalog>) -> Counts {
        let totals = self.tallies.totals(catalog);
        Counts { rules: totals.rules, domains: totals.domains }
    }

    /// The connections that are open now.
    pub fn connections(&self) -> Connections {
        let [grpc, http, admin] = [&self.grpc_connections, &self.http_connections, &self.admin_connections]
            .map(|open| open.load(Ordering::Relaxed));
        Connections { grpc, http, admin }
    }

    /// How the store answers.
    pub fn store_health(&self) -> StoreHealth {
        let [failures, breakers_open, refused_without, counted_without] = [
            &self.store_failures,
            &self.store_breakers_open,
            &self.refused_without_store,
            &self.counted_without_store,
        ]
        .map(|count| count.load(Ordering::Relaxed));
        StoreHealth { failures, breakers_open, refused_without, counted_without }
    }

    /// The bounds of the process; nothing where they were not set.
    pub fn bounds(&self) -> Bounds {
        self.bounds.get().copied().unwrap_or_default()
    }

    /// Whether no limit is enforced, as `SHADOW_MODE` has it.
    pub fn is_shadow_mode(&self) -> bool {
        self.is_shadow_mode.load(Ordering::Relaxed)
    }

    /// Bytes of memory that the process takes, where the system says so.
    pub fn resident_bytes(&self) -> Option<u64> {
        Process::read().resident_bytes
    }

    /// Keeps a sample of what was refused.
    pub fn keep_denial(&self, denial: Denial) {
        self.recent.add_denial(denial);
    }

    /// Keeps a sample of what reached no rule.
    pub fn keep_unmatched(&self, unmatched: Unmatched, at: Timestamp) {
        self.recent.add_unmatched(unmatched, at);
    }

    /// Samples of what was refused, the newest first.
    pub fn denials(&self) -> Vec<Denial> {
        self.recent.denials()
    }

    /// Samples of what reached no rule, the newest first.
    pub fn unmatched(&self) -> Vec<Seen> {
        self.recent.unmatched()
    }
}
