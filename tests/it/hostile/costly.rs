//! Requests whose cost would be what the client sends times what the policy says.
//!
//! Times are compared with each other, and each is the least of several. The figures themselves are rows of `tests/bench/costly.rs`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::{Scratch, answer};
use spillway::limiter::Limiter;
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::MemoryStore;

use super::raw::{DATA, END_STREAM, Outcome, Raw, begun, frame};
use super::{Code, Others, framed};
use crate::rls::{descriptor, request};
use crate::support::Spillway;

/// The keys and values of each descriptor.
type Message = Vec<Vec<(String, String)>>;

/// The least time that deciding and answering took, of several.
fn cost(policy: &str, subjects: &str, message: &Message) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), policy).unwrap();
    if !subjects.is_empty() {
        std::fs::write(directory.path().join("d.subjects.yaml"), subjects).unwrap();
    }
    let loaded = config::load(&[directory.path()], Options::default());
    let loaded = loaded.unwrap_or_else(|wrong| panic!("{}", config::render(&wrong, false)));
    let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    let limiter = Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), clock));
    let worker = limiter.worker();
    let descriptors = message.iter().map(|entries| Descriptor {
        entries: entries
            .iter()
            .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
            .collect(),
        hits: Hits::ONE,
        limit: None,
    });
    let request = Request { domain: b"d", descriptors: descriptors.collect() };
    let policy = limiter.engine.policy();
    // Of this thread alone: however busy the machine is, its others are not counted.
    let clock = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
    };
    let once = || {
        let begun = clock();
        let verdict = worker.decide_now(Scratch::default(), &policy, &request).unwrap();
        std::hint::black_box(answer(&request, &verdict));
        clock().saturating_sub(begun)
    };
    (0..8).map(|_| once()).min().unwrap()
}

/// How many times as long `large` takes as `small`.
fn ratio(large: Duration, small: Duration) -> f64 {
    large.as_secs_f64() / small.as_secs_f64()
}

fn one(key: &str, value: String) -> Vec<(String, String)> {
    vec![(key.to_owned(), value)]
}

/// A descriptor for each of so many rules.
fn each_of(rules: usize) -> Message {
    (0..rules).map(|n| one(&format!("k{n}"), "v".to_owned())).collect()
}

/// So many rules, each with `extra`, in which N is its number.
fn rules(rules: usize, extra: &str) -> String {
    let mut yaml = "domain: d\ndescriptors:\n".to_owned();
    for n in 0..rules {
        let extra = extra.replace('N', &n.to_string());
        let _ = writeln!(
            yaml,
            "- {{key: k{n}, rate_limit: {{name: r{n}, requests_per_unit: 9, unit: year{extra}}}}}"
        );
    }
    yaml
}

fn paths(wildcards: usize) -> String {
    let mut yaml = "domain: d\ndescriptors:\n".to_owned();
    for n in 0..wildcards {
        let _ = writeln!(yaml, "- {{key: path, value: '/api/v1/*/r{n}/*', rate_limit: {{unlimited: true}}}}");
    }
    yaml
}

#[test]
fn a_long_path_costs_the_same_beside_many_wildcards_as_beside_a_few() {
    let path = format!("/api/v1/{}", "a/r".repeat(20_000));
    let cost = |wildcards| cost(&paths(wildcards), "", &vec![one("path", path.clone())]);
    let ratio = ratio(cost(600), cost(6));
    assert!(ratio < 3.0, "600 wildcards cost {ratio:.1} times as much as 6");
}

#[test]
fn a_path_cut_into_many_costs_what_it_costs_in_one() {
    let path = || format!("/api/v1/{}", "a/r".repeat(19));
    let many: Message = (0..1_024).map(|_| one("path", path())).collect();
    let ratio = ratio(cost(&paths(600), "", &many), cost(&paths(6), "", &many));
    assert!(ratio < 3.0, "600 wildcards cost {ratio:.1} times as much as 6");
}

#[test]
fn rules_that_replace_others_cost_what_they_say() {
    let cost = |descriptors| {
        let policy = rules(2_000, "").replace("unit: year}", "unit: year, replaces: [{name: other}]}");
        let other = "- {key: other, rate_limit: {name: other, requests_per_unit: 9, unit: year}}\n";
        cost(&(policy + other), "", &each_of(descriptors))
    };
    let ratio = ratio(cost(2_000), cost(20));
    assert!(ratio < 300.0, "100 times the descriptors cost {ratio:.1} times as much");
}

#[test]
fn rules_with_headers_of_their_own_cost_what_they_say() {
    let policy = rules(2_000, ", headers: {emit: always, X-A-N: limit, X-B-N: remaining, X-C-N: used}");
    let ratio = ratio(cost(&policy, "", &each_of(2_000)), cost(&policy, "", &each_of(20)));
    assert!(ratio < 300.0, "100 times the descriptors cost {ratio:.1} times as much");
}

