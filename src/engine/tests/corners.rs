//! Where two rulings of the language meet. Each test tells one of them by the smallest case that shows it.

use std::time::Duration;

use super::Bench;
use crate::config;
use crate::engine::{Decision, answer};
use crate::model::{Descriptor, Entry, Hits, LimitOverride, Outcome, Request, Unit};

impl Bench {
    /// Decides on `key=value` descriptors with their hits: the code, the response headers in lower case, and every outcome.
    fn ask(&self, descriptors: &[(&str, Hits)]) -> (bool, Vec<String>, Vec<Outcome>) {
        let policy = self.limiter.engine.policy();
        let descriptors = descriptors.iter().map(|(entry, hits)| {
            let (key, value) = entry.split_once('=').unwrap();
            let entry = Entry { key: key.as_bytes(), value: value.as_bytes() };
            Descriptor { entries: [entry].into_iter().collect(), hits: *hits, limit: None }
        });
        let request = Request { domain: b"d", descriptors: descriptors.collect() };
        let verdict = self.decide(&policy, &request);
        let answer = answer(&request, &verdict);
        let headers =
            answer.response_headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let outcomes = verdict.decisions.iter().flat_map(|decision| match decision {
            Decision::Counted(counted) => counted.limits.iter().map(|charged| charged.outcome).collect(),
            _ => Vec::new(),
        });
        (verdict.over_limit, headers, outcomes.collect())
    }

    fn wait(&self, seconds: u64) {
        self.limiter.clock.advance(Duration::from_secs(seconds));
    }
}

/// The seconds that a `Retry-After` among `headers` tells.
fn retry_after(headers: &[String]) -> Vec<u64> {
    headers.iter().filter_map(|line| line.strip_prefix("Retry-After: ")?.parse().ok()).collect()
}

#[test]
fn retry_after_lasts_until_a_quota_that_is_over_too_admits() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: q, quota_mode: true, rate_limit: {requests_per_unit: 1, per: 1h}}
  - {key: hard, rate_limit: {requests_per_unit: 1, per: 30s}, headers: {dialect: retry-after}}
",
    );
    let both = [("q=1", Hits::ONE), ("hard=1", Hits::ONE)];
    assert!(!bench.ask(&both).0);
    bench.wait(10);
    let (over, headers, _) = bench.ask(&both);
    assert_eq!((over, retry_after(&headers)), (true, vec![3590]), "though the family is the other rule's");
    bench.wait(3590);
    assert!(!bench.ask(&both).0);
}

#[test]
fn retry_after_is_the_longest_whatever_family_tells_it() {
    let bench = Bench::new(
        "
domain: d
evaluate: all_or_nothing
descriptors:
  - {key: a, rate_limit: {requests_per_unit: 1, per: 1h}, headers: {X-A: retry_after_s}}
  - {key: b, rate_limit: {requests_per_unit: 1, per: 30s}, headers: {X-B: retry_after_s}}
  - {key: c, rate_limit: {requests_per_unit: 9, per: 30s}, headers: {X-C: retry_after_s}}
  - {key: e, rate_limit: {requests_per_unit: 9, per: 30s}, headers: {emit: on_limited, X-E: retry_after_s}}
",
    );
    let all = ["a=1", "b=1", "c=1", "e=1"].map(|entry| (entry, Hits::ONE));
    assert_eq!(bench.ask(&all).1, Vec::<String>::new());
    assert_eq!(bench.ask(&all).1, ["X-A: 3600", "X-B: 3600", "X-C: 3600"]);
}

#[test]
fn retry_after_counts_all_that_one_request_asks_of_a_counter() {
    for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
        let bench = Bench::new(&format!(
            "
domain: d
evaluate: all_or_nothing
headers: {{dialect: retry-after}}
descriptors:
  - {{key: a, value: '*', share_threshold: true, rate_limit: {{requests_per_unit: 4, per: 1m, algorithm: {algorithm}}}}}
"
        ));
        let twice = [("a=1", Hits::charge(2)), ("a=2", Hits::charge(2))];
        for _ in 0..3 {
            assert!(!bench.ask(&[("a=1", Hits::ONE)]).0);
            bench.wait(10);
        }
        let (over, headers, _) = bench.ask(&twice);
        let reported = retry_after(&headers)[0];
        assert!(over, "{algorithm}");
        bench.wait(reported - 1);
        assert!(bench.ask(&twice).0, "{algorithm}: {reported} s are not too long");
        bench.wait(1);
        assert!(!bench.ask(&twice).0, "{algorithm}: {reported} s are enough");
    }
}

