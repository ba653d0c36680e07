//! What Spillway's own words mean: several limits, ways to evaluate, subjects, endpoints.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, START};
use crate::clock::{Clock, ManualClock};
use crate::config;
use crate::engine::answer;
use crate::limiter::Limiter;
use crate::model::{Descriptor, Entry, Hits, Request};
use crate::store::MemoryStore;

/// A policy with a directory beside it.
fn with_subjects(policy: &str, subjects: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), policy).unwrap();
    std::fs::write(directory.path().join("d.subjects.yaml"), subjects).unwrap();
    let loaded = config::load(&[directory.path()], config::Options::default());
    let loaded = loaded.unwrap_or_else(|wrong| panic!("{}", config::render(&wrong, false)));
    Bench {
        limiter: Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), ManualClock::at(START))),
        domain: "d",
    }
}

/// An answer that outlives its policy.
struct Answered {
    response_headers: Vec<(String, String)>,
    request_headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Bench {
    /// What is answered to these descriptors of one entry each.
    fn answers(&self, entries: &[(&str, &[u8])]) -> Answered {
        let policy = self.limiter.engine.policy();
        let descriptors = entries.iter().map(|(key, value)| Descriptor {
            entries: [Entry { key: key.as_bytes(), value }].into_iter().collect(),
            hits: Hits::ONE,
            limit: None,
        });
        let request = Request { domain: b"d", descriptors: descriptors.collect() };
        let verdict = self.decide(&policy, &request);
        let answer = answer(&request, &verdict);
        Answered {
            response_headers: answer.response_headers.to_vec(),
            request_headers: answer.request_headers.to_vec(),
            body: answer.body.into_bytes(),
        }
    }

    /// The response headers, as lines.
    pub(super) fn headers(&self, entries: &[(&str, &[u8])]) -> Vec<String> {
        let headers = self.answers(entries).response_headers;
        headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }
}

#[test]
fn a_request_that_one_limit_refuses_takes_nothing_from_the_others() {
    let limits = "[{name: s, requests_per_unit: 1, per: 1s}, {name: m, requests_per_unit: 3, per: 1m}]";
    for evaluate in ["each", "all_or_nothing", "in_order"] {
        let bench = Bench::new(&format!(
            "domain: d\nevaluate: {evaluate}\ndescriptors: [{{key: a, rate_limits: {limits}}}]"
        ));
        assert_eq!(bench.send(&["a=1"]), "OK: a 0/1", "{evaluate}");
        for _ in 0..5 {
            assert_eq!(bench.send(&["a=1"]), "OVER: a 0/1 over", "{evaluate}");
        }
        bench.limiter.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.send(&["a=1"]), "OK: a 0/1", "{evaluate}: the minute has seen two");
        bench.limiter.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.send(&["a=1"]), "OK: a 0/3", "{evaluate}: of equals the longer window is told");
        bench.limiter.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.send(&["a=1"]), "OVER: a 0/3 over", "{evaluate}: and the minute refuses the fourth");
    }
}

const TWO: &str = "
descriptors:
  - {key: a, rate_limit: {requests_per_unit: 1, per: 1m}}
  - {key: b, rate_limit: {requests_per_unit: 9, per: 1m}}
";

#[test]
fn the_ways_to_evaluate_differ_in_what_a_refusal_costs() {
    for (evaluate, second, b_alone) in [
        ("each", "OVER: a 0/1 over | b 7/9", "OK: b 6/9"),
        ("all_or_nothing", "OVER: a 0/1 over | b 8/9", "OK: b 7/9"),
        ("in_order", "OVER: a 0/1 over | b skipped", "OK: b 7/9"),
        ("first_match", "OVER: a 0/1 over | b skipped", "OK: b 8/9"),
    ] {
        let bench = Bench::new(&format!("domain: d\nevaluate: {evaluate}\n{TWO}"));
        let first = if evaluate == "first_match" { "OK: a 0/1 | b skipped" } else { "OK: a 0/1 | b 8/9" };
        assert_eq!(bench.send(&["a=1", "b=1"]), first, "{evaluate}");
        assert_eq!(bench.send(&["a=1", "b=1"]), second, "{evaluate}");
        assert_eq!(bench.send(&["b=1"]), b_alone, "{evaluate}");
    }
}

