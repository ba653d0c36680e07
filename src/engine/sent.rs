//! Limits that come with the request (Envoy `RateLimitDescriptor.limit`).

use std::sync::Arc;

use super::RuleRef;
use super::plan::{Candidate, path_entries, stem};
use super::series::series;
use crate::model::{Entry, Few, LimitOverride, RuleIndex, lossy};
use crate::policy::{
    CountBy, Domain, Evaluate, Keys, Limit, LimitId, MatchResult, MetricValues, Requests, Rule, Window,
};

/// The limit that came with a descriptor, where the policy has `reached` what it overrides. It is charged to the counter
/// of the limit that has the same window, as envoyproxy/ratelimit counts by entries and unit, and to one of its own
/// where there is none.
pub(super) fn sent_candidate<'p>(
    (domain, keys): (&'p Domain, &Keys),
    entries: &[Entry<'_>],
    sent: LimitOverride,
    reached: MatchResult<'p>,
) -> Candidate<'p> {
    let path = match reached {
        MatchResult::Node(path) | MatchResult::Exempt(path) => Some(path),
        MatchResult::Nothing { .. } => None,
    };
    let rule = path.as_ref().and_then(|path| path.node()?.rule.as_ref());
    let limits = rule.map_or(&[][..], |rule| &rule.limits);
    let length = sent.unit.length().saturating_mul(sent.unit_multiplier);
    let same = limits.iter().find(|limit| limit.window.length() == Some(length));
    let limit = sent_limit(domain, entries, sent, same.or(limits.first()), same.is_some());
    let series = rule.zip(path.as_ref()).and_then(|(rule, path)| series(domain, rule, entries, path));
    let stem = if let (Some(same), Some(path)) = (same, &path) {
        stem(keys, same, &path_entries(keys, entries, path), path)
    } else {
        let mut key = keys.start();
        for entry in entries {
            key.push(&keys.part(entry.key));
            key.push(&keys.part(entry.value));
        }
        key.finish()
    };
    Candidate {
        limits: Few::from_iter([(0, stem.key(limit.id), sent.requests_per_unit.into())]),
        rule: RuleRef::Sent(Box::new(sent_rule(domain, limit, rule.and_then(|rule| rule.index)))),
        credential: path.and_then(|path| path.credential),
        is_replaced: false,
        series,
    }
}

/// The limit that came with a descriptor. What it overrides says how refusals count and how answers are reported, and with the
/// same window how it counts; else it counts as a `unit:` of the policy does.
fn sent_limit(
    domain: &Domain,
    entries: &[Entry<'_>],
    sent: LimitOverride,
    overridden: Option<&Limit>,
    has_same_window: bool,
) -> Limit {
    let keys: Vec<_> = entries.iter().map(|entry| lossy(entry.key)).collect();
    let name = format!("{} (limit from Envoy)", keys.join(" > "));
    if let (Some(limit), true) = (overridden, has_same_window) {
        return Limit { name, is_named: false, replaces: Vec::new(), ..limit.clone() };
    }
    let id = LimitId::of([
        b"override".as_slice(),
        domain.name.as_bytes(),
        sent.unit.name().as_bytes(),
        &sent.unit_multiplier.to_le_bytes(),
    ]);
    Limit {
        id,
        name,
        is_named: false,
        replaces: Vec::new(),
        requests: Requests::fixed(sent.requests_per_unit.into()),
        window: Window::Unit(sent.unit, sent.unit_multiplier),
        count_by: Arc::new([CountBy::Entries]),
        count_denied: overridden.map_or(domain.evaluate == Evaluate::Each, |limit| limit.count_denied),
        settles: overridden.is_some_and(|limit| limit.settles),
        durability: overridden.map(|limit| limit.durability).unwrap_or_default(),
        on_store_failure: overridden.map_or(domain.on_store_failure, |limit| limit.on_store_failure),
        shape: Arc::clone(overridden.map_or(&domain.shape, |limit| &limit.shape)),
    }
}

/// The rule that it stands for. It beats the policy's own, and its shadow mode with it, and is counted under its `index`. Where the
/// whole server only watches it is watched, too.
fn sent_rule(domain: &Domain, limit: Limit, index: Option<RuleIndex>) -> Rule {
    Rule {
        label: limit.name.clone(),
        path: None,
        index,
        name: None,
        limits: vec![limit],
        replaces: Vec::new(),
        shadow: domain.only_watched,
        tells_over_limit: domain.only_watched,
        quota: false,
        metric_values: MetricValues::Together,
        metadata: None,
    }
}
