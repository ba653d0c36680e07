//! What envoyproxy/ratelimit counts, under the names that it gives them.

use crate::model::{Catalog, DomainIndex, RuleIndex};

use super::Metrics;
use super::hits::RuleTotals;
use super::tallies::Totals;

/// What the counts of a rule, or of one of its series, are called: `mongo_cps.database_users`.
pub(super) type StatKey = String;

/// The numbers of one moment.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    /// Of each rule that was reached, and of each of its series.
    pub(super) rules: Vec<(StatKey, RuleTotals)>,
    /// Calls of `ShouldRateLimit`.
    pub(super) calls: u64,
    /// Those of them that the store failed.
    pub(super) redis_errors: u64,
    /// Those of them that were answered by an error for another reason.
    pub(super) service_errors: u64,
    /// Configurations that were put in force.
    pub(super) loads: u64,
    /// Configurations that were refused.
    pub(super) load_errors: u64,
}

impl RuleTotals {
    /// Each of the counts, with the name that it has there.
    pub(super) fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("total_hits", self.total),
            ("over_limit", self.over),
            ("near_limit", self.near),
            ("within_limit", self.within),
            ("shadow_mode", self.shadow),
        ]
    }
}

impl Statistics {
    pub(super) fn of(metrics: &Metrics, totals: &Totals) -> Self {
        use std::sync::atomic::Ordering::Relaxed;

        let failed: u64 = metrics.calls_failed.counts().into_iter().map(|(_, count)| count).sum();
        let by_store = metrics.failed_open_without_store.load(Relaxed);
        Self {
            rules: rules(totals),
            calls: totals.answers.count(),
            redis_errors: metrics.store_failures.load(Relaxed),
            service_errors: failed.saturating_sub(by_store),
            loads: metrics.configs_loaded.load(Relaxed),
            load_errors: metrics.configs_refused.load(Relaxed),
        }
    }
}

fn rules(totals: &Totals) -> Vec<(StatKey, RuleTotals)> {
    let catalog = &totals.catalog;
    let written = (0..).map(RuleIndex).zip(&catalog.rules).zip(&totals.rules);
    let written =
        written.filter(|(_, counted)| counted.total > 0).map(|((rule, (domain, label)), counted)| {
            let path = catalog.paths.get(&rule).unwrap_or(label);
            (stat_key(catalog, *domain, path), *counted)
        });
    let series = totals.series.iter().filter_map(|((rule, series), counted)| {
        let (domain, _) = catalog.rules.get(rule.0 as usize)?;
        Some((stat_key(catalog, *domain, series), *counted))
    });
    written.chain(series).collect()
}

/// The domain and the way to a rule, `api_key > path=/leads`, as `domain.api_key.path_/leads`.
fn stat_key(catalog: &Catalog, domain: DomainIndex, path: &str) -> StatKey {
    let mut key = sanitized(catalog.domain(domain).map_or("", |domain| domain));
    for step in path.split(" > ") {
        key.push('.');
        key.push_str(&sanitized(&step.replacen('=', "_", 1)));
    }
    key
}

/// Without what ends a name in `StatsD`: `:` and `|` are `_`, as there, and so is what begins a new line.
pub(super) fn sanitized(text: &str) -> String {
    text.replace(|char: char| matches!(char, ':' | '|') || char.is_control(), "_")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_rule_is_called_by_its_domain_and_the_keys_and_values_on_the_way_to_it() {
        let catalog = Catalog { domains: vec!["mongo_cps".into()], ..Catalog::default() };
        for (path, expected) in [
            ("database=users", "mongo_cps.database_users"),
            ("message_type=marketing > to_number", "mongo_cps.message_type_marketing.to_number"),
            ("path=/a?b=c", "mongo_cps.path_/a?b=c"),
            ("address=::1|x\n", "mongo_cps.address___1_x_"),
        ] {
            assert_eq!(stat_key(&catalog, DomainIndex(0), path), expected);
        }
    }

    #[test]
    fn names_of_rules_are_ours_alone_and_series_stand_for_themselves() {
        let catalog = Arc::new(Catalog {
            domains: vec!["d".into()],
            rules: vec![(DomainIndex(0), "bulk".into()), (DomainIndex(0), "key".into())],
            paths: [(RuleIndex(0), "path=/bulk".into())].into(),
            with_series: [RuleIndex(1)].into(),
        });
        let counted = RuleTotals { total: 1, ..RuleTotals::default() };
        let totals = Totals {
            catalog,
            rules: vec![counted, RuleTotals::default()],
            series: [((RuleIndex(1), "key=a".into()), counted)].into(),
            ..Totals::default()
        };
        let keys: Vec<_> = rules(&totals).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["d.path_/bulk", "d.key_a"]);
    }
}