#[test]
fn in_order_what_came_before_a_refusal_stays_counted() {
    let bench = Bench::new(&format!("domain: d\nevaluate: in_order\n{TWO}"));
    assert_eq!(bench.send(&["b=1", "a=1"]), "OK: b 8/9 | a 0/1");
    assert_eq!(bench.send(&["b=1", "a=1"]), "OVER: b 7/9 | a 0/1 over");
    assert_eq!(bench.send(&["nothing=1", "b=1"]), "OK: free | b 6/9");
}

#[test]
fn a_refused_attempt_counts_where_the_limit_says_so() {
    let bench = Bench::new(
        "domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 2, per: 1m, count_denied: true}, headers: \
         {X-Used: used}}]",
    );
    let used = || bench.headers(&[("a", b"1")]).remove(0);
    assert_eq!([used(), used(), used(), used()], ["X-Used: 1", "X-Used: 2", "X-Used: 3", "X-Used: 4"]);
}

#[test]
fn a_shadow_rule_stands_in_nobodys_way_under_all_or_nothing() {
    let bench = Bench::new(
        "
domain: d
evaluate: all_or_nothing
descriptors:
  - {key: a, shadow_mode: true, rate_limit: {requests_per_unit: 1, per: 1m}}
  - {key: b, rate_limit: {requests_per_unit: 9, per: 1m}}
",
    );
    assert_eq!(bench.send(&["a=1", "b=1"]), "OK: a 0/1 | b 8/9");
    assert_eq!(bench.send(&["a=1", "b=1"]), "OK: a 0/1 | b 7/9");
}

const PEOPLE: &str = "
subjects:
  - id: acme
    attributes: {plan: pro}
    credentials: [{kind: key, value: k1}, {kind: key, value: k2, attributes: {rpm: 1}}, {kind: login, value: acme}]
  - id: beta
    attributes: {plan: free, own: 7}
    credentials: [{kind: key, value: k3}, {kind: login, value: beta}, {kind: key, value: gone, enabled: false}]
  - {id: staff, attributes: {internal: true}, credentials: [{kind: key, value: k9}]}
  - {id: odd, attributes: {plan: gold}, credentials: [{kind: key, value: k7}]}
";

#[test]
fn a_number_depends_on_who_asks_and_a_key_that_is_nobodys_matches_nothing() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
descriptors:
  - key: key
    subject: key
    strip_scheme: true
    exempt: {internal: true}
    rate_limit: {name: plan, requests_per_unit: {by: plan, values: {free: 2, pro: 5}, otherwise: 3}, override: own, per: 1m}
",
        PEOPLE,
    );
    assert_eq!(bench.send(&["key=k1"]), "OK: plan 4/5");
    assert_eq!(bench.send(&["key=Bearer k2"]), "OK: plan 3/5", "all keys of a subject count together");
    assert_eq!(bench.send(&["key=k3"]), "OK: plan 6/7", "a number of its own");
    assert_eq!(bench.send(&["key=gone", "key=unknown"]), "OK: free | free");
    assert_eq!(bench.send(&["key=k9"]), "OK: staff exempt");
    assert_eq!(bench.send(&["key=k7"]), "OK: plan 2/3", "a plan that is not listed");
}

#[test]
fn a_limit_of_ones_own_goes_beside_the_accounts() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
evaluate: all_or_nothing
descriptors:
  - key: key
    subject: key
    rate_limits:
      - {name: account, requests_per_unit: 3, per: 1m}
      - {name: own, requests_per_unit: {attribute: rpm}, at_most: cap, per: 1m, count_by: credential}
",
        PEOPLE,
    );
    assert_eq!(bench.send(&["key=k2"]), "OK: key 0/1");
    assert_eq!(bench.send(&["key=k2"]), "OVER: key 0/1 over");
    assert_eq!(bench.send(&["key=k1"]), "OK: key 1/3", "the refused one did not count for the account");
}

