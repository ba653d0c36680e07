//! The meaning of the policy language, told by example: YAML in, answers out.

mod clock;
mod corners;
mod own_words;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::config;
use crate::limiter::Limiter;
use crate::model::{Descriptor, Entry, Hits, LimitOverride, Request, Unit};
use crate::store::MemoryStore;

/// 2026-01-01T00:00:18Z: 42 s before the minute ends.
const START: Timestamp = Timestamp::from_secs(1_767_225_618);

struct Bench {
    limiter: Arc<Limiter<MemoryStore, ManualClock>>,
    domain: &'static str,
}

impl Bench {
    fn new(yaml: &str) -> Self {
        let loaded = config::load_text("test.yaml", yaml, config::Options::default());
        let loaded = loaded.unwrap_or_else(|wrong| panic!("{}", config::render(&wrong, false)));
        Self {
            limiter: Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), ManualClock::at(START))),
            domain: "d",
        }
    }

    fn decide<'p>(&self, policy: &'p Policy, request: &Request<'_>) -> Verdict<'p> {
        self.limiter.worker().decide_now(Scratch::default(), policy, request).unwrap()
    }

    /// Sends descriptors written `key=value,key=value`, each with its hits and limit, and tells every status.
    fn send_with(&self, descriptors: &[(&str, Hits, Option<LimitOverride>)]) -> String {
        let policy = self.limiter.engine.policy();
        let descriptors = descriptors.iter().map(|(entries, hits, limit)| Descriptor {
            entries: entries
                .split(',')
                .filter(|entry| !entry.is_empty())
                .map(|entry| entry.split_once('=').expect("key=value"))
                .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
                .collect(),
            hits: *hits,
            limit: *limit,
        });
        let request = Request { domain: self.domain.as_bytes(), descriptors: descriptors.collect() };
        let verdict = self.decide(&policy, &request);
        let statuses: Vec<_> = verdict.decisions.iter().map(reported).collect();
        format!("{}: {}", if verdict.over_limit { "OVER" } else { "OK" }, statuses.join(" | "))
    }

    fn send(&self, descriptors: &[&str]) -> String {
        self.send_with(&descriptors.iter().map(|entries| (*entries, Hits::ONE, None)).collect::<Vec<_>>())
    }
}

fn reported(decision: &Decision<'_>) -> String {
    match decision {
        Decision::NoLimit => "free".to_owned(),
        Decision::Exempt(credential) => format!("{} exempt", credential.subject.id()),
        Decision::Skipped(rule) => format!("{} skipped", rule.label),
        Decision::Replaced(rule) => format!("{} replaced", rule.label),
        Decision::Unlimited(rule, _) => format!("{} unlimited", rule.label),
        Decision::Counted(counted) => {
            let (_, outcome) = counted.reported().expect("a counted rule has a limit");
            let over = if counted.over_limit() { " over" } else { "" };
            format!("{} {}/{}{over}", counted.rule.label, outcome.remaining, outcome.limit)
        }
    }
}

const TREE: &str = "
domain: d
descriptors:
  - key: path
    value: /exact
    rate_limit: {name: exact, unit: minute, requests_per_unit: 1}
  - key: path
    value: /e*
    rate_limit: {name: first-star, unit: minute, requests_per_unit: 2}
  - key: path
    value: /ex*
    rate_limit: {name: second-star, unit: minute, requests_per_unit: 3}
  - key: path
    rate_limit: {name: alone, unit: minute, requests_per_unit: 4}
  - key: tenant
    rate_limit: {name: tenant, unit: hour, requests_per_unit: 9}
    descriptors:
      - key: path
        value: /a
        descriptors:
          - {key: method, rate_limit: {name: deep, unit: day, requests_per_unit: 5}}
      - key: path
        rate_limit: {name: any-path, unit: day, requests_per_unit: 6}
      - {key: exempt, value: me}
";

