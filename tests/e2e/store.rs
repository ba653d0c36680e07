//! A counter store that fails, as Envoy shows each failure to whoever asks and to whoever operates it.

use std::fs;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use spillway::app::{self, Bounds, Listeners};
use spillway::clock::SystemClock;
use spillway::config::{self, Options};
use spillway::limiter::{Limiter, WithoutStore};
use spillway::telemetry::Metrics;

use crate::client::{Answer, send};
use crate::gateway::{Gateway, wait_for};
use crate::support::directory;
use crate::support::stores::{Failing, Fails};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[(
    "a_failing_store_is_what_envoys_failure_mode_makes_of_it",
    a_failing_store_is_what_envoys_failure_mode_makes_of_it,
)];

/// While the store fails: `closed` limits refuse in either failure mode of Envoy's, and `local` ones count.
fn limits_say_what_happens(gateway: &Gateway, limiter: &Limiter<Failing, SystemClock>) {
    let demo = fs::read_to_string(gateway.config.path().join("demo.yaml")).unwrap();
    for (word, status, is_limited) in [("closed", 429, false), ("local", 200, true)] {
        let config = directory(&[("demo.yaml", &format!("on_store_failure: {word}\n{demo}"))]);
        limiter.publish(config::load(&[config.path()], Options::default()).unwrap().policy);
        for door in ["failing", "failing-closed"] {
            // The store answers only in one of four turns.
            let answers = (0..3).map(|_| {
                let key = format!("x-api-key: e2e_store_{word}_{door}");
                send("127.0.0.32", gateway.door(door), "GET /leads", &[key.as_bytes()])
            });
            let answers: Vec<_> =
                answers.map(|answer| (answer.status, answer.has_header_starting("x-ratelimit"))).collect();
            let expected = (status, is_limited);
            let as_said = answers.iter().filter(|answer| **answer == expected).count();
            assert!(as_said >= 2, "{word}, {door}: {answers:?}");
        }
    }
}

fn a_failing_store_is_what_envoys_failure_mode_makes_of_it(gateway: &Gateway) {
    let loaded = config::load(&[gateway.config.path()], Options::default()).unwrap();
    let store = Failing::in_turn(&[Some(Fails::Before), Some(Fails::After), Some(Fails::ByHanging), None]);
    let mut limiter = Limiter::new(loaded.policy, store, SystemClock::new());
    limiter.without_store = WithoutStore::new(Duration::from_millis(5), NonZeroU32::MIN);
    let limiter = Arc::new(limiter);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (metrics, bounds) = (Arc::new(Metrics::default()), Bounds::default());
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let listeners = runtime.block_on(Listeners::bind(gateway.failing_grpc, anywhere)).unwrap();
    runtime.spawn(app::serve(
        Arc::clone(&limiter),
        metrics,
        None,
        listeners,
        bounds,
        Duration::ZERO,
        std::future::pending(),
    ));

    let ask = |door: &str, key: &str| -> Answer {
        send("127.0.0.31", gateway.door(door), "GET /leads", &[format!("x-api-key: {key}").as_bytes()])
    };
    let of = |door: &str, name: &str| gateway.statistic(&format!("ratelimit.{door}.{name}$"));
    let is_limited = |answer: &Answer| answer.has_header_starting("x-ratelimit");
    for (door, failed) in [("failing", 200), ("failing-closed", 500)] {
        // Envoy finds the server, and the store's turns begin anew: the fourth is the one that answers.
        wait_for("an answer with its numbers", || is_limited(&ask(door, "e2e_store_warm_up")).then_some(()));
        let before = (of(door, "error"), of(door, "failure_mode_allowed"), of(door, "ok"));
        for turn in ["before anything was charged", "after everything was", "by hanging"] {
            let answer = ask(door, "e2e_store");
            assert_eq!((answer.status, is_limited(&answer)), (failed, false), "{door}: it failed {turn}");
        }
        let answer = ask(door, "e2e_store");
        assert_eq!((answer.status, is_limited(&answer)), (200, true), "{door}: it answered");

        let after = (of(door, "error"), of(door, "failure_mode_allowed"), of(door, "ok"));
        let allowed = if failed == 200 { 3 } else { 0 };
        assert_eq!(after, (before.0 + 3, before.1 + allowed, before.2 + 1), "{door}");
    }
    limits_say_what_happens(gateway, &limiter);
}
