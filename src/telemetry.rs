//! Every event, with its log line and its metric. One event is one struct, named nowhere else.

pub mod build;
pub mod log;
mod throttle;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::log::Dropped;
use self::throttle::{Throttle, Throttles};
use crate::model::lossy;

/// Counts of what happened since the start, as Prometheus reads them.
#[derive(Debug, Default)]
pub struct Metrics {
    accepts_failed: AtomicU64,
    authorities_mended: AtomicU64,
    calls_panicked: AtomicU64,
    clock_steps_back: AtomicU64,
    clock_steps_forward: AtomicU64,
    connections_ended: AtomicU64,
    configs_loaded: AtomicU64,
    configs_refused: AtomicU64,
    connections_refused: AtomicU64,
    requests_beyond_bounds: AtomicU64,
    tasks_ended: AtomicU64,
    log_lines_dropped: OnceLock<Dropped>,
    authority_lines: Throttle,
    ended_lines: Throttle,
    lost_lines: Throttle,
    refused_lines: Throttle,
    beyond_lines: Throttles,
    accept_lines: Throttle,
    panic_lines: Throttle,
}

impl Metrics {
    /// Has `/metrics` tell how many log lines were dropped.
    pub fn watch_log(&self, dropped: Dropped) {
        // There is one log; a second is not told of.
        let _ = self.log_lines_dropped.set(dropped);
    }

    /// Tells of the lines that were held back at the end of a burst, which no later line of their kind has told; at the very end
    /// (`last`) of all that were.
    pub fn tell_held_back(&self, last: bool) {
        let kinds = [
            ("calls with an invalid `:authority`", &self.authority_lines),
            ("connections that ended", &self.ended_lines),
            ("connections that were lost", &self.lost_lines),
            ("connections that were refused", &self.refused_lines),
            ("connections that could not be taken", &self.accept_lines),
            ("calls that failed", &self.panic_lines),
        ];
        let each = kinds.into_iter().filter_map(|(what, lines)| Some((what, lines.left(last)?)));
        for (what, held_back) in each.chain(self.beyond_lines.left(last)) {
            tracing::warn!(held_back, "more lines of a kind were held back: {what}");
        }
    }

    /// The text of `/metrics`, with the numbers of things that are counted elsewhere.
    pub fn render(&self, now: &Snapshot) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        metric(
            "spillway_authority_mended_connections_total",
            "counter",
            "Connections whose calls had an invalid :authority, which was mended.",
            self.authorities_mended.load(Ordering::Relaxed),
        );
        metric(
            "spillway_accept_failures_total",
            "counter",
            "Connections that could not be taken, as when file descriptors run out.",
            self.accepts_failed.load(Ordering::Relaxed),
        );
        metric(
            "spillway_calls_panicked_total",
            "counter",
            "Calls that met a mistake of Spillway's and were answered with INTERNAL.",
            self.calls_panicked.load(Ordering::Relaxed),
        );
        metric(
            "spillway_connections_ended_total",
            "counter",
            "Connections that were ended for what their clients did.",
            self.connections_ended.load(Ordering::Relaxed),
        );
        metric(
            "spillway_connections_refused_total",
            "counter",
            "Connections that were refused because all others were in use.",
            self.connections_refused.load(Ordering::Relaxed),
        );
        metric(
            "spillway_requests_beyond_bounds_total",
            "counter",
            "Requests that are beyond a bound, and were refused or answered by an error as --beyond-bounds says.",
            self.requests_beyond_bounds.load(Ordering::Relaxed),
        );
        metric(
            "spillway_config_loads_total",
            "counter",
            "Configurations that were put in force.",
            self.configs_loaded.load(Ordering::Relaxed),
        );
        metric(
            "spillway_config_refusals_total",
            "counter",
            "Configurations that were refused for their mistakes; the one before stayed in force.",
            self.configs_refused.load(Ordering::Relaxed),
        );
        metric(
            "spillway_log_lines_dropped_total",
            "counter",
            "Log lines that could not be written, or were dropped because nobody read them.",
            self.log_lines_dropped.get().map_or(0, Dropped::lines),
        );
        metric(
            "spillway_tasks_ended_total",
            "counter",
            "Background tasks that ended by an internal error and were started again.",
            self.tasks_ended.load(Ordering::Relaxed),
        );
        metric("spillway_counters", "gauge", "Counters in memory.", now.counters as u64);
        metric(
            "spillway_counter_bytes",
            "gauge",
            "Memory that counters take, and that is kept for more.",
            now.counter_bytes as u64,
        );
        metric(
            "spillway_counters_evicted_total",
            "counter",
            "Counters that were forgotten before their windows ended, to make room for others.",
            now.evicted,
        );
        metric("spillway_rules", "gauge", "Rules in force.", now.rules as u64);
        let _ = writeln!(
            text,
            "# HELP spillway_build_info Which program this is.\n# TYPE spillway_build_info gauge\n\
             spillway_build_info{{version=\"{}\",commit=\"{}\"}} 1",
            build::VERSION,
            build::COMMIT
        );
        text.push_str(
            "# HELP spillway_clock_steps_total Times that the wall clock was set.\n\
             # TYPE spillway_clock_steps_total counter\n",
        );
        for (direction, steps) in [("back", &self.clock_steps_back), ("forward", &self.clock_steps_forward)] {
            let steps = steps.load(Ordering::Relaxed);
            let _ = writeln!(text, "spillway_clock_steps_total{{direction=\"{direction}\"}} {steps}");
        }
        text
    }
}

/// The numbers of things that are counted elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Counters in memory.
    pub counters: usize,
    /// Bytes that they take.
    pub counter_bytes: usize,
    /// Counters that made room for others while they still counted.
    pub evicted: u64,
    /// Rules in force.
    pub rules: usize,
}

