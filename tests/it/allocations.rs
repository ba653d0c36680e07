//! What a decision allocates: nothing, once its buffers are there.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::answer;
use spillway::limiter::Limiter;
use spillway::model::{Catalog, Descriptor, DomainIndex, Entry, Hits, Peer, Request, RuleIndex, Timestamp};
use spillway::store::MemoryStore;
use spillway::telemetry::{Metrics, RuleHit, UnmatchedDescriptors};
use spillway::traces::{Endpoint, Exporter, Protocol, Sampler, TraceOptions};
use tokio::time::Instant;

/// Three limits, six headers, an endpoint by its name, and a refusal with a body.
const POLICY: &str = "
domain: d
endpoints: [GET /leads/:id]
headers: {emit: always, X-Limit: limit, X-Remaining: remaining, X-Used: used, X-Reset: reset_unix_s, Reset: reset_s,
  Full: full_s}
deny: {content_type: application/json, body: '{\"retry\":{{retry_after_s}}}'}
descriptors:
- key: api_key
  descriptors:
  - key: endpoint
    rate_limits:
      - {name: hour, requests_per_unit: 100000, per: 1h}
      - {name: long, requests_per_unit: 100000, per: 90m, algorithm: token_bucket, burst: 10}
      - {name: day, requests_per_unit: 50, per: 1d}
";

#[test]
fn a_decision_and_its_answer_take_no_allocation() {
    let policy = config::load_text("d.yaml", POLICY, Options::default()).unwrap().policy;
    let clock = ManualClock::at(Timestamp::from_secs(1));
    let limiter = Arc::new(Limiter::new(policy, MemoryStore::default(), clock));
    let worker = limiter.worker();
    let entries = [("api_key", "key_1"), ("endpoint", "GET /leads/7?page=2")];
    let request = Request {
        domain: b"d",
        descriptors: vec![Descriptor {
            entries: entries
                .iter()
                .map(|(key, value)| Entry { key: key.as_bytes(), value: value.as_bytes() })
                .collect(),
            hits: Hits::ONE,
            limit: None,
        }],
    };
    let mut refused = 0;
    let mut decide = || {
        let policy = limiter.engine.policy();
        let verdict = worker.decide_now(worker.scratch(), &policy, &request).unwrap();
        let answer = answer(&request, &verdict);
        assert!(answer.response_headers.iter().len() >= 6);
        refused += usize::from(verdict.over_limit);
        verdict.reclaim(black_box(answer).into_texts());
        worker.reuse(verdict.into_scratch());
    };
    // The first ones make buffers and counters.
    (0..60).for_each(|_| decide());
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| decide()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
    assert!(refused > 900, "refusals and their bodies are among them");
}

#[test]
fn a_call_that_is_not_traced_takes_no_allocation_and_another_one_takes_one() {
    let begun = |rate, flags: &str| {
        let nowhere = Endpoint::parse("http://127.0.0.1:9", Protocol::Http).unwrap();
        let options = TraceOptions {
            sampler: Sampler::parent_based(rate),
            delay: Duration::from_secs(3_600),
            ..TraceOptions::to(nowhere, Protocol::Http)
        };
        let exporter = Exporter::start(options, &Arc::default(), || Timestamp::from_secs(1)).unwrap();
        let tracer = exporter.tracer().worker();
        let mut headers = HeaderMap::new();
        if !flags.is_empty() {
            let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            headers.insert("traceparent", parent.parse().unwrap());
        }
        let arrived = Instant::now();
        let begin = || black_box(tracer.begin(&headers, arrived, Peer::Unix));
        // Tokio's queue has blocks of 32.
        (0..3).for_each(|_| drop(begin()));
        allocation_counter::measure(|| (0..10).for_each(|_| drop(begin()))).count_total
    };
    assert_eq!(begun(0.0, ""), 0);
    assert_eq!(begun(1.0, "00"), 0);
    assert_eq!(begun(0.0, "01"), 10);
}

#[test]
fn to_count_what_reaches_no_rule_takes_no_allocation() {
    let metrics = Metrics::default();
    let entries = [Entry { key: b"k", value: b"v" }];
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
    let count = || {
        UnmatchedDescriptors { domain: "d", by_reason: [1, 0, 1, 0], first: &entries, peer }.emit(&metrics);
    };
    count();
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| count()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn to_count_a_rule_takes_no_allocation_nor_does_a_series_that_is_there() {
    let rules = vec![(DomainIndex(0), "plain".into()), (DomainIndex(0), "detailed".into())];
    let with_series = [RuleIndex(1)].into();
    let catalog = Arc::new(Catalog { domains: vec!["d".into()], rules, with_series, ..Catalog::default() });
    let metrics = Metrics::default();
    let recorder = metrics.recorder();
    let count = || {
        recorder.count(&catalog, |tally| {
            tally.rule(RuleIndex(0), None, RuleHit { hits: 1, ..RuleHit::default() });
            tally.rule(RuleIndex(1), Some("k=1"), RuleHit { hits: 1, ..RuleHit::default() });
        });
    };
    count();
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| count()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
