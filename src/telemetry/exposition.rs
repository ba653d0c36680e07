//! `/metrics`: all numbers, in either of the formats that Prometheus reads.

mod compatibility;
mod families;
mod format;
mod heavy;
mod lines;
mod parts;
mod process;
mod rules;
mod store;
mod tls;
mod xds;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use self::families::Families;
pub use self::format::Format;
use self::lines::Lines;
pub use self::parts::Part;
use self::parts::Spare;
pub use self::xds::XdsSource;
use super::compatibility::Statistics;
use super::log::Dropped;
use super::tallies::Totals;
use super::{Metrics, build};
use crate::model::{Catalog, NoMatch, Timestamp};

/// With more domains than that, counters by domain and reason are there from the first event on.
const MANY: usize = 1_000;

/// The gRPC codes of the errors that calls are answered by.
const FAILURES: [&str; 8] = [
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "Internal",
    "InvalidArgument",
    "ResourceExhausted",
    "Unavailable",
    "Unimplemented",
];

/// The numbers of what is counted elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counters in memory.
    pub counters: u64,
    /// Bytes that they take.
    pub counter_bytes: u64,
    /// Counters that made room for others while they still counted.
    pub evicted: u64,
    /// Counters that were freed after their windows had ended.
    pub expired: u64,
    /// The time.
    pub now: Timestamp,
    /// Rules in force.
    pub rules: usize,
    /// Whether traffic should be sent here.
    pub is_ready: bool,
    /// How many configurations were put in force; 1 is the one that the server started with.
    pub generation: u64,
    /// Whether a newer configuration was refused.
    pub is_stale: bool,
    /// When the configuration was put in force.
    pub changed: Timestamp,
    /// The xDS servers that are asked.
    pub xds: Vec<XdsSource>,
    /// The rules whose counts are reported.
    pub catalog: Arc<Catalog>,
    /// Of each domain that has subjects.
    pub subjects: Vec<SubjectCounts>,
}

/// How many subjects a domain has.
#[derive(Clone, Debug, Default)]
pub struct SubjectCounts {
    /// Its name.
    pub domain: String,
    /// Its subjects, enabled or not.
    pub subjects: u64,
    /// Their credentials, enabled or not.
    pub credentials: u64,
}

/// The text of `/metrics` in parts, each of which ends with a line and is made when it is asked for: of very many rules the text
/// is some ten times as long as what it is made of.
#[derive(Debug)]
pub struct Exposition {
    /// What has no line for each rule, until it is taken.
    first: Option<Part>,
    /// What has.
    rest: VecDeque<Lines>,
    /// The end of the text, until it is taken.
    last: Option<&'static str>,
    spare: Spare,
}

impl Iterator for Exposition {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let last = self.last?;
        let mut part = self.first.take().unwrap_or_else(|| self.spare.part());
        while let Some(lines) = self.rest.front_mut() {
            if lines.write(&mut part.text) {
                return Some(part);
            }
            self.rest.pop_front();
        }
        part.text.push_str(last);
        self.last = None;
        Some(part)
    }
}

impl Metrics {
    /// The text of `/metrics`, with the numbers of what is counted elsewhere.
    pub fn render(self: &Arc<Self>, now: Snapshot, format: Format) -> String {
        self.exposition(now, format).fold(String::new(), |text, part| text + &part)
    }

    /// The same in parts. What it takes grows with the number of rules.
    pub fn exposition(self: &Arc<Self>, now: Snapshot, format: Format) -> Exposition {
        let totals = self.tallies.totals(&now.catalog);
        let mut rest = VecDeque::from([rules::rules(&totals, format)]);
        let statistics =
            self.has_ratelimit_names.load(Ordering::Relaxed).then(|| Statistics::of(self, &totals));
        rest.extend(statistics.as_ref().map(|statistics| compatibility::rules(statistics, format)));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { metrics: Arc::clone(self), now, totals, statistics }));
        let spare = Spare::default();
        let mut first = spare.part();
        let (done, last) = match format {
            Format::Prometheus => (prometheus_text::encode(&mut first.text, &registry), ""),
            Format::OpenMetrics => (text::encode_registry(&mut first.text, &registry), "# EOF\n"),
        };
        // To write to a string does not fail.
        if done.is_err() {
            first.text.clear();
        }
        Exposition { first: Some(first), rest, last: Some(last), spare }
    }
}