/// The most bytes of a client's text that a line shows.
const LONGEST_SHOWN: usize = 256;

/// A client names itself by an `:authority` that is none, as Envoy does in front of a cluster with an Istio name.
#[derive(Debug)]
pub struct AuthorityMended<'a> {
    /// What it sent.
    pub original: &'a str,
    /// Who sent it.
    pub peer: SocketAddr,
}

impl AuthorityMended<'_> {
    /// Logs and counts it, once for each connection.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.authorities_mended.fetch_add(1, Ordering::Relaxed);
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

/// There were more counters than may be kept, and some that still counted were forgotten.
#[derive(Debug)]
pub struct CountersEvicted {
    /// How many since this was said last.
    pub count: u64,
}

impl CountersEvicted {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            count = self.count,
            "counters were forgotten before their windows ended, to make room for new ones: raise `--max-counters` or \
             `--max-counter-memory`, or look for a client that makes up keys",
        );
    }
}

/// The wall clock was set.
#[derive(Debug)]
pub struct ClockStepped {
    /// Whether it shows more than before.
    pub forward: bool,
    /// By how much.
    pub by: Duration,
}

impl ClockStepped {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        let by = self.by.as_secs_f64();
        if self.forward {
            metrics.clock_steps_forward.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                seconds = by,
                "the clock was set forward; windows that have ended by it begin anew"
            );
        } else {
            metrics.clock_steps_back.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                seconds = by,
                "the clock was set back; nobody waits longer for that, and times of day are told by it",
            );
        }
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
    pub peer: SocketAddr,
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

/// A connection ended because of a mistake of ours.
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

/// A call met a mistake of ours. It was answered with INTERNAL, and all others go on.
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

/// One mistake in the files that are to be served, as fields: for logs that machines read.
#[derive(Debug)]
pub struct Mistake<'a> {
    /// Whether the files are refused for it.
    pub refuses: bool,
    /// What is wrong.
    pub message: &'a str,
    /// What to do about it.
    pub hint: Option<&'a str>,
    /// The file, the line and the column, which are counted from 1.
    pub place: Option<(&'a str, usize, usize)>,
}

impl Mistake<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let (hint, file) = (self.hint, self.place.map(|place| place.0));
        let (line, column) = (self.place.map(|place| place.1), self.place.map(|place| place.2));
        if self.refuses {
            tracing::error!(severity = "error", file, line, column, hint, "{}", self.message);
        } else {
            tracing::warn!(severity = "warning", file, line, column, hint, "{}", self.message);
        }
    }
}

/// The configuration was read and is in force.
#[derive(Debug)]
pub struct ConfigLoaded {
    /// From how many files.
    pub files: usize,
    /// How many rules they hold.
    pub rules: usize,
}

impl ConfigLoaded {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.configs_loaded.fetch_add(1, Ordering::Relaxed);
        tracing::info!(files = self.files, rules = self.rules, "configuration loaded");
    }
}

/// The configuration is in force, but something in it is probably not meant.
#[derive(Debug)]
pub struct ConfigWarned {
    /// All of it, as `check` prints it.
    pub warnings: String,
}

impl ConfigWarned {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!("the configuration has warnings:\n{}", self.warnings);
    }
}

/// The configuration changed into one with mistakes; the one before stays in force.
#[derive(Debug)]
pub struct ConfigRefused {
    /// All of them, as `check` prints them; nothing where each has a line of its own.
    pub mistakes: Option<String>,
}

impl ConfigRefused {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.configs_refused.fetch_add(1, Ordering::Relaxed);
        let all = self.mistakes.as_ref().map(|all| format!(":\n{all}")).unwrap_or_default();
        tracing::error!("the new configuration has mistakes, the old one stays in force{all}");
    }
}

/// Nothing will be refused.
#[derive(Debug)]
pub struct OnlyWatching;

impl OnlyWatching {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!("SHADOW_MODE is on: every rule is counted and reported, and none refuses anything");
    }
}

/// The environment has variables of envoyproxy/ratelimit that change nothing here.
#[derive(Debug)]
pub struct WithoutEffect<'a> {
    /// Their names.
    pub variables: &'a [String],
}

impl WithoutEffect<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            variables = self.variables.join(" "),
            "set in the environment, and without effect here"
        );
    }
}

/// A port is open.
#[derive(Debug)]
pub struct Listening {
    /// What is served there.
    pub what: &'static str,
    /// Where.
    pub address: std::net::SocketAddr,
}

impl Listening {
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

/// A task that should run as long as the server ended, which is an internal error. It is started again.
#[derive(Debug)]
pub struct TaskEnded {
    /// What it did.
    pub what: &'static str,
}

impl TaskEnded {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.tasks_ended.fetch_add(1, Ordering::Relaxed);
        tracing::error!("internal error (bug): the task for {} ended; it is started again", self.what);
    }
}

/// A connection was refused, for there are as many as there may be and all of them are in use.
#[derive(Debug)]
pub struct ConnectionRefused {
    /// On which port.
    pub what: &'static str,
    /// Whose it was.
    pub peer: SocketAddr,
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
    pub peer: SocketAddr,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ClockStepped, Metrics, Snapshot};

    #[test]
    fn steps_of_the_clock_are_counted_by_their_direction() {
        let metrics = Metrics::default();
        for forward in [true, false, false] {
            ClockStepped { forward, by: Duration::from_secs(600) }.emit(&metrics);
        }
        let text = metrics.render(&Snapshot::default());
        for line in [
            "# TYPE spillway_clock_steps_total counter\n",
            "spillway_clock_steps_total{direction=\"back\"} 2\n",
            "spillway_clock_steps_total{direction=\"forward\"} 1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