#[test]
fn retry_after_counts_what_other_stages_ask_of_the_counter() {
    for evaluate in ["each", "in_order"] {
        for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
            let bench = Bench::new(&format!(
                "
domain: d
evaluate: {evaluate}
headers: {{dialect: retry-after}}
descriptors:
  - {{key: a, rate_limit: {{requests_per_unit: 4, per: 1m, algorithm: {algorithm}}}}}
"
            ));
            let twice = [("a=1", Hits::charge(2)), ("a=1", Hits::charge(2))];
            for _ in 0..3 {
                assert!(!bench.ask(&[("a=1", Hits::ONE)]).0);
                bench.wait(10);
            }
            let (over, headers, _) = bench.ask(&twice);
            assert!(over, "{evaluate}, {algorithm}");
            bench.wait(retry_after(&headers)[0]);
            assert!(!bench.ask(&twice).0, "{evaluate}, {algorithm}");
        }
    }
}

#[test]
fn a_sliding_windows_reset_is_when_retry_after_ends() {
    for count_denied in [false, true] {
        let bench = Bench::new(&format!(
            "
domain: d
headers: {{X-Reset: reset_s, X-Full: full_s, Retry-After: retry_after_s, X-Used: used}}
descriptors:
  - key: a
    rate_limit: {{requests_per_unit: 3, per: 1m, algorithm: sliding_window, count_denied: {count_denied}}}
"
        ));
        for _ in 0..3 {
            bench.ask(&[("a=1", Hits::ONE)]);
            bench.wait(10);
        }
        // Hits at 0, 10 and 20; two at 30 fit when the first two have left, or those and the refused two as well.
        let reported = bench.ask(&[("a=1", Hits::charge(2))]).1;
        let expected = if count_denied {
            ["X-Reset: 60", "X-Full: 60", "Retry-After: 60", "X-Used: 5"]
        } else {
            ["X-Reset: 40", "X-Full: 50", "Retry-After: 40", "X-Used: 3"]
        };
        assert_eq!(reported, expected);
    }
}

#[test]
fn a_refund_is_never_over_the_limit_and_stands_in_nobodys_way() {
    for evaluate in ["each", "all_or_nothing", "in_order"] {
        let bench = Bench::new(&format!(
            "
domain: d
evaluate: {evaluate}
descriptors:
  - {{key: a, rate_limit: {{requests_per_unit: 1, per: 1m, count_denied: true}}}}
  - {{key: b, rate_limit: {{requests_per_unit: 9, per: 1m}}}}
"
        ));
        bench.ask(&[("a=1", Hits::charge(5))]);
        let (over, _, outcomes) = bench.ask(&[("a=1", Hits::refund(2)), ("b=1", Hits::ONE)]);
        assert!(!over, "{evaluate}");
        let reported: Vec<_> = outcomes.iter().map(|out| (out.admitted, out.used, out.remaining)).collect();
        assert_eq!(reported, [(true, 3, 0), (true, 1, 8)], "{evaluate}");
    }
}

const SENT: &str = "
descriptors:
  - key: a
    rate_limit: {name: minute, unit: minute, requests_per_unit: 5}
  - key: b
    rate_limits:
      - {name: s, requests_per_unit: 5, per: 15m, algorithm: sliding_window, count_denied: true}
      - {name: h, requests_per_unit: 50, per: 1h}
";

#[test]
fn a_limit_sent_along_shares_the_counter_of_what_it_overrides() {
    let bench = Bench::new(&format!("domain: d\n{SENT}"));
    let sent = |requests_per_unit, unit, unit_multiplier| {
        Some(LimitOverride { requests_per_unit, unit, unit_multiplier })
    };
    let ask = |entry, sent| bench.send_with(&[(entry, Hits::ONE, sent)]);
    assert_eq!(ask("a=1", None), "OK: minute 4/5");
    assert_eq!(ask("a=1", sent(9, Unit::Minute, 1)), "OK: a (limit from Envoy) 7/9");
    assert_eq!(ask("a=1", sent(9, Unit::Hour, 1)), "OK: a (limit from Envoy) 8/9", "another unit");
    assert_eq!(ask("a=2", sent(9, Unit::Minute, 1)), "OK: a (limit from Envoy) 8/9", "another value");
    assert_eq!(ask("a=1", None), "OK: minute 2/5", "and the other way round");
    assert_eq!(ask("b=1", None), "OK: b 4/5");
    assert_eq!(ask("b=1", sent(2, Unit::Minute, 15)), "OK: b (limit from Envoy) 0/2");
    assert_eq!(ask("b=1", sent(2, Unit::Minute, 15)), "OVER: b (limit from Envoy) 0/2 over");
    assert_eq!(ask("b=1", None), "OK: b 1/5", "which counts what it refuses, as the rule says");
    assert_eq!(ask("c=1", sent(2, Unit::Minute, 1)), "OK: c (limit from Envoy) 1/2", "where no rule is");
}

