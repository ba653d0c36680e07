//! How the counter store answers, and what is done without it.

use std::fmt;

use super::families::Families;
use crate::telemetry::Metrics;
use crate::telemetry::tallies::Totals;

/// Why a store cannot charge counters; see `store::StoreError`.
const KINDS: [&str; 10] = [
    "failed",
    "in_doubt",
    "incomplete",
    "late",
    "refused",
    "rekeyed",
    "resting",
    "timed_out",
    "unreachable",
    "unreadable",
];

pub(super) fn store(metrics: &Metrics, totals: &Totals, to: &mut Families<'_>) -> fmt::Result {
    to.times(
        "spillway_store_duration",
        "Time that the counter store took for a request, where it had to be waited for.",
        &totals.store,
    )?;
    to.counted(
        "spillway_store_failures",
        "Calls whose counters the store could not charge.",
        &metrics.store_failures,
    )?;
    let errors = metrics.store_errors.with(KINDS);
    let errors = errors.iter().map(|(kind, count)| ([("kind", &**kind)], *count));
    to.labelled(
        "spillway_store_errors",
        "Calls whose counters the store could not charge, by why not.",
        errors,
    )?;
    to.counted(
        "spillway_store_reopened",
        "Times that a counter store which had failed was opened anew, and is written again.",
        &metrics.store_reopened,
    )?;
    to.counted(
        "spillway_store_breaks",
        "Times that a worker stopped asking the counter store, as it failed too often.",
        &metrics.store_breaks,
    )?;
    to.counted(
        "spillway_refused_without_store",
        "Calls that were refused as the store failed, by `on_store_failure: closed`.",
        &metrics.refused_without_store,
    )?;
    to.counted(
        "spillway_counted_without_store",
        "Calls that were counted in memory as the store failed, by `on_store_failure: local`.",
        &metrics.counted_without_store,
    )?;
    to.counted(
            "spillway_failed_open_without_store",
            "Calls that were answered by an error as the store failed, as by `on_store_failure: open`; Envoy lets \
             these requests pass unless its filter has `failure_mode_deny`.",
            &metrics.failed_open_without_store,
        )
}