#[test]
fn an_exact_value_beats_the_stars_in_their_order_and_the_key_alone_comes_last() {
    let bench = Bench::new(TREE);
    assert_eq!(bench.send(&["path=/exact"]), "OK: exact 0/1");
    assert_eq!(bench.send(&["path=/exam"]), "OK: first-star 1/2");
    assert_eq!(bench.send(&["path=/other"]), "OK: alone 3/4");
}

#[test]
fn a_limit_applies_only_where_the_last_entry_lands() {
    let bench = Bench::new(TREE);
    assert_eq!(bench.send(&["tenant=t"]), "OK: tenant 8/9");
    assert_eq!(bench.send(&["tenant=t,path=/b"]), "OK: any-path 5/6");
    assert_eq!(bench.send(&["tenant=t,path=/b,method=GET"]), "OK: free");
    assert_eq!(bench.send(&["tenant=t,path=/a,method=GET"]), "OK: deep 4/5");
    assert_eq!(bench.send(&["tenant=t"]), "OK: tenant 7/9", "what matched elsewhere was not charged here");
}

#[test]
fn there_is_no_way_back_from_a_more_specific_node() {
    // `path=/a` below `tenant` has no limit of its own, and the key alone beside it is not tried in its place.
    assert_eq!(Bench::new(TREE).send(&["tenant=t,path=/a"]), "OK: free");
}

#[test]
fn a_node_without_a_limit_is_an_exemption_and_order_matters() {
    let bench = Bench::new(TREE);
    assert_eq!(bench.send(&["tenant=t,exempt=me"]), "OK: free");
    assert_eq!(bench.send(&["exempt=me,tenant=t"]), "OK: free");
    assert_eq!(bench.send(&["path=/b,tenant=t"]), "OK: free");
}

#[test]
fn nothing_matches_nothing() {
    let bench = Bench::new(TREE);
    assert_eq!(bench.send(&["", "unknown=x", "Path=/exact"]), "OK: free | free | free");
    let stranger = Bench { domain: "other", ..bench };
    assert_eq!(stranger.send(&["path=/exact", "tenant=t"]), "OK: free | free");
}

#[test]
fn an_empty_value_matches_the_key_alone_unless_a_star_takes_it() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: a, rate_limit: {name: alone, unit: minute, requests_per_unit: 1}}
  - {key: b, rate_limit: {name: alone-b, unit: minute, requests_per_unit: 1}}
  - {key: b, value: '*', rate_limit: {name: star-b, unit: minute, requests_per_unit: 1}}
  - {key: c, value: x, rate_limit: {name: x, unit: minute, requests_per_unit: 1}}
",
    );
    assert_eq!(bench.send(&["a=", "b=", "c="]), "OK: alone 0/1 | star-b 0/1 | free");
}

#[test]
fn a_key_that_ends_in_a_star_stands_for_every_key_that_starts_so() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: 'x-*', rate_limit: {name: any-x, unit: minute, requests_per_unit: 5}}
  - {key: x-y, value: 'v*', rate_limit: {name: later, unit: minute, requests_per_unit: 5}}
  - {key: x-y, value: exact, rate_limit: {name: exact, unit: minute, requests_per_unit: 5}}
",
    );
    assert_eq!(
        bench.send(&["x-a=1", "x-y=v1", "x-y=exact", "y=1"]),
        "OK: any-x 4/5 | any-x 4/5 | exact 4/5 | free"
    );
}

#[test]
fn every_descriptor_is_charged_in_full_whatever_the_others_say() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: a, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: b, rate_limit: {unit: minute, requests_per_unit: 9}}
",
    );
    assert_eq!(bench.send(&["a=1", "b=1"]), "OK: a 0/1 | b 8/9");
    assert_eq!(bench.send(&["a=1", "b=1"]), "OVER: a 0/1 over | b 7/9");
    assert_eq!(bench.send(&["b=1"]), "OK: b 6/9");
}

