//! Replicas make the keys of counters under one secret, which is kept beside the counters.

use std::sync::Arc;
use std::time::Duration;

use spillway::algorithm::Mode;
use spillway::clock::SystemClock;
use spillway::config::{Options, load_text};
use spillway::limiter::{Limiter, WithoutStore, Worker};
use spillway::model::{Descriptor, Hits, Request, Timestamp};
use spillway::policy::Keyer;
use spillway::store::{RedisStore, Session, Store, StoreError};
use tokio::time::Instant;

use super::failures::{charge, run};
use crate::support::PATIENCE;
use crate::support::valkey::Valkey;

#[test]
fn replicas_share_the_secret_of_whoever_was_first() {
    let server = Valkey::start(&[]);
    run(async {
        let [first, second] =
            [RedisStore::open(&server.url()), RedisStore::open(&server.url())].map(Result::unwrap);
        assert_ne!(first.secret().get(), second.secret().get());
        let drawn = first.secret().get();
        first.ready().await.unwrap();
        second.ready().await.unwrap();
        assert_eq!([first.secret().get(), second.secret().get()], [drawn; 2]);
        let other = RedisStore::open(&format!("{}?prefix=other:", server.url())).unwrap();
        other.ready().await.unwrap();
        assert_ne!(other.secret().get(), drawn, "another prefix is another fleet");
    });
}

#[test]
fn a_server_that_was_emptied_is_given_the_secret_again_and_one_that_was_replaced_has_its_own() {
    let server = Valkey::start(&[]);
    run(async {
        let store = RedisStore::open(&format!("{}?timeout=1000ms", server.url())).unwrap();
        let session = store.session();
        let drawn = store.secret().get();
        let another = "00000000000000010000000000000002";
        for (command, expected) in
            [(&["FLUSHALL"][..], drawn), (&["SET", "spillway:secret", another], [1, 2])]
        {
            server.ask(command).unwrap();
            let begun = Instant::now();
            loop {
                let deadline = Instant::now() + PATIENCE;
                let applied =
                    session.apply(Mode::Each, &[charge(Hits::ONE)], Timestamp::EPOCH, deadline).await;
                // Nothing was counted by keys that nobody else has.
                assert!(matches!(applied, Ok(_) | Err(StoreError::Rekeyed)), "{applied:?}");
                let kept = server.ask(&["EXISTS", "spillway:secret"]).unwrap();
                if kept == redis::Value::Int(1) && store.secret().get() == expected {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{kept:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

#[test]
fn what_is_wrong_with_a_server_is_told_at_the_start() {
    let mut server = Valkey::start(&[]);
    run(async {
        let store = RedisStore::open(&server.url()).unwrap();
        // Scripts compare the text, so there is one way to write it.
        for text in ["hello", "0123456789ABCDEF0123456789ABCDEF"] {
            server.ask(&["SET", "spillway:secret", text]).unwrap();
            let refused = store.ready().await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                "the counter store refused: `spillway:secret` is no secret of Spillway"
            );
        }
        server.kill();
        let unreachable = store.ready().await.unwrap_err();
        assert!(matches!(unreachable, StoreError::Unreachable { .. }), "{unreachable}");
    });
}

/// One replica has counted before this one has reached the server: what this one decides first counts with that.
#[test]
fn the_first_request_of_a_replica_is_counted_by_the_keys_of_the_others() {
    let server = Valkey::start(&[]);
    run(async {
        let mut passed = 0;
        for _ in 0..3 {
            let worker = replica(&server, "20000ms").worker();
            for _ in 0..3 {
                passed += u32::from(passes(&worker).await.unwrap());
            }
        }
        assert_eq!(passed, 5);
    });
}

/// What waits for a server that was emptied meanwhile, and was given another secret by a new replica, counts with that replica.
#[test]
fn a_request_that_waits_for_a_connection_is_counted_by_the_keys_that_come_with_it() {
    let mut server = Valkey::start(&[]);
    run(async {
        let worker = replica(&server, "1000ms").worker();
        assert!(passes(&worker).await.unwrap());
        server.kill();
        assert!(passes(&worker).await.is_err());
        server.restart();
        let other = replica(&server, "20000ms").worker();
        for _ in 0..5 {
            assert!(passes(&other).await.unwrap());
        }
        let begun = Instant::now();
        // It is not connected to again at once.
        let passes = loop {
            if let Ok(passes) = passes(&worker).await {
                break passes;
            }
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(!passes, "all five have passed by the other replica");
    });
}

/// As the one before, but connections live on: the server is only emptied.
#[test]
fn a_replica_counts_with_one_that_came_first_after_the_server_was_emptied() {
    let server = Valkey::start(&[]);
    run(async {
        let worker = replica(&server, "20000ms").worker();
        for _ in 0..2 {
            assert!(passes(&worker).await.unwrap());
        }
        server.ask(&["FLUSHALL"]).unwrap();
        let other = replica(&server, "20000ms").worker();
        let mut passed = 0;
        for _ in 0..5 {
            passed += u32::from(passes(&other).await.unwrap()) + u32::from(passes(&worker).await.unwrap());
        }
        assert_eq!(passed, 5, "the limit once more, as its counts are gone, and not for each of them");

        // Emptied again, it has the secret again with whatever comes first.
        server.ask(&["FLUSHALL"]).unwrap();
        assert!(passes(&worker).await.unwrap());
        let last = replica(&server, "20000ms").worker();
        for _ in 0..4 {
            assert!(passes(&last).await.unwrap());
        }
        assert!(!passes(&last).await.unwrap());
        assert!(!passes(&worker).await.unwrap());
    });
}

#[test]
fn what_another_program_has_in_the_place_of_the_secret_is_not_overwritten() {
    let server = Valkey::start(&[]);
    run(async {
        let worker = replica(&server, "20000ms").worker();
        assert!(passes(&worker).await.unwrap());
        server.ask(&["DEL", "spillway:secret"]).unwrap();
        server.ask(&["HSET", "spillway:secret", "of", "others"]).unwrap();
        let refused = passes(&worker).await.unwrap_err().to_string();
        assert!(refused.contains("WRONGTYPE"), "{refused}");
        let kept = server.ask(&["HGET", "spillway:secret", "of"]).unwrap();
        assert_eq!(kept, redis::Value::BulkString(b"others".to_vec()));
    });
}

/// One that allows five requests a year, and waits for its store.
fn replica(server: &Valkey, timeout: &str) -> Arc<Limiter<RedisStore, SystemClock>> {
    let store = RedisStore::open(&format!("{}?timeout={timeout}", server.url())).unwrap();
    let policy = "{domain: d, descriptors: [{key: k, rate_limit: {requests_per_unit: 5, unit: year}}]}";
    let policy = load_text("d.yaml", policy, Options::default()).unwrap().policy;
    let keyer = Keyer::shared(store.secret());
    let limiter = Limiter::with_keys(policy, keyer, store, SystemClock::new());
    let without_store = WithoutStore::new(PATIENCE, std::num::NonZeroU32::MIN);
    Arc::new(Limiter { without_store, ..limiter })
}

async fn passes(worker: &Worker<RedisStore, SystemClock>) -> Result<bool, StoreError> {
    let entries = [("k".to_owned(), "1".to_owned())];
    let request = Request { domain: b"d", descriptors: vec![Descriptor::of_text(&entries, Hits::ONE)] };
    let policy = worker.limiter().engine.policy();
    let verdict = worker.decide(worker.scratch(), &policy, &request, None).await?;
    Ok(!verdict.over_limit)
}