#[test]
fn a_second_credential_on_the_way_must_be_the_same_subjects() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
descriptors:
  - key: key
    subject: key
    rate_limit: &one {name: one, requests_per_unit: 9, per: 1m, counter: shared}
    descriptors:
      - {key: login, subject: login, rate_limit: *one}
  - {key: key, rate_limit: {name: nobody, requests_per_unit: 4, per: 1m}}
",
        PEOPLE,
    );
    assert_eq!(bench.send(&["key=k1,login=acme"]), "OK: one 8/9");
    assert_eq!(bench.send(&["key=k1,login=beta"]), "OK: free");
    assert_eq!(bench.send(&["key=k1"]), "OK: one 7/9", "both ways share the counter they name");
    assert_eq!(bench.send(&["key=unknown"]), "OK: nobody 3/4", "the key alone takes what is nobody's");
}

#[test]
fn method_and_path_are_an_endpoint_where_endpoints_are_named() {
    let bench = Bench::new(
        "
domain: d
endpoints: [GET /leads/:id, {write: [POST /leads, PUT /leads/:id]}]
descriptors:
  - {key: endpoint, value: 'GET /leads/:id', rate_limit: {name: read, requests_per_unit: 9, per: 1m}}
  - {key: endpoint, value: write, rate_limit: {name: write, requests_per_unit: 9, per: 1m}}
  - {key: endpoint, rate_limit: {name: other, requests_per_unit: 9, per: 1m}}
  - {key: method, rate_limit: {name: method, requests_per_unit: 9, per: 1m}}
",
    );
    assert_eq!(
        bench.send(&["method=GET,path=/leads/1?x=y", "endpoint=GET /leads/2/"]),
        "OK: read 8/9 | read 7/9"
    );
    assert_eq!(
        bench.send(&["method=POST,path=/leads", "method=PUT,path=/leads/7"]),
        "OK: write 8/9 | write 7/9"
    );
    assert_eq!(bench.send(&["method=GET,path=/tags", "method=GET,path=/users"]), "OK: other 8/9 | other 7/9");
    assert_eq!(bench.send(&["method=GET"]), "OK: method 8/9", "a method alone stays one");
}

#[test]
fn twenty_thousand_invented_paths_leave_every_customers_limits_as_they_were() {
    let bench = Bench::new(
        "
domain: d
endpoints: [GET /v1/leads]
undeclared: {segments: 2}
descriptors:
  - key: api_key
    descriptors:
      - {key: endpoint, value: GET /v1/leads, rate_limit: {name: leads, requests_per_unit: 3, per: 1m}}
      - {key: endpoint, rate_limit: {name: other, requests_per_unit: 3, per: 1m}}
",
    );
    for n in 0..20_000 {
        let _ = bench.send(&[&format!("api_key=stranger,method=GET,path=/invented-{n}")]);
    }
    let ask = |path: &str| bench.send(&[&format!("api_key=customer,method=GET,path={path}")]);
    assert_eq!(ask("/v1/leads"), "OK: leads 2/3");
    assert_eq!(ask("/v1/tags"), "OK: other 2/3");
    assert_eq!(ask("/v1/users"), "OK: other 2/3", "another endpoint has a limit of its own");
    assert_eq!(ask("/v1/tags/cl9ebqhxk00003b600tymydho"), "OK: other 1/3", "ids of any form are none");
    assert_eq!(ask("/v1/tags/01ARZ3NDEKTSV4RRFFQ69G5FAV"), "OK: other 0/3");
    assert_eq!(ask("/v1/tags/a-slug"), "OVER: other 0/3 over");
}

#[test]
fn undeclared_endpoints_are_one_where_nothing_is_said() {
    let bench = Bench::new(
        "
domain: d
endpoints: [GET /leads]
descriptors:
  - {key: endpoint, value: GET /leads, rate_limit: {name: leads, requests_per_unit: 3, per: 1m}}
  - {key: endpoint, rate_limit: {name: other, requests_per_unit: 3, per: 1m}}
",
    );
    for (request, expected) in [
        ("method=GET,path=/a", "OK: other 2/3"),
        ("method=PUT,path=/b/c", "OK: other 1/3"),
        ("method=BREW,path=/d", "OK: other 0/3"),
        ("method=GET,path=/e", "OVER: other 0/3 over"),
        ("method=GET,path=/leads", "OK: leads 2/3"),
        ("method=HEAD,path=/leads", "OK: leads 1/3"),
        ("method=GET,path=/leads;v=1", "OK: leads 0/3"),
    ] {
        assert_eq!(bench.send(&[request]), expected, "{request}");
    }
}

