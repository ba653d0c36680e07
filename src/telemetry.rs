//! What is logged and counted: events with their log lines, counts for each rule, and `/metrics`.

pub mod build;
mod event;
mod exposition;
mod hits;
mod labelled;
pub mod log;
mod process;
mod series;
mod tally;
mod throttle;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use self::event::*;
pub use self::exposition::{Format, Snapshot, SubjectCounts};
pub use self::hits::RuleHit;
pub use self::tally::{Recorder, Tally};

use self::labelled::Labelled;
use self::log::Dropped;
use self::tally::Tallies;
use self::throttle::{Lasting, Throttle, Throttles};
use crate::model::{Catalog, NoMatch};

/// What happened since the start. Events count themselves here, and [`render`](Self::render) reports it to Prometheus.
#[derive(Debug, Default)]
pub struct Metrics {
    accepts_failed: AtomicU64,
    authorities_sanitized: AtomicU64,
    bounds: OnceLock<Bounds>,
    calls_failed: Labelled,
    calls_late: AtomicU64,
    calls_panicked: AtomicU64,
    clock_steps_back: AtomicU64,
    clock_steps_forward: AtomicU64,
    configs_loaded: AtomicU64,
    configs_refused: AtomicU64,
    connections_ended: AtomicU64,
    connections_refused: AtomicU64,
    grpc_connections: Arc<AtomicU64>,
    http_connections: Arc<AtomicU64>,
    is_draining: AtomicBool,
    is_shadow_mode: AtomicBool,
    log_lines_dropped: OnceLock<Dropped>,
    requests_beyond_bounds: AtomicU64,
    sent_limits_left_out: AtomicU64,
    store_failures: AtomicU64,
    store_breaks: AtomicU64,
    store_breakers_open: AtomicU64,
    store_broken: AtomicBool,
    refused_without_store: AtomicU64,
    counted_without_store: AtomicU64,
    tallies: Tallies,
    tasks_ended: AtomicU64,
    unknown_domains: AtomicU64,
    unmatched_descriptors: [Labelled; NoMatch::ALL.len()],

    accept_lines: Throttle,
    authority_lines: Throttle,
    beyond_lines: Throttles,
    ended_lines: Throttle,
    lost_lines: Throttle,
    panic_lines: Throttle,
    refused_lines: Throttle,
    sent_limit_lines: Throttle,
    store_lines: Throttle,
    store_state_lines: Throttle,
    unknown_domain_lines: Lasting,
    unmatched_lines: Throttle,
}

/// What the process was allowed to take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Counters in memory.
    pub counters: u64,
    /// Bytes that they take.
    pub counter_bytes: u64,
    /// Connections of the gRPC port.
    pub grpc_connections: u64,
    /// Connections of the HTTP port.
    pub http_connections: u64,
}

impl Metrics {
    /// Has `/metrics` report the bounds of the process.
    pub fn set_bounds(&self, bounds: Bounds) {
        // They are given once, when it starts.
        let _ = self.bounds.set(bounds);
    }

    /// Has `/metrics` report that no limit is enforced, as `SHADOW_MODE` has it.
    pub fn set_shadow_mode(&self) {
        self.is_shadow_mode.store(true, Ordering::Relaxed);
    }

    /// Has `/metrics` report how many log lines were dropped.
    pub fn watch_log(&self, dropped: Dropped) {
        // There is one log; a second is not reported.
        let _ = self.log_lines_dropped.set(dropped);
    }

    /// What one worker counts its requests with.
    pub fn recorder(&self) -> Recorder {
        self.tallies.recorder()
    }

    /// Where the number of open connections of the gRPC port is written.
    pub fn grpc_connections(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.grpc_connections)
    }

    /// Where the number of open connections of the HTTP port is written.
    pub fn http_connections(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.http_connections)
    }

    /// Counts a call that was answered by an error of this gRPC code.
    pub fn count_failed_call(&self, code: &str) {
        self.calls_failed.add(code, 1);
    }

    /// Counts a call that was reset because its caller did not wait any more.
    pub fn count_late_call(&self) {
        self.calls_late.fetch_add(1, Ordering::Relaxed);
    }

    /// Frees what was counted for policies that are gone; `catalog` is that of the one in force. To be called now and then.
    pub fn tidy(&self, catalog: &Catalog) {
        self.tallies.tidy(catalog);
    }

    /// Has `/metrics` report that the process was asked to end.
    pub fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Reports lines that were held back at the end of a burst, which no later line of their kind has reported; at the very end
    /// (`last`) of all that were.
    pub fn report_held_back(&self, last: bool) {
        let kinds = [
            ("calls with an invalid `:authority`", &self.authority_lines),
            ("connections that ended", &self.ended_lines),
            ("connections that were lost", &self.lost_lines),
            ("connections that were refused", &self.refused_lines),
            ("connections that could not be taken", &self.accept_lines),
            ("calls that failed", &self.panic_lines),
            ("calls that the counter store failed", &self.store_lines),
            ("changes of whether the counter store is asked", &self.store_state_lines),
            ("limits that were sent along and left out", &self.sent_limit_lines),
        ];
        let each = kinds.into_iter().filter_map(|(what, lines)| Some((what, lines.left(last)?)));
        let lasting = self.unknown_domain_lines.left(last);
        let lasting = lasting.map(|held_back| ("requests for a domain that no policy has", held_back));
        for (what, held_back) in each.chain(lasting).chain(self.beyond_lines.left(last)) {
            tracing::warn!(held_back, "more lines of a kind were held back: {what}");
        }
    }
}