/// Everything that one scrape reports, but for what has a line for each rule.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    now: Snapshot,
    totals: Totals,
    statistics: Option<Statistics>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.requests(&mut to)?;
        rules::series(&self.totals, &mut to)?;
        self.failures(&mut to)?;
        store::store(&self.metrics, &self.totals, &mut to)?;
        self.counters(&mut to)?;
        self.connections(&mut to)?;
        tls::tls(&self.metrics, self.now.now, &mut to)?;
        self.bounds(&mut to)?;
        self.state(&mut to)?;
        if self.metrics.has_heavy_hitters.load(Ordering::Relaxed) {
            heavy::heavy_hitters(&self.metrics.heavy_hitters(self.now.now), &mut to)?;
        }
        if let Some(statistics) = &self.statistics {
            compatibility::service(statistics, &self.totals.answers, &mut to)?;
        }
        process::process(&mut to)
    }
}

impl Scrape {
    fn requests(&self, to: &mut Families<'_>) -> fmt::Result {
        let answers = self.totals.catalog.domains.iter().zip(&self.totals.domains);
        let answers = answers.flat_map(|(domain, totals)| {
            [("ok", totals.ok), ("over_limit", totals.over_limit)]
                .map(|(code, count)| ([("domain", &**domain), ("code", code)], count))
        });
        to.labelled("spillway_requests", "Requests that were decided, by domain and answer.", answers)?;

        to.times(
            "spillway_answer_duration",
            "Time from when a request was read over gRPC to its answer.",
            &self.totals.answers,
        )
    }

    fn failures(&self, to: &mut Families<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let failed = metrics.calls_failed.with(FAILURES);
        let failed = failed.iter().map(|(code, count)| ([("grpc_code", &**code)], *count));
        to.labelled("spillway_calls_failed", "Calls that were answered by an error, by gRPC code.", failed)?;
        to.counted(
            "spillway_calls_late",
            "Calls that were reset because their grpc-timeout was over before they were decided.",
            &metrics.calls_late,
        )?;
        to.counted(
            "spillway_calls_panicked",
            "Calls that met an internal error (bug) and were answered with INTERNAL.",
            &metrics.calls_panicked,
        )?;
        to.counted(
            "spillway_requests_beyond_bounds",
            "Requests that are beyond a bound, and were refused or answered by an error as --beyond-bounds says.",
            &metrics.requests_beyond_bounds,
        )?;
        to.counted(
            "spillway_sent_limits_left_out",
            "Limits that Envoy sent with a descriptor and that were left out, for their unit or its multiplier is none.",
            &metrics.sent_limits_left_out,
        )?;
        to.counted(
            "spillway_unknown_domain_requests",
            "Requests for a domain that no policy has, which nothing limits.",
            &metrics.unknown_domains,
        )?;
        let of_all = &self.totals.catalog.domains;
        let domains =
            || of_all.iter().take(if of_all.len() > MANY { 0 } else { MANY }).map(|domain| &**domain);
        let unmatched = metrics.unmatched_descriptors.each_ref().map(|counts| counts.with(domains()));
        let unmatched = NoMatch::ALL.iter().zip(&unmatched).flat_map(|(reason, counts)| {
            counts.iter().map(|(domain, count)| ([("domain", &**domain), ("reason", reason.name())], *count))
        });
        to.labelled(
            "spillway_unmatched_descriptors",
            "Descriptors that reached no rule, and no exemption either, by what the policy has not.",
            unmatched,
        )
    }

    fn counters(&self, to: &mut Families<'_>) -> fmt::Result {
        to.gauge("spillway_counters", "Counters in memory.", self.now.counters)?;
        to.gauge(
            "spillway_counters_bytes",
            "Memory that counters take, and that is kept for more.",
            self.now.counter_bytes,
        )?;
        to.counter(
            "spillway_counters_evicted",
            "Counters that were forgotten before their windows ended, to make room for others.",
            self.now.evicted,
        )?;
        to.counter(
            "spillway_counters_expired",
            "Counters that were freed after their windows had ended.",
            self.now.expired,
        )?;
        let steps =
            [("back", &self.metrics.clock_steps_back), ("forward", &self.metrics.clock_steps_forward)];
        let steps =
            steps.map(|(direction, steps)| ([("direction", direction)], steps.load(Ordering::Relaxed)));
        to.labelled("spillway_clock_steps", "Times that the wall clock was set.", steps)
    }

