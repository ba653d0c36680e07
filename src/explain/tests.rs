use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::config;
use crate::limiter::Limiter;
use crate::model::{LimitOverride, Unit};
use crate::store::MemoryStore;

const POLICY: &str = "domain: d
evaluate: first_match
descriptors:
- {key: open, rate_limit: {unlimited: true}}
- {key: watched, shadow_mode: true, rate_limit: {requests_per_unit: 0, unit: minute}}
- key: user
  descriptors:
  - {key: path, value: '/a*', rate_limit: {name: paths, requests_per_unit: 5, unit: minute}}
";

/// A descriptor's entries, what it costs, and the limit that Envoy sends along.
type Sent<'a> = (&'a [(&'a str, &'a str)], Hits, Option<LimitOverride>);

fn explained(descriptors: &[Sent<'_>]) -> Explanation {
    explained_in("d", descriptors)
}

fn explained_in(domain: &str, descriptors: &[Sent<'_>]) -> Explanation {
    explained_by(POLICY, domain, descriptors)
}

fn explained_by(policy: &str, domain: &str, descriptors: &[Sent<'_>]) -> Explanation {
    with_request(policy, domain, descriptors, |worker, policy, request| {
        decide_and_then(worker, policy, request, None).unwrap()
    })
}

/// What `ask` finds out about a request on counters of its own.
fn with_request<T>(
    policy: &str,
    domain: &str,
    descriptors: &[Sent<'_>],
    ask: impl FnOnce(&Worker<MemoryStore, ManualClock>, &Policy, &Request<'_>) -> T,
) -> T {
    let loaded = config::load_text("d.yaml", policy, config::Options::default());
    let policy = loaded.unwrap_or_else(|wrong| panic!("{}", config::render(&wrong, false))).policy;
    let clock = ManualClock::at(Timestamp::from_secs(1_767_225_618));
    let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), clock));
    let typed: Vec<Vec<_>> = descriptors
        .iter()
        .map(|(entries, ..)| {
            entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        })
        .collect();
    let of = |(entries, (_, hits, limit)): (_, &Sent<'_>)| Descriptor {
        limit: *limit,
        ..Descriptor::of_text(entries, *hits)
    };
    let request = Request {
        domain: domain.as_bytes(),
        descriptors: typed.iter().map(Vec::as_slice).zip(descriptors).map(of).collect(),
    };
    ask(&limiter.worker(), &limiter.engine.policy(), &request)
}

#[test]
fn the_path_says_what_each_entry_matched_up_to_the_first_that_matched_nothing() {
    let path = |entries: &[(&str, &str)]| {
        let explanation = explained(&[(entries, Hits::ONE, None)]);
        let path = &explanation.call.descriptors[0].path;
        path.iter().map(|step| format!("{} → {} {}", step.entry, step.node, step.place)).collect::<Vec<_>>()
    };
    assert_eq!(
        path(&[("user", "u"), ("path", "/abc")]),
        ["user=u → user d.yaml:6:3", "path=/abc → path=/a* d.yaml:8:5"]
    );
    assert_eq!(path(&[("user", "u"), ("path", "/b")]), ["user=u → user d.yaml:6:3"]);
    assert!(path(&[("path", "/abc")]).is_empty());
}

#[test]
fn what_becomes_of_a_limit_without_its_store_is_told_where_somebody_chose_it() {
    let limit = |words: &str| {
        let policy = format!(
            "{{domain: d, descriptors: [{{key: a, rate_limit: {{unit: day, requests_per_unit: 5{words}}}}}]}}"
        );
        let explanation = explained_by(&policy, "d", &[(&[("a", "1")], Hits::ONE, None)]);
        explanation.text().lines().find_map(|line| line.trim().strip_prefix("limit    ").map(str::to_owned))
    };
    let is = |words: &str, expected: &str| {
        let found = limit(words).unwrap_or_default();
        assert!(found.ends_with(expected), "{words}: {found}");
    };
    is("", "5 per day");
    is(", durable: exact", "5 per day, durable to the hit");
    is(", on_store_failure: closed", "5 per day, refused while the store fails");
    is(", durable: none, on_store_failure: local", "5 per day, counted in memory while the store fails");
}

#[test]
fn text_and_json_say_the_same() {
    let sent = LimitOverride { requests_per_unit: 3, unit: Unit::Hour, unit_multiplier: 1 };
    let paths: &[(&str, &str)] = &[("user", "u"), ("path", "/a")];
    let many = Hits::charge(7);
    for explanation in [
        explained(&[(paths, Hits::ONE, None), (&[("open", "1")], Hits::ONE, None)]),
        explained(&[(&[("watched", "1")], many, None), (paths, many, None)]),
        explained(&[(&[("user", "u")], Hits::ONE, None), (&[("usr", "u")], Hits::ONE, None)]),
        explained(&[(paths, Hits::ONE, Some(sent)), (&[], Hits::ONE, None)]),
        explained_in("e", &[(paths, Hits::ONE, None)]),
    ] {
        let (text, json) = (explanation.text(), serde_json::json!(explanation));
        said(&json, &text);
        assert_eq!(json.get("then").is_some(), text.contains("\nthen, "), "{text}");
    }
}

/// Whether every text of `json` stands in `text`.
fn said(json: &serde_json::Value, text: &str) {
    match json {
        serde_json::Value::String(one) => assert!(text.contains(one.as_str()), "`{one}` is not in {text}"),
        serde_json::Value::Array(several) => several.iter().for_each(|one| said(one, text)),
        serde_json::Value::Object(several) => several.values().for_each(|one| said(one, text)),
        _ => {}
    }
}

#[test]
fn what_a_later_call_is_answered_follows_a_call_that_costs_too_much() {
    let paths: &[(&str, &str)] = &[("user", "u"), ("path", "/a")];
    let refused = explained(&[(paths, Hits::charge(7), None)]);
    assert_eq!(refused.call.overall, Code::OverLimit);
    let then = refused.then.unwrap();
    assert_eq!((then.descriptors[0].limits[0].numbers.limit, then.descriptors.len()), (5, 1));
    assert_eq!(explained(&[(paths, Hits::charge(5), None)]).then, None);
}

#[test]
fn a_call_is_charged_once_also_when_it_is_refused() {
    let paths: &[(&str, &str)] = &[("user", "u"), ("path", "/a")];
    let used = with_request(POLICY, "d", &[(paths, Hits::charge(7), None)], |worker, policy, request| {
        let explanation = decide(worker, policy, request, None).unwrap();
        assert_eq!((explanation.call.overall, explanation.then), (Code::OverLimit, None));
        let mut look = request.clone();
        look.descriptors[0].hits = Hits::Look;
        decide(worker, policy, &look, None).unwrap().call.descriptors[0].limits[0].numbers.used
    });
    // Under `first_match` what is refused is not counted.
    assert_eq!(used, 0);
}

#[test]
fn a_limit_that_envoy_sent_has_no_counter_of_the_policy() {
    let sent = LimitOverride { requests_per_unit: 3, unit: Unit::Hour, unit_multiplier: 1 };
    let explanation = explained(&[(&[("user", "u")], Hits::ONE, Some(sent))]);
    let descriptor = &explanation.call.descriptors[0];
    assert_eq!((&descriptor.rule, &descriptor.limits[0].counter), (&Match::SentByEnvoy, &None));
    assert_eq!(descriptor.limits[0].limit.requests, 3);
}

#[test]
fn a_request_that_takes_too_long_to_match_is_refused_and_says_so() {
    let wildcard = |n: usize| {
        let (head, tail) = ("a".repeat(1 + n / 30), "b".repeat(1 + n % 30));
        format!("- {{key: k, value: '{head}*{tail}*a*b', rate_limit: {{unlimited: true}}}}\n")
    };
    let policy = format!("domain: d\ndescriptors:\n{}", (0..900).map(wildcard).collect::<String>());
    let value = "a".repeat(30) + &"b".repeat(30);
    let entries = [("k", value.as_str())];
    let sent: Vec<Sent<'_>> = (0..100).map(|_| (&entries[..], Hits::ONE, None)).collect();
    let call = explained_by(&policy, "d", &sent).call;
    assert_eq!(call.overall, Code::OverLimit);
    assert!(call.descriptors.iter().all(|one| one.not_charged == Some(NotCharged::TooCostly)));
    let call = explained_by(&policy, "d", &sent[..2]).call;
    assert_eq!((call.overall, &call.descriptors[0].not_charged), (Code::Ok, &None));
}