#[test]
fn hits_are_charged_looked_at_and_given_back() {
    let bench =
        Bench::new("domain: d\ndescriptors: [{key: a, rate_limit: {unit: minute, requests_per_unit: 5}}]");
    let send = |hits| bench.send_with(&[("a=1", hits, None)]);
    assert_eq!(send(Hits::charge(4)), "OK: a 1/5");
    assert_eq!(send(Hits::Look), "OK: a 1/5");
    assert_eq!(send(Hits::charge(2)), "OVER: a 0/5 over");
    assert_eq!(send(Hits::Look), "OVER: a 0/5 over");
    assert_eq!(send(Hits::refund(3)), "OK: a 2/5");
    assert_eq!(send(Hits::refund(1000)), "OK: a 5/5");
    assert_eq!(send(Hits::charge(u64::MAX)), "OVER: a 0/5 over");
    assert_eq!(send(Hits::charge(u64::MAX)), "OVER: a 0/5 over");
}

#[test]
fn a_shadow_rule_counts_and_never_refuses() {
    let bench = Bench::new(
        "domain: d\ndescriptors: [{key: a, shadow_mode: yes, rate_limit: {unit: minute, requests_per_unit: 1}}]",
    );
    assert_eq!(bench.send(&["a=1"]), "OK: a 0/1");
    assert_eq!(bench.send(&["a=1"]), "OK: a 0/1");
}

#[test]
fn quota_rules_refuse_only_together() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: q1, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: q2, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: hard, rate_limit: {unit: minute, requests_per_unit: 3}}
",
    );
    assert_eq!(bench.send(&["q1=", "q2=", "hard="]), "OK: q1 0/1 | q2 1/2 | hard 2/3");
    assert_eq!(bench.send(&["q1=", "q2=", "hard="]), "OK: q1 0/1 over | q2 0/2 | hard 1/3");
    assert_eq!(bench.send(&["q1=", "q2=", "hard="]), "OVER: q1 0/1 over | q2 0/2 over | hard 0/3");
    assert_eq!(bench.send(&["q2=x", "hard="]), "OVER: q2 1/2 | hard 0/3 over");
}

#[test]
fn an_unlimited_rule_lets_everything_pass_uncounted() {
    let bench = Bench::new("domain: d\ndescriptors: [{key: a, rate_limit: {unlimited: true}}]");
    assert_eq!(bench.send(&["a=1"]), "OK: a unlimited");
    assert!(bench.limiter.store.is_empty());
}

#[test]
fn a_replaced_rule_is_not_charged_when_its_replacement_is_reached_too() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: user, rate_limit: {name: base, unit: minute, requests_per_unit: 5}}
  - {key: vip, rate_limit: {name: vip, unit: minute, requests_per_unit: 50, replaces: [{name: base}]}}
  - {key: free, rate_limit: {unlimited: true, replaces: [{name: vip}]}}
",
    );
    assert_eq!(bench.send(&["user=u", "vip=u"]), "OK: base replaced | vip 49/50");
    assert_eq!(bench.send(&["user=u"]), "OK: base 4/5");
    assert_eq!(
        bench.send(&["free=", "vip=u", "user=u"]),
        "OK: free unlimited | vip replaced | base replaced"
    );
}

#[test]
fn counters_are_kept_apart_by_rule_and_by_values_with_their_lengths() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: a, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: a_b, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: x, descriptors: [{key: y, rate_limit: {unit: minute, requests_per_unit: 1}}]}
",
    );
    assert_eq!(bench.send(&["a=b_c", "a_b=c"]), "OK: a 0/1 | a_b 0/1");
    assert_eq!(bench.send(&["x=1,y=23", "x=12,y=3"]), "OK: x > y 0/1 | x > y 0/1");
}