#[test]
fn an_empty_value_is_absent_where_that_is_said() {
    let bench = Bench::new(
        "
domain: d
evaluate: first_match
descriptors:
  - {key: business, empty: absent, rate_limit: {name: business, requests_per_unit: 3, per: 1m}}
  - {key: user, empty: value, rate_limit: {name: user, requests_per_unit: 3, per: 1m}}
",
    );
    assert_eq!(bench.send(&["business=", "user=u1"]), "OK: free | user 2/3");
    assert_eq!(bench.send(&["business=b1", "user=u1"]), "OK: business 2/3 | user skipped");
    assert_eq!(bench.send(&["user="]), "OK: user 2/3", "an empty value is a value like any other");
}

#[test]
fn nothing_a_client_sends_reaches_an_answer_unescaped() {
    let bench = Bench::new(
        r#"
domain: d
headers: {X-Limit: "{{name}}; n={{limit}}"}
deny: {body: '{"who":"{{entry.who}}","left":{{remaining}}}'}
descriptors:
  - {key: who, rate_limit: {name: n, requests_per_unit: 0, per: 1m}}
"#,
    );
    let reported = bench.answers(&[("who", b"a\"\r\nx-evil: 1\xff\0</script>")]);
    let (headers, body) = (reported.response_headers, String::from_utf8(reported.body).unwrap());
    let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(parsed["who"], "a\"\r\nx-evil: 1\u{fffd}\0</script>");
    assert_eq!(parsed["left"], 0);
    assert_eq!(headers[0], ("X-Limit".to_owned(), "n; n=0".to_owned()));
    assert_eq!(headers[1], ("Content-Type".to_owned(), "application/json".to_owned()));
    assert!(!body.contains('\n'));
}

#[test]
fn the_upstream_learns_who_is_asking_when_the_request_passes() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
request_headers: {x-tenant: '{{subject}}', x-plan: 'plan {{attribute.plan}}', x-never: '{{attribute.nothing}}'}
descriptors: [{key: key, subject: key, rate_limit: {requests_per_unit: 1, per: 1h}}]
",
        PEOPLE,
    );
    let ask = || bench.answers(&[("key", b"k1")]).request_headers;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(ask(), [header("x-tenant", "acme"), header("x-plan", "plan pro")]);
    assert_eq!(ask(), [], "a request that is refused goes nowhere");
}

#[test]
fn the_upstream_is_told_no_other_name_than_that_of_whoever_asks() {
    let ids = ["acm", "acm\u{e9}", "acm%C3%A9", " acm", "acm ", "acm\u{200b}"];
    let people = ids.iter().enumerate().map(|(n, id)| {
        let id = serde_json::to_string(id).unwrap();
        format!("  - {{id: {id}, credentials: [{{kind: key, value: k{n}}}]}}\n")
    });
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
request_headers: {x-tenant: '{{subject}}'}
descriptors: [{key: key, subject: key}]
",
        &format!("subjects:\n{}", people.collect::<String>()),
    );
    let reported =
        |n: usize| bench.answers(&[("key", format!("k{n}").as_bytes())]).request_headers[0].1.clone();
    assert_eq!(
        (0..ids.len()).map(reported).collect::<Vec<_>>(),
        ["acm", "acm%C3%A9", "acm%25C3%25A9", "%20acm", "acm%20", "acm%E2%80%8B"]
    );
}

