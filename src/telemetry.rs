//! What is logged and counted: events with their log lines, counts for each rule, and `/metrics`.

pub mod build;
mod compatibility;
mod event;
mod exposition;
mod heavy;
mod hits;
mod labelled;
pub mod log;
mod past;
mod process;
mod reading;
mod recent;
mod series;
mod spans;
mod statsd;
mod tallies;
mod tally;
mod throttle;
mod times;
mod tls;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use self::event::*;
pub use self::exposition::{Exposition, Format, Part, Snapshot, SubjectCounts, XdsSource};
pub use self::heavy::{HeavyHitter, HeavyName};
pub use self::hits::{NearLimit, RuleHit, RuleTotals};
pub use self::past::{Tidied, Tidying};
pub use self::reading::{Connections, Counts, StoreHealth};
pub use self::recent::{Denial, KEPT, Seen, Unmatched};
pub use self::spans::SpanCounts;
pub use self::statsd::{Dialect, StatsdOptions};
pub use self::tallies::{NextTallies, ReadyTallies, Recorder};
pub use self::tally::{DomainTotals, Tally};
pub use self::tls::{TlsClients, TlsInForce, TlsPort, TlsState};

use self::compatibility::Statistics;
use self::labelled::Labelled;
use self::log::Dropped;
use self::recent::Recent;
use self::statsd::Statsd;
use self::tallies::Tallies;
use self::throttle::{Lasting, Throttle, Throttles};
use self::tls::TlsCounts;
use crate::model::{Catalog, NoMatch, Timestamp};