#[test]
fn a_limit_sent_along_follows_evaluate() {
    let sent =
        |requests_per_unit| Some(LimitOverride { requests_per_unit, unit: Unit::Minute, unit_multiplier: 1 });
    for (evaluate, used) in [("each", 5), ("all_or_nothing", 2)] {
        let bench = Bench::new(&format!("domain: d\nevaluate: {evaluate}\n{SENT}"));
        for key in ["a=1", "c=1"] {
            for _ in 0..5 {
                bench.send_with(&[(key, Hits::ONE, sent(2))]);
            }
        }
        for key in ["a", "c"] {
            let left = 10 - used - 1;
            let reported = bench.send_with(&[(&format!("{key}=1"), Hits::ONE, sent(10))]);
            assert_eq!(reported, format!("OK: {key} (limit from Envoy) {left}/10"), "{evaluate}");
        }
    }
}

#[test]
fn replaces_reaches_the_single_limits_of_a_list() {
    let bench = Bench::new(
        "
domain: d
headers: {X: '{{each}}{{name}}={{remaining}}'}
descriptors:
  - key: user
    rate_limits:
      - {name: minute, requests_per_unit: 5, per: 1m}
      - {name: hour, requests_per_unit: 9, per: 1h}
  - {key: vip, rate_limit: {name: vip, requests_per_unit: 50, per: 1m, replaces: [{name: minute}]}}
  - {key: gold, rate_limit: {unlimited: true, replaces: [{name: minute}, {name: hour}]}}
",
    );
    let reported = |entries: &[&str]| {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry, Hits::ONE)).collect();
        bench.ask(&entries).1.join(" ")
    };
    assert_eq!(reported(&["user=u"]), "X: minute=4, hour=8");
    assert_eq!(reported(&["user=u", "vip=u"]), "X: hour=7, vip=49");
    assert_eq!(reported(&["gold=1", "user=u"]), "");
    assert_eq!(bench.send(&["gold=1", "user=u"]), "OK: gold unlimited | user replaced");
    assert_eq!(reported(&["user=u"]), "X: minute=3, hour=6");
}

#[test]
fn a_rule_that_is_put_aside_is_not_the_first_to_match() {
    let bench = Bench::new(
        "
domain: d
evaluate: first_match
descriptors:
  - {key: a, rate_limit: {name: a, requests_per_unit: 2, per: 1m}}
  - {key: b, rate_limit: {name: b, requests_per_unit: 9, per: 1m, replaces: [{name: a}]}}
  - {key: c, rate_limit: {name: c, requests_per_unit: 9, per: 1m}}
",
    );
    assert_eq!(bench.send(&["a=1", "c=1"]), "OK: a 1/2 | c skipped");
    assert_eq!(bench.send(&["a=1", "c=1", "b=1"]), "OK: a replaced | c 8/9 | b skipped");
    assert_eq!(bench.send(&["a=1", "b=1"]), "OK: a replaced | b 8/9");
}

#[test]
fn under_first_match_an_exemption_settles_and_a_shadow_does_not() {
    let bench = Bench::new(
        "
domain: d
evaluate: first_match
descriptors:
  - {key: internal, value: 'yes'}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: watched, shadow_mode: true, rate_limit: {name: watched, requests_per_unit: 1, per: 1m}}
  - {key: a, rate_limit: {name: a, requests_per_unit: 1, per: 1m}}
",
    );
    assert_eq!(bench.send(&["internal=yes", "a=1"]), "OK: free | a skipped");
    assert_eq!(bench.send(&["free=1", "a=1"]), "OK: free unlimited | a skipped");
    assert_eq!(
        bench.send(&["internal=no", "a=1"]),
        "OK: free | a 0/1",
        "what reaches nothing settles nothing"
    );
    let reported = bench.send(&["watched=1", "a=1"]);
    assert_eq!(reported, "OVER: watched 1/1 | a 0/1 over", "nor counts what another one refuses");
}