    fn connections(&self, to: &mut Families<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let open = [
            ("grpc", &metrics.grpc_connections),
            ("http", &metrics.http_connections),
            ("admin", &metrics.admin_connections),
        ];
        let open = open.map(|(port, count)| ([("port", port)], count.load(Ordering::Relaxed)));
        to.gauges("spillway_connections_open", "Connections that are open, by port.", open)?;
        to.counted(
            "spillway_accept_failures",
            "Connections that could not be taken, as when file descriptors run out.",
            &metrics.accepts_failed,
        )?;
        to.counted(
            "spillway_admin_refused_requests",
            "Requests to the admin port that were refused for who sent them, or how.",
            &metrics.admin_refused,
        )?;
        to.counted(
            "spillway_authority_sanitized_connections",
            "Connections whose calls had an invalid :authority, which was sanitized.",
            &metrics.authorities_sanitized,
        )?;
        to.counted(
            "spillway_connections_ended",
            "Connections that were ended for what their clients did.",
            &metrics.connections_ended,
        )?;
        to.counted(
            "spillway_connections_refused",
            "Connections that were refused because all others were in use.",
            &metrics.connections_refused,
        )
    }

    /// What the process was allowed to take, beside what it takes.
    fn bounds(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(bounds) = self.metrics.bounds.get() else { return Ok(()) };
        to.gauge("spillway_counters_max", "The most counters in memory.", bounds.counters)?;
        to.gauge(
            "spillway_counters_bytes_max",
            "The most memory that counters may take.",
            bounds.counter_bytes,
        )?;
        let ports = [("grpc", bounds.grpc_connections), ("http", bounds.http_connections)];
        let ports = ports.map(|(port, most)| ([("port", port)], most));
        to.gauges("spillway_connections_max", "The most connections that may be open, by port.", ports)
    }

    fn subjects(&self, to: &mut Families<'_>) -> fmt::Result {
        let of_each = |number: fn(&SubjectCounts) -> u64| {
            self.now.subjects.iter().map(move |counts| ([("domain", &*counts.domain)], number(counts)))
        };
        let subjects = of_each(|counts| counts.subjects);
        to.gauges("spillway_subjects", "Subjects in force, enabled or not, by domain.", subjects)?;
        let credentials = of_each(|counts| counts.credentials);
        to.gauges("spillway_credentials", "Credentials in force, enabled or not, by domain.", credentials)
    }

    /// Where calls are traced.
    fn spans(&self, to: &mut Families<'_>) -> fmt::Result {
        let Some(spans) = self.metrics.spans.get() else { return Ok(()) };
        to.counted("spillway_trace_spans_sent", "Spans of calls that a collector took.", &spans.sent)?;
        to.labelled(
            "spillway_trace_spans_dropped",
            "Spans of calls that no collector has, by reason.",
            spans.dropped_by_reason().map(|(reason, count)| ([("reason", reason)], count)),
        )
    }

