//! The hits of rules, and of the combinations of values that policies ask for.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::families::Families;
use crate::model::{Catalog, DomainIndex, RuleIndex};
use crate::telemetry::hits::RuleTotals;
use crate::telemetry::series;
use crate::telemetry::tally::Totals;

/// A policy with more rules than that is reported only for those that were reached: a scrape has five lines for each.
const EVERY_RULE: usize = 1_000;

/// The label for the hits of a rule with series that are in none of them: no series is called so, for each has a `=`.
const OTHER: &str = "other";

pub(super) fn rules(totals: &Totals, to: &mut Families<'_>) -> fmt::Result {
    type Family = (&'static str, &'static str, fn(&RuleTotals) -> u64);
    let catalog = &totals.catalog;
    let every = catalog.rules.len() <= EVERY_RULE;
    let rules = (0..).map(RuleIndex).zip(&catalog.rules).zip(&totals.rules);
    let rules = rules.filter(|(_, totals)| every || totals.total > 0);
    let mut lines: Vec<(Vec<(&str, &str)>, &RuleTotals)> = rules
        .map(|((rule, (domain, label)), totals)| {
            let mut labels = named(catalog, *domain, label);
            if catalog.with_series.contains(&rule) {
                labels.push(("entries", OTHER));
            }
            (labels, totals)
        })
        .collect();
    lines.extend(totals.series.iter().filter_map(|((rule, series), totals)| {
        let (domain, label) = catalog.rules.get(rule.0 as usize)?;
        let mut labels = named(catalog, *domain, label);
        labels.push(("entries", series));
        Some((labels, totals))
    }));
    let families: [Family; 5] = [
        ("spillway_rule_hits", "Hits of requests that reached a rule.", |counted| counted.total),
        ("spillway_rule_over_limit", "Hits of requests that were over a limit of the rule.", |counted| {
            counted.over
        }),
        (
            "spillway_rule_near_limit",
            "Hits of requests that were within the limits of the rule, and used more than four fifths of one.",
            |counted| counted.near,
        ),
        (
            "spillway_rule_within_limit",
            "Hits of requests that were within the limits of the rule.",
            |counted| counted.within,
        ),
        (
            "spillway_rule_shadow_mode",
            "Hits of requests that were over a limit of the rule, and passed because it is in shadow mode.",
            |counted| counted.shadow,
        ),
    ];
    for (name, help, count) in families {
        let mut family = to.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, totals) in &lines {
            ConstCounter::new(count(totals)).encode(family.encode_family(labels)?)?;
        }
    }
    series(totals, to)
}

/// How many series there are because a policy asks for `detailed_metric` or `value_to_metric`.
fn series(totals: &Totals, to: &mut Families<'_>) -> fmt::Result {
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
    let numbers = numbers.into_iter().map(|(domain, number)| {
        ([("domain", catalog.domain(domain).map_or("", |domain| &**domain))], number)
    });
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

fn named<'c>(catalog: &'c Catalog, domain: DomainIndex, label: &'c str) -> Vec<(&'c str, &'c str)> {
    vec![("domain", catalog.domain(domain).map_or("", |domain| &**domain)), ("rule", label)]
}
