//! The metrics of envoyproxy/ratelimit, as the mapping that comes with it makes them of its statistics.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::Families;
use super::format::Format;
use super::lines::{Family, Kind, Lines};
use crate::telemetry::compatibility::Statistics;
use crate::telemetry::hits::RuleTotals;
use crate::telemetry::times::TimeTotals;

/// The parts of a name, between its dots, that become labels. What comes after them is added up.
const LABELS: [&str; 3] = ["domain", "key1", "key2"];

/// The only method that is counted.
const METHOD: [(&str, &str); 1] = [("grpc_method", "ShouldRateLimit")];

const fn untyped_rule(name: &'static str, count: fn(&RuleTotals) -> u64) -> Family {
    Family { name, help: "As envoyproxy/ratelimit counts it.", kind: Kind::Untyped, count }
}

const FAMILIES: [Family; 5] = [
    untyped_rule("ratelimit_service_rate_limit_total_hits", |counted| counted.total),
    untyped_rule("ratelimit_service_rate_limit_over_limit", |counted| counted.over),
    untyped_rule("ratelimit_service_rate_limit_near_limit", |counted| counted.near),
    untyped_rule("ratelimit_service_rate_limit_within_limit", |counted| counted.within),
    untyped_rule("ratelimit_service_rate_limit_shadow_mode", |counted| counted.shadow),
];

/// Those of rules.
pub(super) fn rules(statistics: &Statistics, format: Format) -> Lines {
    let mut known: HashMap<[Option<&str>; LABELS.len()], usize> =
        HashMap::with_capacity(statistics.rules.len());
    let mut rules: Vec<([Option<&str>; LABELS.len()], RuleTotals)> =
        Vec::with_capacity(statistics.rules.len());
    for (key, counted) in &statistics.rules {
        let mut parts = key.split('.');
        let labels = LABELS.map(|_| parts.next());
        let at = *known.entry(labels).or_insert(rules.len());
        match rules.get_mut(at) {
            Some((_, sum)) => sum.add(*counted),
            None => rules.push((labels, *counted)),
        }
    }
    let mut lines = Lines::of(FAMILIES.to_vec(), format);
    for (values, counted) in rules {
        let labels = LABELS.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)));
        lines.add(labels, counted);
    }
    lines
}

/// Those of the service.
pub(super) fn service(statistics: &Statistics, answers: &TimeTotals, to: &mut Families<'_>) -> fmt::Result {
    let errors = [("redis_error", statistics.redis_errors), ("service_error", statistics.service_errors)];
    let errors = errors.map(|(kind, count)| ([("err_type", kind)], count));
    untyped(to, "ratelimit_service_should_rate_limit_error", "Calls that failed, by why.", errors)?;
    let calls = [(METHOD, statistics.calls)];
    untyped(to, "ratelimit_service_total_requests", "Calls, by method.", calls)?;
    for (name, help, count) in [
        ("ratelimit_service_config_load_success", "Configurations that were loaded.", statistics.loads),
        ("ratelimit_service_config_load_error", "Configurations that were refused.", statistics.load_errors),
    ] {
        let encoder = to.0.encode_descriptor(name, help, None, MetricType::Unknown)?;
        ConstGauge::new(count).encode(encoder)?;
    }
    to.times_by("ratelimit_service_response_time", "Time to answer, by method.", METHOD, answers)
}

/// Counters there have names that no counter has here, without `_total`.
fn untyped<'l>(
    to: &mut Families<'_>,
    name: &str,
    help: &str,
    numbers: impl IntoIterator<Item = ([(&'l str, &'l str); 1], u64)>,
) -> fmt::Result {
    let mut family = to.0.encode_descriptor(name, help, None, MetricType::Unknown)?;
    for (labels, number) in numbers {
        ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