#[test]
fn the_upstream_learns_what_is_known_whether_anybody_was_counted_or_not() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let bench = Bench::new(
        "domain: d\nrequest_headers: {x-from: 'a {{entry.address}}', x-left: '{{remaining}}', x-via: edge, x-path: \
         '{{entry.path}}'}\ndescriptors: [{key: address, rate_limit: {requests_per_unit: 5, per: 1h}}, {key: path}, {key: free}]",
    );
    let asked = bench.answers(&[("address", b"192.0.2.1"), ("path", b"/x")]).request_headers;
    let path = header("x-path", "/x");
    let (from, via) = (header("x-from", "a 192.0.2.1"), header("x-via", "edge"));
    assert_eq!(asked, [from, header("x-left", "4"), via.clone(), path]);
    assert_eq!(
        bench.answers(&[("free", b"1")]).request_headers,
        std::slice::from_ref(&via),
        "nobody was counted"
    );
    assert_eq!(bench.answers(&[]).request_headers, [via], "nothing was sent");

    // Whoever is exempt, has no limit here or an unlimited one, is known all the same.
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
request_headers: {x-tenant: '{{subject}}'}
descriptors:
  - {key: exempt, subject: key, exempt: {plan: pro}, rate_limit: {requests_per_unit: 1, per: 1h}}
  - {key: none, subject: key}
  - {key: unlimited, subject: key, rate_limit: {unlimited: true}}
  - {key: address, rate_limit: {requests_per_unit: 5, per: 1h}}
",
        PEOPLE,
    );
    for key in ["exempt", "none", "unlimited"] {
        let asked = bench.answers(&[("address", b"192.0.2.1"), (key, b"k1")]).request_headers;
        assert_eq!(asked, [header("x-tenant", "acme")], "{key}");
    }
    assert_eq!(bench.answers(&[("address", b"192.0.2.1"), ("none", b"nobody's")]).request_headers, []);
}

#[test]
fn an_empty_value_is_no_credential_and_where_that_is_said_as_if_it_had_not_been_sent() {
    let policy = |empty: &str| {
        format!(
            "
domain: d
subjects: d.subjects.yaml
descriptors:
  - key: key
    subject: key
    rate_limit: &one {{name: one, requests_per_unit: 9, per: 1h, count_by: entries}}
    descriptors:
      - key: also
        subject: key
        strip_scheme: true
        {empty}
        rate_limit: *one
        descriptors: [{{key: last, rate_limit: {{name: last, requests_per_unit: 9, per: 1h, count_by: entries}}}}]
      - {{key: last, rate_limit: {{name: other, requests_per_unit: 9, per: 1h, count_by: entries}}}}
"
        )
    };
    let bench = with_subjects(&policy(""), PEOPLE);
    assert_eq!(bench.send(&["key=k1,also="]), "OK: free");
    let bench = with_subjects(&policy("empty: absent"), PEOPLE);
    assert_eq!(bench.send(&["key=k1"]), "OK: one 8/9");
    assert_eq!(bench.send(&["key=k1,also="]), "OK: one 7/9", "the same counter as without it");
    assert_eq!(bench.send(&["key=k1,also=Bearer "]), "OK: one 6/9");
    assert_eq!(bench.send(&["key=k1,also=nobody's"]), "OK: free", "a wrong one is not an absent one");
    assert_eq!(bench.send(&["key=k1,last=a"]), "OK: other 8/9");
    assert_eq!(
        bench.send(&["key=k1,also=,last=a"]),
        "OK: other 7/9",
        "what follows it is counted where it belongs"
    );
    assert_eq!(bench.send(&["key=k1,also=,last=b"]), "OK: other 8/9");
    assert_eq!(bench.send(&["also="]), "OK: free");
    let reported = crate::config::load_text(
        "a.yaml",
        "domain: d\ndescriptors: [{key: k, subject: s, value: v, empty: absent}]",
        crate::config::Options::default(),
    );
    assert!(reported.is_err());
}

