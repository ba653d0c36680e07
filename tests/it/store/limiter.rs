//! How a worker waits for its store.

use std::sync::Arc;
use std::time::Duration;

use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::limiter::{Limiter, Worker};
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::{Store, StoreError};
use tokio::time::Instant;

use crate::support::stores::{Failing, Fails, Slow};

const POLICY: &str = "{domain: d, descriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 5}}]}";

fn worker<S: Store>(store: S) -> Worker<S, ManualClock> {
    let policy = config::load_text("d.yaml", POLICY, Options::default()).unwrap().policy;
    Arc::new(Limiter::new(policy, store, ManualClock::at(Timestamp::from_secs(90)))).worker()
}

fn request(key: &str) -> Request<'_> {
    let entry = Entry { key: key.as_bytes(), value: b"1" };
    let descriptor = Descriptor { entries: [entry].into_iter().collect(), hits: Hits::ONE, limit: None };
    Request { domain: b"d", descriptors: vec![descriptor] }
}

/// Decides with a deadline so many milliseconds from now; tells the answer and how long it took.
async fn decide<S: Store>(
    worker: &Worker<S, ManualClock>,
    key: &str,
    deadline: Option<u64>,
) -> (Result<bool, StoreError>, Duration) {
    let begun = Instant::now();
    let deadline = deadline.map(|milliseconds| begun + Duration::from_millis(milliseconds));
    let policy = worker.limiter().engine.policy();
    let verdict = worker.decide(worker.scratch(), &policy, &request(key), deadline).await;
    (verdict.map(|verdict| verdict.over_limit), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_waited_for() {
    let worker = worker(Slow::by(Duration::from_millis(3)));
    for over_limit in [false, false, false, false, false, true] {
        let (answer, took) = decide(&worker, "a", Some(20)).await;
        assert_eq!((answer.unwrap(), took), (over_limit, Duration::from_millis(6)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_charges_nothing_does_not_wait() {
    let worker = worker(Slow::by(Duration::from_secs(3_600)));
    let (answer, took) = decide(&worker, "unlimited", None).await;
    assert_eq!((answer.unwrap(), took), (false, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_until_the_deadline_and_ten_seconds_at_most() {
    let worker = worker(Failing::in_turn(&[Some(Fails::ByHanging)]));
    for (deadline, waited) in [(Some(20), 20), (None, 10_000), (Some(3_600_000), 10_000)] {
        let (answer, took) = decide(&worker, "a", deadline).await;
        let error = answer.unwrap_err();
        assert_eq!(error.to_string(), format!("the counter store did not answer within {waited} ms"));
        assert_eq!(took, Duration::from_millis(waited));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_together_have_buffers_of_their_own() {
    let worker = worker(Slow::by(Duration::from_millis(3)));
    let decisions = futures_util::future::join_all((0..100).map(|_| decide(&worker, "a", Some(20)))).await;
    let passed = decisions.iter().filter(|(answer, _)| !answer.as_ref().unwrap()).count();
    assert_eq!(passed, 5);
    assert!(decisions.iter().all(|(_, took)| *took == Duration::from_millis(6)));
}