#[test]
fn a_value_is_hashed_once_whatever_credential_it_could_be() {
    let subjects = "subjects:\n  - {id: s, credentials: [{kind: kind0, value: key}]}\n";
    let cost = |kinds| {
        let mut policy = "domain: d\nsubjects: d.subjects.yaml\ndescriptors:\n".to_owned();
        for n in 0..kinds {
            let _ = writeln!(policy, "- {{key: k, subject: kind{n}, rate_limit: {{unlimited: true}}}}");
        }
        cost(&policy, subjects, &vec![one("k", "a".repeat(60_000))])
    };
    let ratio = ratio(cost(24), cost(1));
    assert!(ratio < 3.0, "24 kinds cost {ratio:.1} times as much as one");
}

#[test]
fn a_value_is_read_once_however_many_limits_count_by_it() {
    let cost = |limits| {
        let mut policy =
            "domain: d\ndescriptors:\n- key: a\n  descriptors:\n  - key: b\n    rate_limits:\n".to_owned();
        for n in 0..limits {
            let by = ["a", "b"][n % 2];
            let _ = writeln!(
                policy,
                "    - {{name: l{n}, requests_per_unit: 9, per: {}h, count_by: [{by}]}}",
                n + 1
            );
        }
        let entries = ["a", "b"].map(|key| (key.to_owned(), "v".repeat(500_000)));
        cost(&policy, "", &vec![entries.to_vec()])
    };
    let ratio = ratio(cost(48), cost(2));
    assert!(ratio < 3.0, "48 limits cost {ratio:.1} times as much as two");
}

#[test]
fn a_body_that_shows_a_value_often_costs_what_it_may_show() {
    let cost = |times| {
        let body = "{{entry.path}}".repeat(times);
        let policy = format!(
            "domain: d\ndeny: {{content_type: application/json, body: '\"{body}\"'}}\ndescriptors:\n\
             - {{key: path, rate_limit: {{requests_per_unit: 0, unit: year}}}}\n"
        );
        cost(&policy, "", &vec![one("path", "\u{1}".repeat(50_000))])
    };
    let ratio = ratio(cost(400), cost(4));
    assert!(ratio < 3.0, "100 times the places cost {ratio:.1} times as much");
}

/// Others on the same connection do not feel it, and the limit behind the wildcard is there.
#[test]
fn a_long_path_beside_many_wildcards_is_decided_by_its_limit() {
    let mut policy = super::POLICY.to_owned();
    for n in 0..300 {
        let _ = writeln!(
            policy,
            "  - {{key: path, value: '/api/v1/*/r{n}/*', rate_limit: {{unit: year, requests_per_unit: 1}}}}"
        );
    }
    let spillway = Spillway::serving(&policy);
    let mut raw = Raw::to(&spillway);
    let path = format!("/api/v1/{}/r299/x", "a/r".repeat(16_000));
    for over_limit in [false, true] {
        let stream = raw.stream();
        raw.send(&begun(stream));
        raw.send_data(stream, &framed(&request(vec![descriptor(&[("path", &path)])])));
        raw.send(&frame(DATA, END_STREAM, stream, &[]));
        let outcome = raw.outcome(stream);
        let Outcome::Decision(answer) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answer.overall_code() == Code::OverLimit, over_limit);
    }
    Others::of(&spillway).are_answered(&spillway);
}

/// A policy and a request such that each value reaches each wildcard, and none is found: a thousand times a thousand steps.
/// A fifth of it is refused, so that nobody else waits, and the next request is decided.
#[test]
fn values_that_would_take_too_long_to_match_are_refused() {
    let mut policy = super::POLICY.to_owned();
    for n in 0..900 {
        let (head, tail) = ("a".repeat(1 + n / 30), "b".repeat(1 + n % 30));
        let _ = writeln!(
            policy,
            "  - {{key: path, value: '{head}*{tail}*a*b', rate_limit: {{unit: year, requests_per_unit: 1}}}}"
        );
    }
    let mut spillway = Spillway::serving(&policy);
    let mut raw = Raw::to(&spillway);
    let value = "a".repeat(30) + &"b".repeat(30);
    for (values, refused) in [(1_000, true), (20, false), (200, true), (1, false)] {
        let descriptors = (0..values).map(|_| descriptor(&[("path", &value)])).collect();
        let stream = raw.stream();
        raw.send(&begun(stream));
        raw.send_data(stream, &framed(&request(descriptors)));
        raw.send(&frame(DATA, END_STREAM, stream, &[]));
        let outcome = raw.outcome(stream);
        let Outcome::Decision(answer) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answer.overall_code() == Code::OverLimit, refused, "{values}");
        assert_eq!(answer.statuses.len(), if refused { 0 } else { values }, "{values}");
    }
    let beyond =
        "the values of a request take at most 100000 steps to match with wildcards, and 2 for each byte";
    spillway.log_line(beyond);
    Others::of(&spillway).are_answered(&spillway);
}