#[test]
fn values_under_a_star_have_a_counter_each_unless_they_share_the_threshold() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: own, value: 'f/*', rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: one, value: 'f/*', share_threshold: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - key: outer
    value: 'g/*'
    share_threshold: true
    descriptors: [{key: inner, rate_limit: {unit: minute, requests_per_unit: 1}}]
",
    );
    assert_eq!(bench.send(&["own=f/a", "own=f/b"]), "OK: own=f/* 0/1 | own=f/* 0/1");
    assert_eq!(bench.send(&["one=f/a", "one=f/b"]), "OVER: one=f/* 0/1 | one=f/* 0/1 over");
    assert_eq!(
        bench.send(&["outer=g/a,inner=1", "outer=g/b,inner=1", "outer=g/b,inner=2"]),
        "OVER: outer=g/* > inner 0/1 | outer=g/* > inner 0/1 over | outer=g/* > inner 0/1"
    );
}

#[test]
fn a_limit_sent_along_beats_the_policy_but_not_an_unknown_domain() {
    let bench = Bench::new(
        "domain: d\ndescriptors: [{key: a, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}]",
    );
    let two_per_15_minutes = LimitOverride { requests_per_unit: 2, unit: Unit::Minute, unit_multiplier: 15 };
    let send = || bench.send_with(&[("a=1", Hits::ONE, Some(two_per_15_minutes))]);
    assert_eq!(send(), "OK: a (limit from Envoy) 1/2");
    assert_eq!(send(), "OK: a (limit from Envoy) 0/2");
    bench.limiter.clock.advance(Duration::from_secs(60));
    assert_eq!(send(), "OVER: a (limit from Envoy) 0/2 over");
    bench.limiter.clock.advance(Duration::from_secs(15 * 60 - 60 - 18));
    assert_eq!(send(), "OK: a (limit from Envoy) 1/2");
    assert_eq!(bench.send(&["a=1"]), "OK: a 0/1", "the policy's own counter is another one");

    let stranger = Bench { domain: "other", ..bench };
    assert_eq!(stranger.send_with(&[("a=1", Hits::ONE, Some(two_per_15_minutes))]), "OK: free");
}

#[test]
fn windows_end_at_the_minute_and_a_reload_keeps_the_counts() {
    let policy = |number: u32| {
        let yaml = format!(
            "domain: d\ndescriptors: [{{key: a, rate_limit: {{unit: minute, requests_per_unit: {number}}}}}]"
        );
        config::load_text("test.yaml", &yaml, config::Options::default()).unwrap().policy
    };
    let bench = Bench::new("domain: d\ndescriptors: []");
    bench.limiter.publish(policy(2));
    assert_eq!(bench.send(&["a=1"]), "OK: a 1/2");
    bench.limiter.publish(policy(3));
    assert_eq!(bench.send(&["a=1"]), "OK: a 1/3");
    bench.limiter.clock.advance(Duration::from_millis(41_999));
    assert_eq!(bench.send(&["a=1"]), "OK: a 0/3");
    assert_eq!(bench.send(&["a=1"]), "OVER: a 0/3 over");
    bench.limiter.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.send(&["a=1"]), "OK: a 2/3");
}

#[test]
fn one_domain_may_be_spread_over_documents_when_that_is_allowed() {
    let yaml = "
domain: d
descriptors: [{key: a, rate_limit: {unit: minute, requests_per_unit: 1}}]
---
domain: d
descriptors: [{key: b, rate_limit: {unit: minute, requests_per_unit: 2}}]
";
    let merged = config::load_text(
        "test.yaml",
        yaml,
        config::Options { merge_domains: true, ..config::Options::default() },
    )
    .unwrap();
    let limiter = Arc::new(Limiter::new(merged.policy, MemoryStore::default(), ManualClock::at(START)));
    let bench = Bench { limiter, domain: "d" };
    assert_eq!(bench.send(&["a=1", "b=1"]), "OK: a 0/1 | b 1/2");
}
