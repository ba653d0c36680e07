//! The hits of rules, and of the combinations of values that policies ask for.

use std::collections::BTreeMap;
use std::fmt;

use super::families::Families;
use super::format::Format;
use super::lines::{Family, Kind, Lines};
use crate::model::{DomainIndex, RuleIndex};
use crate::telemetry::hits::RuleTotals;
use crate::telemetry::series;
use crate::telemetry::tallies::Totals;

/// A policy with more rules than that is reported only for those that were reached: a scrape has five lines for each.
const EVERY_RULE: usize = 1_000;

/// The label for the hits of a rule with series that are in none of them: no series is called so, for each has a `=`.
const OTHER: &str = "other";

/// The bytes of a rule's labels beside its own, where its domain has a name of usual length.
const LABELS: usize = 40;

const fn counter(name: &'static str, help: &'static str, count: fn(&RuleTotals) -> u64) -> Family {
    Family { name, help, kind: Kind::Counter, count }
}

const FAMILIES: [Family; 5] = [
    counter("spillway_rule_hits", "Hits of requests that reached a rule.", |counted| counted.total),
    counter("spillway_rule_over_limit", "Hits of requests that were over a limit of the rule.", |counted| {
        counted.over
    }),
    counter(
        "spillway_rule_near_limit",
        "Hits of requests that were within the limits of the rule, and used more than four fifths of one, or what NEAR_LIMIT_RATIO says.",
        |counted| counted.near,
    ),
    counter(
        "spillway_rule_within_limit",
        "Hits of requests that were within the limits of the rule.",
        |counted| counted.within,
    ),
    counter(
        "spillway_rule_shadow_mode",
        "Hits of requests that were over a limit of the rule, and passed because it is in shadow mode.",
        |counted| counted.shadow,
    ),
];

pub(super) fn rules(totals: &Totals, format: Format) -> Lines {
    let catalog = &totals.catalog;
    let every = catalog.rules.len() <= EVERY_RULE;
    let mut lines = Lines::of(FAMILIES.to_vec(), format);
    let reported =
        || catalog.rules.iter().zip(&totals.rules).filter(|(_, counted)| every || counted.total > 0);
    // Grown as it is needed, megabytes would be moved around.
    lines.reserve(reported().count(), reported().map(|((_, label), _)| label.len() + LABELS).sum());
    for (rule, ((domain, label), counted)) in
        (0..).map(RuleIndex).zip(catalog.rules.iter().zip(&totals.rules))
    {
        if every || counted.total > 0 {
            let named = [("domain", domain_name(totals, *domain)), ("rule", label)];
            let other = catalog.with_series.contains(&rule).then_some(("entries", OTHER));
            lines.add(named.into_iter().chain(other), *counted);
        }
    }
    for ((rule, series), counted) in &totals.series {
        if let Some((domain, label)) = catalog.rules.get(rule.0 as usize) {
            let domain = domain_name(totals, *domain);
            lines.add([("domain", domain), ("rule", label), ("entries", series)], *counted);
        }
    }
    lines
}

/// How many series there are because a policy asks for `detailed_metric` or `value_to_metric`.
pub(super) fn series(totals: &Totals, to: &mut Families<'_>) -> fmt::Result {
    let catalog = &totals.catalog;
    if catalog.with_series.is_empty() {
        return Ok(());
    }
    let domain = |rule: &RuleIndex| Some(catalog.rules.get(rule.0 as usize)?.0);
    let mut numbers: BTreeMap<DomainIndex, u64> =
        catalog.with_series.iter().filter_map(domain).map(|domain| (domain, 0)).collect();
    for (rule, _) in totals.series.keys() {
        if let Some(number) = domain(rule).and_then(|domain| numbers.get_mut(&domain)) {
            *number += 1;
        }
    }
    let numbers =
        numbers.into_iter().map(|(domain, number)| ([("domain", domain_name(totals, domain))], number));
    to.gauges(
        "spillway_rule_series",
        "Combinations of values that detailed_metric and value_to_metric distinguish; further ones are entries=\"other\".",
        numbers,
    )?;
    to.gauge(
        "spillway_rule_series_max",
        "The most of spillway_rule_series in one domain.",
        series::MOST as u64,
    )
}

fn domain_name(totals: &Totals, domain: DomainIndex) -> &str {
    totals.catalog.domain(domain).map_or("", |domain| domain)
}
