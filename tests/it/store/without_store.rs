//! What becomes of requests when the store fails: `on_store_failure`, and the breaker.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::answer;
use spillway::limiter::{Change, Limiter, WithoutStore, Worker};
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::{Store, StoreError};
use tokio::time::Instant;

use crate::support::stores::{Failing, Fails, Slow};

const POLICY: &str = "
domain: d
headers: {emit: always, Left: remaining}
deny: {body: '{\"error\":\"slow down\",\"left\":{{remaining}}}'}
descriptors:
- {key: open, rate_limit: {unit: hour, requests_per_unit: 6}}
- {key: closed, rate_limit: {unit: hour, requests_per_unit: 6, on_store_failure: closed}}
- {key: watched, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 6, on_store_failure: closed}}
- {key: local, rate_limit: {unit: hour, requests_per_unit: 6, on_store_failure: local}}
- key: both
  rate_limits:
  - {name: b, unit: hour, requests_per_unit: 2, on_store_failure: local}
  - {name: a, unit: minute, requests_per_unit: 1}
";

fn worker<S: Store>(store: S, replicas: u32) -> Worker<S, ManualClock> {
    let policy = config::load_text("d.yaml", POLICY, Options::default()).unwrap().policy;
    let mut limiter = Limiter::new(policy, store, ManualClock::at(Timestamp::from_secs(90)));
    limiter.without_store = WithoutStore::new(Duration::from_millis(10), NonZeroU32::new(replicas).unwrap());
    Arc::new(limiter).worker()
}

/// What is answered to a request that reaches `keys`: «ok» or a body, and the header.
async fn ask<S: Store>(worker: &Worker<S, ManualClock>, keys: &[&str]) -> Result<String, StoreError> {
    ask_for(Hits::ONE, worker, keys).await
}

async fn ask_for<S: Store>(
    hits: Hits,
    worker: &Worker<S, ManualClock>,
    keys: &[&str],
) -> Result<String, StoreError> {
    let descriptors = keys.iter().map(|key| {
        let entry = Entry { key: key.as_bytes(), value: b"1" };
        Descriptor { entries: [entry].into_iter().collect(), hits, limit: None }
    });
    let request = Request { domain: b"d", descriptors: descriptors.collect() };
    let policy = worker.limiter().engine.policy();
    let verdict = worker.decide(worker.scratch(), &policy, &request, None).await?;
    let answer = answer(&request, &verdict);
    let headers: Vec<_> =
        answer.response_headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    let what = if verdict.over_limit { answer.body.as_str() } else { "ok" };
    Ok(format!("{what}{}", headers.concat()))
}

fn broken() -> Failing {
    Failing::in_turn(&[Some(Fails::Before)])
}

const CLOSED: &str = r#"{"error":"slow down","left":null} Content-Type=application/json"#;

#[tokio::test(start_paused = true)]
async fn a_closed_limit_refuses_with_its_body_and_without_numbers() {
    for keys in [&["closed"][..], &["open", "closed"], &["local", "closed"]] {
        let worker = worker(broken(), 1);
        assert_eq!(ask(&worker, keys).await.unwrap(), CLOSED, "{keys:?}");
        assert!(worker.take_notes().failure.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_asks_for_nothing_that_a_closed_limit_could_refuse() {
    let error = ask_for(Hits::refund(3), &worker(broken(), 1), &["closed"]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_open_limit_and_one_in_shadow_mode_are_answered_by_the_error() {
    for key in ["open", "watched"] {
        let error = ask(&worker(broken(), 1), &[key]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{key}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_limit_is_counted_here_up_to_this_replicas_share() {
    for (replicas, share) in [(1, 6), (3, 2), (100, 1)] {
        let worker = worker(broken(), replicas);
        for left in (0..share).rev() {
            assert_eq!(ask(&worker, &["local", "open"]).await.unwrap(), format!("ok Left={left}"));
        }
        let refused = ask(&worker, &["local"]).await.unwrap();
        assert!(refused.starts_with(r#"{"error":"slow down","left":0}"#), "{replicas}: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_rule_the_local_limit_decides_and_the_open_one_is_left_out() {
    let worker = worker(broken(), 1);
    for expected in ["ok Left=1", "ok Left=0"] {
        assert_eq!(ask(&worker, &["both"]).await.unwrap(), expected);
    }
    assert!(ask(&worker, &["both"]).await.unwrap().starts_with('{'));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_store_that_hangs_once_the_breaker_is_open() {
    let worker = worker(Slow::by(Duration::from_secs(1)), 1);
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(matches!(ask(&worker, &["open"]).await, Err(StoreError::TimedOut { .. })));
        assert_eq!(begun.elapsed(), Duration::from_millis(10));
    }
    assert_eq!(worker.take_notes().change, Some(Change::Opened));
    let begun = Instant::now();
    assert!(matches!(ask(&worker, &["open"]).await, Err(StoreError::Resting)));
    assert_eq!(ask(&worker, &["closed"]).await.unwrap(), CLOSED);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_waiting_is_answered_while_the_breaker_is_open() {
    const TURNS: &[Option<Fails>] = &[
        Some(Fails::Before),
        Some(Fails::Before),
        Some(Fails::Before),
        Some(Fails::Before),
        Some(Fails::Before),
        None,
        None,
        None,
        None,
        None,
    ];
    let worker = worker(Failing::in_turn(TURNS), 1);
    for _ in 0..5 {
        assert!(ask(&worker, &["open"]).await.is_err());
    }
    // This store answers at once when it is well, so nobody has to wait for it.
    assert_eq!(ask(&worker, &["open"]).await.unwrap(), "ok Left=5");
}