/// What happened since the start. Events count themselves here, and [`render`](Self::render) reports it to Prometheus.
#[derive(Debug, Default)]
pub struct Metrics {
    accepts_failed: AtomicU64,
    admin_connections: Arc<AtomicU64>,
    admin_refused: AtomicU64,
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
    handshakes: Arc<AtomicU64>,
    http_connections: Arc<AtomicU64>,
    is_draining: AtomicBool,
    is_shadow_mode: AtomicBool,
    near_limit: OnceLock<NearLimit>,
    has_ratelimit_names: AtomicBool,
    has_heavy_hitters: AtomicBool,
    tells_request: AtomicBool,
    log_lines_dropped: OnceLock<Dropped>,
    recent: Recent,
    requests_beyond_bounds: AtomicU64,
    sent_limits_left_out: AtomicU64,
    spans: OnceLock<Arc<SpanCounts>>,
    statsd: OnceLock<Mutex<Statsd>>,
    store_errors: Labelled,
    store_failures: AtomicU64,
    store_breaks: AtomicU64,
    store_breakers_open: AtomicU64,
    store_broken: AtomicBool,
    store_reopened: AtomicU64,
    refused_without_store: AtomicU64,
    counted_without_store: AtomicU64,
    failed_open_without_store: AtomicU64,
    tallies: Tallies,
    tasks_ended: AtomicU64,
    tls: [TlsCounts; 2],
    tls_reasons: OnceLock<&'static [&'static str]>,
    unknown_domains: AtomicU64,
    unmatched_descriptors: [Labelled; NoMatch::ALL.len()],

    accept_lines: Throttle,
    admin_lines: Throttle,
    shut_out_lines: Throttle,
    authority_lines: Throttle,
    beyond_lines: Throttles,
    ended_lines: Throttle,
    lost_lines: Throttle,
    panic_lines: Throttle,
    refused_lines: Throttle,
    sent_limit_lines: Throttle,
    store_lines: Throttle,
    store_state_lines: Throttle,
    tls_lines: Throttles,
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

    /// Has hits be near a limit from another part of it on than four fifths; before anything counts.
    pub fn set_near_limit(&self, near_limit: NearLimit) {
        // It is given once, when the process starts.
        let _ = self.near_limit.set(near_limit);
    }

    /// From which part of a limit on hits are near it.
    pub fn near_limit(&self) -> NearLimit {
        self.near_limit.get().copied().unwrap_or_default()
    }

    /// Has `/metrics` report that no limit is enforced, as `SHADOW_MODE` has it.
    pub fn set_shadow_mode(&self) {
        self.is_shadow_mode.store(true, Ordering::Relaxed);
    }

    /// Has `/metrics` report what envoyproxy/ratelimit counts, too, under its names.
    pub fn report_ratelimit_names(&self) {
        self.has_ratelimit_names.store(true, Ordering::Relaxed);
    }

    /// Has `/metrics` report the busiest and the most refused keys.
    pub fn report_heavy_hitters(&self) {
        self.has_heavy_hitters.store(true, Ordering::Relaxed);
    }

    /// Has answers tell Envoy what was asked, for its access log; of workers that start from now on.
    pub fn tell_request(&self) {
        self.tells_request.store(true, Ordering::Relaxed);
    }

    /// Whether answers tell what was asked.
    pub fn tells_request(&self) -> bool {
        self.tells_request.load(Ordering::Relaxed)
    }

    /// The busiest and the most refused keys of the one to two minutes before `now`, those with most hits first: hundreds at most
    /// for each worker, with their hits estimated.
    pub fn heavy_hitters(&self, now: Timestamp) -> Vec<HeavyHitter> {
        self.tallies.heavy_hitters(now)
    }

    /// Has [`send_statistics`](Self::send_statistics) send what envoyproxy/ratelimit counts to `StatsD`.
    pub fn report_to_statsd(&self, options: StatsdOptions) {
        // They are given once, when the process starts.
        let _ = self.statsd.set(Mutex::new(Statsd::new(options)));
    }

    /// The time after which statistics are to be sent again; `None` where nobody wants them.
    pub fn statistics_interval(&self) -> Option<Duration> {
        let statsd = self.statsd.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(statsd.options().interval)
    }

    /// Sends what was counted since the last time, for the rules of `catalog`. It looks up a name, which may take long.
    pub fn send_statistics(&self, catalog: &Arc<Catalog>) {
        let Some(statsd) = self.statsd.get() else { return };
        let statistics = Statistics::of(self, &self.tallies.totals(catalog));
        let mut statsd = statsd.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = statsd.send(&statistics);
        let is_failing = sent.is_err();
        if is_failing != statsd.is_failing {
            StatisticsSent { to: statsd.options(), error: sent.as_ref().err() }.emit();
        }
        statsd.is_failing = is_failing;
    }

    /// Has `/metrics` report how many log lines were dropped.
    pub fn watch_log(&self, dropped: Dropped) {
        // There is one log; a second is not reported.
        let _ = self.log_lines_dropped.set(dropped);
    }

    /// Has `/metrics` report what became of the spans of calls.
    pub fn watch_spans(&self, counts: Arc<SpanCounts>) {
        // They are sent to one place.
        let _ = self.spans.set(counts);
    }

    /// What one worker counts its requests with.
    pub fn recorder(&self) -> Recorder {
        self.tallies.recorder()
    }

    /// What room for the counts of a policy is made with.
    pub fn next_tallies(&self) -> NextTallies {
        self.tallies.next()
    }

    /// Has the counts of a policy that is about to come into force in that room. Without it each worker makes its own at its next call.
    pub fn prepare(&self, tallies: ReadyTallies) {
        self.tallies.prepare(tallies);
    }

    /// Where the number of open connections of the gRPC port is written.
    pub fn grpc_connections(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.grpc_connections)
    }

    /// Where the number of handshakes for gRPC is written that have begun and not ended.
    pub fn handshakes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.handshakes)
    }

    /// Has `/metrics` report failed handshakes for each of these reasons, those that there were none of too.
    pub fn set_tls_reasons(&self, reasons: &'static [&'static str]) {
        // They are the same for all ports.
        let _ = self.tls_reasons.set(reasons);
    }

    /// Where the number of open connections of the HTTP port is written.
    pub fn http_connections(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.http_connections)
    }

    /// Where the number of open connections of the admin port is written.
    pub fn admin_connections(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.admin_connections)
    }

    /// Counts a call that was answered by an error of this gRPC code.
    pub fn count_failed_call(&self, code: &str) {
        self.calls_failed.add(code, 1);
    }

    /// Counts a call that was reset because its caller did not wait any more.
    pub fn count_late_call(&self) {
        self.calls_late.fetch_add(1, Ordering::Relaxed);
    }

    /// What is to be [tidied](Self::tidy) of what was counted for policies that are gone, if anything; `catalog` is that of the one in
    /// force. To be asked now and then.
    pub fn tidying(&self, catalog: &Arc<Catalog>) -> Option<Arc<Tidying>> {
        self.tallies.tidying(catalog)
    }

    /// Keeps what was added up, and frees nothing: what is needed no more is in `tidied` afterwards.
    pub fn tidy(&self, tidied: &mut Tidied) {
        self.tallies.tidy(tidied);
    }

    /// Forgets the domains that `catalog` does not have. Those that a control plane names come and go.
    pub fn forget_other_domains(&self, catalog: &Catalog) {
        let domains: HashSet<&str> = catalog.domains.iter().map(|domain| &**domain).collect();
        for counts in &self.unmatched_descriptors {
            counts.keep(|domain| domains.contains(domain));
        }
    }

    /// Has `/metrics` report that the process was asked to end.
    pub fn set_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Reports lines that were held back at the end of a burst, which no later line of their kind has reported; at the very end
    /// (`last`) of all that were.
    pub fn report_held_back(&self, last: bool) {
        let kinds = [
            ("requests that the admin port refused", &self.admin_lines),
            ("connections whose clients are let in no more", &self.shut_out_lines),
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
        for (reason, held_back) in self.tls_lines.left(last) {
            tracing::warn!(
                held_back,
                "more lines of a kind were held back: TLS handshakes that failed ({reason})"
            );
        }
    }
}