#[test]
fn otherwise_is_the_number_for_whoever_is_not_listed() {
    let policy = |otherwise: &str| {
        format!(
            "domain: d\nsubjects: d.subjects.yaml\ndescriptors: [{{key: key, subject: key, rate_limit: {{name: n, per: 1h, \
             requests_per_unit: {{by: plan, values: {{pro: 9}}{otherwise}}}}}}}]"
        )
    };
    let people = "subjects:\n- {id: a, attributes: {plan: pro}, credentials: [{kind: key, value: a}]}\n- {id: b, attributes: {plan: \
                  gold}, credentials: [{kind: key, value: b}]}\n- {id: c, credentials: [{kind: key, value: c}]}\n";
    let bench = with_subjects(&policy(", otherwise: 2"), people);
    for (key, reported) in [("a", "OK: n 8/9"), ("b", "OK: n 1/2"), ("c", "OK: n 1/2")] {
        assert_eq!(bench.send(&[&format!("key={key}")]), reported);
    }
}

#[test]
fn of_two_refusals_the_one_that_takes_longer_speaks() {
    let bench = Bench::new(
        "
domain: d
descriptors:
  - {key: a, rate_limit: {name: short, requests_per_unit: 0, unit: minute}, headers: {X-Wait: retry_after_s, X-A: name}, deny: {body: short}}
  - {key: b, rate_limit: {name: long, requests_per_unit: 1, per: 1h}, headers: {X-Wait: retry_after_s, X-B: name}, deny: {body: long}}
  - {key: c, rate_limit: {name: fine, requests_per_unit: 9, per: 1h}, headers: {X-Wait: limit, X-C: name}}
",
    );
    bench.send(&["b=1"]);
    // `a` can never pass, which is the longest wait there is; so it is left out here.
    let reported = bench.answers(&[("c", b"1"), ("b", b"1")]);
    assert_eq!(reported.body, b"long");
    let expected = ["X-C: fine", "X-Wait: 3600", "X-B: long", "Content-Type: text/plain"];
    assert_eq!(bench.headers(&[("c", b"1"), ("b", b"1")]), expected);
    assert_eq!(bench.limiter.clock.now(), START);
}

#[test]
fn a_reload_with_less_spending_leaves_a_tier_where_it_was() {
    let policy = "
domain: d
subjects: d.subjects.yaml
descriptors: [{key: key, subject: key, rate_limit: {name: t, requests_per_unit: {by: tier, values: {0: 1, 1: 50}}, per: 1m}}]
";
    let people = |spend: u32| {
        format!(
            "tiers: {{attribute: tier, rules: [{{tier: 0, spend: 0}}, {{tier: 1, spend: 5}}]}}\nsubjects: [{{id: a, facts: \
             {{spend: {spend}}}, credentials: [{{kind: key, value: k}}]}}]"
        )
    };
    let bench = with_subjects(policy, &people(5));
    assert_eq!(bench.send(&["key=k"]), "OK: t 49/50");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("d.yaml"), policy).unwrap();
    std::fs::write(directory.path().join("d.subjects.yaml"), people(1)).unwrap();
    bench.limiter.publish(config::load(&[directory.path()], config::Options::default()).unwrap().policy);
    assert_eq!(bench.send(&["key=k"]), "OK: t 48/50");
}

#[test]
fn a_rule_that_grants_whoever_asks_nothing_neither_settles_nor_replaces() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
evaluate: first_match
descriptors:
  - key: key
    subject: key
    rate_limits: [{name: own, requests_per_unit: {attribute: rpm}, per: 1m, replaces: [{name: ip}]}]
  - {key: ip, rate_limit: {name: ip, requests_per_unit: 9, per: 1m}}
",
        PEOPLE,
    );
    assert_eq!(bench.send(&["key=k2", "ip=1"]), "OK: key 0/1 | ip skipped");
    assert_eq!(bench.send(&["key=k1", "ip=1"]), "OK: free | ip 8/9");
}

#[test]
fn a_limit_of_ones_own_can_stand_in_for_another_of_its_list() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
headers: {X: '{{each}}{{name}}={{remaining}}'}
descriptors:
  - key: key
    subject: key
    rate_limits:
      - {name: all, requests_per_unit: 9, per: 1m, count_by: credential}
      - {name: own, requests_per_unit: {attribute: rpm}, per: 1h, count_by: credential, replaces: [{name: all}]}