    fn state(&self, to: &mut Families<'_>) -> fmt::Result {
        let metrics = &*self.metrics;
        let program = [("version", build::VERSION), ("commit", build::COMMIT)];
        to.gauges("spillway_build_info", "Which program this is; always 1.", [(program, 1)])?;
        to.gauge(
            "spillway_store_breakers_open",
            "Workers that do not ask the counter store at the moment, as it failed too often.",
            metrics.store_breakers_open.load(Ordering::Relaxed),
        )?;
        to.gauge(
            "spillway_store_failed",
            "Whether the counter store has failed and is opened anew as soon as that works: a disk that is full or broken.",
            u64::from(metrics.store_broken.load(Ordering::Relaxed)),
        )?;
        to.gauge("spillway_ready", "Whether /ready says yes.", u64::from(self.now.is_ready))?;
        to.gauge(
            "spillway_draining",
            "Whether the process was asked to end.",
            u64::from(metrics.is_draining.load(Ordering::Relaxed)),
        )?;
        to.gauge(
            "spillway_shadow_mode",
            "Whether SHADOW_MODE is on, so that no limit is enforced.",
            u64::from(metrics.is_shadow_mode.load(Ordering::Relaxed)),
        )?;
        to.gauge("spillway_rules", "Rules in force.", self.now.rules as u64)?;
        self.subjects(to)?;
        to.gauge(
            "spillway_config_generation",
            "The number of the configuration in force; 1 is the one that the server started with, and each later one, or change of a subject, has the next.",
            self.now.generation,
        )?;
        to.gauge(
            "spillway_config_stale",
            "Whether a newer configuration was refused, so that an older one is in force.",
            u64::from(self.now.is_stale),
        )?;
        to.gauge(
            "spillway_config_last_change_timestamp_seconds",
            "When the configuration was put in force, in seconds since 1970.",
            self.now.changed.as_nanos() / 1_000_000_000,
        )?;
        to.counted(
            "spillway_config_loads",
            "Configurations that were read and put in force, the one that the server started with among them.",
            &metrics.configs_loaded,
        )?;
        to.counted(
            "spillway_config_refusals",
            "Configurations that were refused for their mistakes; the one before stayed in force.",
            &metrics.configs_refused,
        )?;
        xds::xds(&self.now.xds, to)?;
        to.counter(
            "spillway_log_lines_dropped",
            "Log lines that could not be written, or were dropped because nobody read them.",
            metrics.log_lines_dropped.get().map_or(0, Dropped::lines),
        )?;
        self.spans(to)?;
        to.counted(
            "spillway_tasks_ended",
            "Background tasks that ended by an internal error (bug) and were started again.",
            &metrics.tasks_ended,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{DomainIndex, RuleIndex};
    use crate::telemetry::{ClockStepped, RuleHit};

    fn rendered(metrics: &Arc<Metrics>, catalog: &Arc<Catalog>, format: Format) -> String {
        metrics.render(Snapshot { catalog: Arc::clone(catalog), ..Snapshot::default() }, format)
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|one| one == *line), "no `{line}` in:\n{text}");
        }
    }

    #[test]
    fn steps_of_the_clock_are_counted_by_their_direction() {
        let metrics = Arc::new(Metrics::default());
        for forward in [true, false, false] {
            ClockStepped { forward, by: Duration::from_secs(600) }.emit(&metrics);
        }
        has(
            &rendered(&metrics, &Arc::default(), Format::Prometheus),
            &[
                "# TYPE spillway_clock_steps_total counter",
                "spillway_clock_steps_total{direction=\"back\"} 2",
                "spillway_clock_steps_total{direction=\"forward\"} 1",
            ],
        );
    }

    #[test]
    fn rules_domains_and_times_are_reported_in_both_formats() {
        let metrics = Arc::new(Metrics::default());
        let rules = vec![(DomainIndex(0), "per \"key\"".into()), (DomainIndex(0), "idle".into())];
        let catalog = Arc::new(Catalog { domains: vec!["d".into()], rules, ..Catalog::default() });
        let recorder = metrics.recorder();
        recorder.count(&catalog, |tally| {
            tally.rule(RuleIndex(0), None, RuleHit { hits: 3, over: true, ..RuleHit::default() });
            tally.domain(DomainIndex(0), true);
        });
        recorder.took(Duration::from_millis(21), 1);
        let same = [
            "spillway_requests_total{domain=\"d\",code=\"ok\"} 0",
            "spillway_requests_total{domain=\"d\",code=\"over_limit\"} 1",
            "spillway_rule_hits_total{domain=\"d\",rule=\"per \\\"key\\\"\"} 3",
            "spillway_rule_over_limit_total{domain=\"d\",rule=\"per \\\"key\\\"\"} 3",
            "spillway_rule_within_limit_total{domain=\"d\",rule=\"idle\"} 0",
            "spillway_answer_duration_seconds_bucket{le=\"0.02\"} 0",
            "spillway_answer_duration_seconds_bucket{le=\"0.025\"} 1",
            "spillway_answer_duration_seconds_bucket{le=\"+Inf\"} 1",
            "spillway_answer_duration_seconds_count 1",
        ];
        has(&rendered(&metrics, &catalog, Format::Prometheus), &same);
        let open = rendered(&metrics, &catalog, Format::OpenMetrics);
        has(&open, &same);
        assert!(open.ends_with("# EOF\n"), "{open}");
    }

    #[test]
    fn of_very_many_rules_those_are_reported_that_were_reached() {
        let metrics = Arc::new(Metrics::default());
        let rules = (0..100_000).map(|n| (DomainIndex(0), format!("r{n}").into())).collect();
        let catalog = Arc::new(Catalog { domains: vec!["d".into()], rules, ..Catalog::default() });
        metrics.recorder().count(&catalog, |tally| {
            tally.rule(RuleIndex(7), None, RuleHit { hits: 1, ..RuleHit::default() });
        });
        let text = rendered(&metrics, &catalog, Format::Prometheus);
        let hits: Vec<_> =
            text.lines().filter(|line| line.starts_with("spillway_rule_hits_total{")).collect();
        assert_eq!(hits, ["spillway_rule_hits_total{domain=\"d\",rule=\"r7\"} 1"]);
    }

    #[test]
    fn the_format_is_what_is_accepted() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            (prometheus, Format::OpenMetrics),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_reported() {
        let text = rendered(&Arc::default(), &Arc::default(), Format::Prometheus);
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            // CPU time has a resolution of 10 ms, and few tests may have run so far.
            let may_be_zero = name == "process_cpu_seconds_total";
            assert!(value.is_some_and(|value| value > 0.0 || may_be_zero), "{name} in:\n{text}");
        }
    }
}