#[test]
fn a_limit_that_counts_refusals_counts_none_of_anothers() {
    for evaluate in ["all_or_nothing", "first_match"] {
        let bench = Bench::new(&format!(
            "
domain: d
evaluate: {evaluate}
descriptors:
  - key: a
    rate_limits:
      - {{name: s, requests_per_unit: 1, per: 1s}}
      - {{name: m, requests_per_unit: 9, per: 1m, count_denied: true}}
"
        ));
        for _ in 0..5 {
            bench.ask(&[("a=1", Hits::ONE)]);
        }
        let used: Vec<_> = bench.ask(&[("a=1", Hits::ONE)]).2.iter().map(|out| out.used).collect();
        assert_eq!(used, [1, 1], "{evaluate}");
    }
}

#[test]
fn a_shadow_limit_over_its_number_has_nothing_left() {
    let bench = Bench::new(
        "domain: d\ndescriptors: [{key: a, shadow_mode: true, rate_limit: {requests_per_unit: 5, per: 1m}}]",
    );
    let ask = |hits| {
        let (over, _, outcomes) = bench.ask(&[("a=1", hits)]);
        (over, outcomes[0].used, outcomes[0].remaining)
    };
    assert_eq!(ask(Hits::charge(3)), (false, 3, 2));
    assert_eq!(ask(Hits::charge(3)), (false, 3, 0), "not counted, and more than was left");
    assert_eq!(ask(Hits::charge(2)), (false, 5, 0));
}

#[test]
fn a_refund_to_zero_keeps_a_first_hit_windows_end_and_a_look_opens_none() {
    let bench = Bench::new(
        "domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 5, per: 1m}, headers: {R: reset_s}}]",
    );
    let mut reported = Vec::new();
    for hits in [Hits::Look, Hits::ONE, Hits::refund(1), Hits::Look, Hits::ONE] {
        reported.extend(bench.ask(&[("a=1", hits)]).1);
        bench.wait(10);
    }
    assert_eq!(reported, ["R: 0", "R: 60", "R: 50", "R: 40", "R: 30"]);
}

#[test]
fn draft_11_tells_what_refills_in_a_buckets_window() {
    let bench = Bench::new(
        "
domain: d
headers: {dialect: draft-11}
descriptors:
  - key: a
    rate_limit: {name: b, requests_per_unit: 10, per: 1m, algorithm: token_bucket, burst: 4}
",
    );
    let reported = bench.ask(&[("a=1", Hits::ONE)]).1;
    assert_eq!(reported, ["RateLimit-Policy: \"b\";q=10;w=60", "RateLimit: \"b\";r=3;t=6"]);
}