",
        PEOPLE,
    );
    assert_eq!(bench.headers(&[("key", b"k1")]), ["X: all=8"]);
    assert_eq!(bench.headers(&[("key", b"k2")]), ["X: own=0"]);
}

#[test]
fn each_of_very_many_descriptors_costs_what_it_says() {
    let bench =
        Bench::new("domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 100, per: 1m}}]");
    let mut many = vec![("b=1", Hits::ONE, None); 70_000];
    many.push(("a=1", Hits::charge(60), None));
    assert!(bench.send_with(&many).ends_with("| a 40/100"));
    assert_eq!(bench.send(&["a=1"]), "OK: a 39/100");
}

#[test]
fn a_limit_that_refuses_nothing_does_not_speak_for_a_refusal() {
    let bench = Bench::new(
        "
domain: d
headers: {Retry-After: retry_after_s, X-Name: name}
descriptors:
  - {key: q, quota_mode: true, rate_limit: {name: quota, requests_per_unit: 0, per: 1h}}
  - {key: free, quota_mode: true, rate_limit: {name: free, requests_per_unit: 9, per: 1h}}
  - {key: hard, rate_limit: {name: hard, requests_per_unit: 1, per: 30s}}
",
    );
    bench.send(&["hard=1"]);
    let reported = bench.headers(&[("q", b"1"), ("free", b"1"), ("hard", b"1")]);
    assert_eq!(reported, ["Retry-After: 30", "X-Name: hard"]);
}

#[test]
fn a_rule_that_is_only_watched_neither_speaks_first_nor_settles() {
    let rules = "
descriptors:
  - {key: a, shadow_mode: true, rate_limit: {name: watched, requests_per_unit: 1, per: 1h}}
  - {key: b, rate_limit: {name: real, requests_per_unit: 9, per: 1h}}
";
    let bench = Bench::new(&format!("domain: d\nevaluate: first_match\n{rules}"));
    assert_eq!(bench.send(&["a=1", "b=1"]), "OK: watched 0/1 | real 8/9");
    let bench = Bench::new(&format!("domain: d\nheaders: {{X-Limit: limit}}\n{rules}"));
    assert_eq!(bench.headers(&[("a", b"1"), ("b", b"1")]), ["X-Limit: 9"]);
}

#[test]
fn a_credential_never_reaches_an_answer() {
    let bench = with_subjects(
        r#"
domain: d
subjects: d.subjects.yaml
request_headers: {x-key: '{{entry.key}}'}
deny: {body: '{"key":"{{entry.key}}"}'}
descriptors: [{key: key, subject: key, rate_limit: {requests_per_unit: 0, per: 1h}}]
"#,
        PEOPLE,
    );
    assert_eq!(bench.answers(&[("key", b"k1")]).body, br#"{"key":""}"#);
}

#[test]
fn whoever_is_granted_less_than_is_written_saves_up_less() {
    let bench = with_subjects(
        "
domain: d
subjects: d.subjects.yaml
descriptors:
  - key: key
    subject: key
    rate_limit: {name: b, requests_per_unit: 100, at_most: rpm, per: 1h, algorithm: token_bucket, burst: 200, count_by: credential}
",
        PEOPLE,
    );
    assert_eq!(bench.send(&["key=k1"]), "OK: b 199/200");
    assert_eq!(bench.send(&["key=k2"]), "OK: b 1/2");
}

#[test]
fn what_counts_by_the_domain_has_one_counter_for_everybody_on_every_way_to_it() {
    let bench = with_subjects(
        "
domain: d
descriptors:
  - key: user
    rate_limit: &all {name: all, requests_per_unit: 3, per: 1h, count_by: domain, counter: all}
  - key: method
    value: GET
    descriptors: [{key: path, rate_limit: *all}]
",
        PEOPLE,
    );
    assert_eq!(bench.send(&["user=ann"]), "OK: all 2/3");
    assert_eq!(bench.send(&["user=bob"]), "OK: all 1/3");
    assert_eq!(bench.send(&["method=GET,path=/a"]), "OK: all 0/3");
    assert_eq!(bench.send(&["method=GET,path=/b"]), "OVER: all 0/3 over");
}
