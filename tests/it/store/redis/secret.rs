//! Replicas make the keys of counters under one secret, which is kept beside the counters.

use std::time::Duration;

use spillway::algorithm::Mode;
use spillway::model::{Hits, Timestamp};
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
                session.apply(Mode::Each, &[charge(Hits::ONE)], Timestamp::EPOCH, deadline).await.unwrap();
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
        server.ask(&["SET", "spillway:secret", "hello"]).unwrap();
        let store = RedisStore::open(&server.url()).unwrap();
        let refused = store.ready().await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the counter store refused: `spillway:secret` is no secret of Spillway"
        );
        server.kill();
        let unreachable = store.ready().await.unwrap_err();
        assert!(matches!(unreachable, StoreError::Unreachable { .. }), "{unreachable}");
    });
}