#[test]
fn draft_11_names_two_counters_of_one_limit_apart() {
    let bench = Bench::new(
        "
domain: d
headers: {dialect: draft-11}
descriptors:
  - {key: a, rate_limit: {name: one, requests_per_unit: 9, per: 1m}}
  - {key: b, rate_limit: {name: two, requests_per_unit: 9, per: 1m}}
",
    );
    let reported =
        bench.ask(&[("a=1", Hits::ONE), ("a=2", Hits::charge(2)), ("b=1", Hits::ONE), ("b=1", Hits::ONE)]).1;
    let [policy, limits] = &reported[..] else { panic!("{reported:?}") };
    let keys = |line: &str| {
        let keys = line.split(":;").flat_map(|part| part.split(";pk=:").skip(1));
        keys.map(|key| key.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (of_policy, of_limits) = (keys(policy), keys(limits));
    assert_eq!(of_policy, of_limits);
    assert!(of_policy.len() == 2 && of_policy[0] != of_policy[1], "{reported:?}");
    assert!(of_policy.iter().all(|key| key.len() == 8), "{reported:?}");
    let nameless = limits.replace(&of_limits[0], "").replace(&of_limits[1], "");
    assert_eq!(nameless, "RateLimit: \"one\";r=7;t=60;pk=::, \"two\";r=7;t=60, \"one\";r=8;t=60;pk=::");
    // The same counters are reported by the same keys again.
    assert_eq!(keys(&bench.ask(&[("a=1", Hits::ONE), ("a=2", Hits::charge(2))]).1[0]), of_policy);
}

#[test]
fn attempted_is_what_used_would_be_with_this_request() {
    let bench = Bench::new(
        "
domain: d
evaluate: all_or_nothing
headers: {X: '{{each}}{{attempted}} of {{limit}}, {{used}} used'}
descriptors:
  - {key: a, rate_limit: {requests_per_unit: 2, per: 1m}}
  - {key: b, rate_limit: {requests_per_unit: 9, per: 1m}}
",
    );
    let reported = |hits| bench.ask(&[("a=1", hits), ("b=1", hits)]).1.remove(0);
    assert_eq!(reported(Hits::charge(2)), "X: 2 of 2, 2 used, 2 of 9, 2 used");
    assert_eq!(reported(Hits::ONE), "X: 3 of 2, 2 used, 3 of 9, 2 used");
    assert_eq!(reported(Hits::ONE), "X: 3 of 2, 2 used, 3 of 9, 2 used");
    assert_eq!(reported(Hits::Look), "X: 2 of 2, 2 used, 2 of 9, 2 used");
    assert_eq!(reported(Hits::refund(1)), "X: 1 of 2, 1 used, 1 of 9, 1 used");
}

#[test]
fn a_limit_that_is_settled_afterwards_counts_whatever_it_is_charged() {
    for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
        let bench = Bench::new(&format!(
            "
domain: d
evaluate: all_or_nothing
headers: {{dialect: retry-after}}
descriptors:
  - {{key: tokens, rate_limit: {{requests_per_unit: 100, per: 100s, algorithm: {algorithm}, settle: true}}}}
  - {{key: calls, rate_limit: {{requests_per_unit: 2, per: 1h}}}}
"
        ));
        let ask = |tokens| bench.ask(&[("tokens=1", tokens), ("calls=1", Hits::ONE)]);
        assert!(!ask(Hits::Look).0, "{algorithm}");
        // The answer took more than there was left; that is known only now.
        assert!(!bench.ask(&[("tokens=1", Hits::charge(90))]).0);
        let (over, _, outcomes) = bench.ask(&[("tokens=1", Hits::charge(90))]);
        let most = if algorithm == "token_bucket" { 100 } else { 180 };
        assert_eq!((over, outcomes[0].used), (false, most), "{algorithm}");
        let (over, headers, outcomes) = ask(Hits::Look);
        assert!(over && outcomes[1].used == 1, "{algorithm}: the call is refused, and takes nothing");
        bench.wait(retry_after(&headers)[0] - 1);
        assert!(ask(Hits::Look).0, "{algorithm}");
        bench.wait(1);
        assert!(!ask(Hits::Look).0, "{algorithm}");
        // Where another limit refuses, what has happened has happened.
        let used = bench.ask(&[("tokens=1", Hits::Look)]).2[0].used;
        let (over, _, outcomes) = bench.ask(&[("calls=1", Hits::charge(9)), ("tokens=1", Hits::charge(5))]);
        assert_eq!((over, outcomes[1].used), (true, (used + 5).min(100)), "{algorithm}");
    }
}

#[test]
fn in_a_list_of_limits_each_tells_its_own_time_to_retry() {
    let bench = Bench::new(
        "
domain: d
headers: {Retry-After: retry_after_s, X-Each: '{{each}}{{name}} {{retry_after_s}}'}
descriptors:
  - key: a
    rate_limits:
      - {name: m, requests_per_unit: 1, per: 1m}
      - {name: h, requests_per_unit: 1, per: 1h}
      - {name: d, requests_per_unit: 9, per: 1d}
",
    );
    assert_eq!(bench.ask(&[("a=1", Hits::ONE)]).1, Vec::<String>::new());
    assert_eq!(bench.ask(&[("a=1", Hits::ONE)]).1, ["Retry-After: 3600", "X-Each: h 3600, m 60"]);
}

#[test]
fn a_limit_that_is_settled_afterwards_cannot_leave_refusals_uncounted() {
    let yaml = "domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 1, per: 1m, settle: true, count_denied: no}}]";
    let wrong = config::load_text("d.yaml", yaml, config::Options::default()).unwrap_err();
    let reported = config::render(&wrong, false);
    assert!(reported.contains("a limit with `settle` counts whatever it is charged"), "{reported}");
}
