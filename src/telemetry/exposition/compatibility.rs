//! The metrics of envoyproxy/ratelimit, as the mapping that comes with it makes them of its statistics.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::Families;
use crate::telemetry::compatibility::Statistics;
use crate::telemetry::hits::RuleTotals;
use crate::telemetry::times::TimeTotals;

/// The parts of a name, between its dots, that become labels. What comes after them is added up.
const LABELS: [&str; 3] = ["domain", "key1", "key2"];

/// The only method that is counted.
const METHOD: [(&str, &str); 1] = [("grpc_method", "ShouldRateLimit")];

pub(super) fn compatibility(
    statistics: &Statistics,
    answers: &TimeTotals,
    to: &mut Families<'_>,
) -> fmt::Result {
    let mut rules: BTreeMap<Vec<&str>, RuleTotals> = BTreeMap::new();
    for (key, counted) in &statistics.rules {
        rules.entry(key.split('.').take(LABELS.len()).collect()).or_default().add(*counted);
    }
    for (place, (stat, _)) in RuleTotals::default().named().into_iter().enumerate() {
        let name = format!("ratelimit_service_rate_limit_{stat}");
        let numbers = rules.iter().map(|(parts, counted)| {
            let labels: Vec<_> = LABELS.into_iter().zip(parts.iter().copied()).collect();
            (labels, counted.named()[place].1)
        });
        untyped(to, &name, "As envoyproxy/ratelimit counts it.", numbers)?;
    }
    let errors = [("redis_error", statistics.redis_errors), ("service_error", statistics.service_errors)];
    let errors = errors.map(|(kind, count)| (vec![("err_type", kind)], count));
    untyped(to, "ratelimit_service_should_rate_limit_error", "Calls that failed, by why.", errors)?;
    let calls = [(METHOD.to_vec(), statistics.calls)];
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
    numbers: impl IntoIterator<Item = (Vec<(&'l str, &'l str)>, u64)>,
) -> fmt::Result {
    let mut family = to.0.encode_descriptor(name, help, None, MetricType::Unknown)?;
    for (labels, number) in numbers {
        ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
