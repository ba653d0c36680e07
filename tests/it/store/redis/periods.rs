//! Replicas whose clocks differ, at the end of a calendar period: the server's clock says which hits go together.

use std::time::Duration;

use spillway::algorithm::{Algorithm, Charge, Mode, Share};
use spillway::clock::{Clock, SystemClock};
use spillway::model::{Hits, Timestamp};
use spillway::store::{RedisSession, RedisStore, Session, Store};
use tokio::time::Instant;

use super::failures::{charge, run};
use crate::support::PATIENCE;
use crate::support::valkey::Valkey;

const DAY: Duration = Duration::from_secs(86_400);
/// By how much the clocks differ.
const SKEW: Duration = Duration::from_secs(30);

/// Whether a hit of a limit of 2 passes for a replica that believes to be in the period that begins then.
async fn passes(session: &RedisSession, begins: Timestamp) -> bool {
    let of = charge(Hits::ONE);
    let algorithm = Algorithm::period(begins, begins.plus(DAY));
    let of = Charge { share: Share { algorithm, limit: 2, ..of.share }, ..of };
    let answer = session.apply(Mode::Each, &[of], Timestamp::EPOCH, Instant::now() + PATIENCE).await;
    answer.unwrap()[0].unwrap().admitted
}

/// How many hits pass of two replicas that take turns.
fn passed_in_turns(begins: impl Fn(Timestamp) -> [Timestamp; 2]) -> usize {
    let server = Valkey::start(&[]);
    run(async {
        let sessions = [(); 2]
            .map(|()| RedisStore::open(&format!("{}?timeout=1000ms", server.url())).unwrap().session());
        let begins = begins(SystemClock::new().now());
        let mut passed = 0;
        for turn in 0..20 {
            passed += usize::from(passes(&sessions[turn % 2], begins[turn % 2]).await);
        }
        passed
    })
}

#[test]
fn one_whose_clock_is_ahead_does_not_begin_the_next_period_for_the_others() {
    // By the server the day has half a minute left.
    assert_eq!(passed_in_turns(|now| [now.plus(SKEW), now.plus(SKEW).minus(DAY)]), 2);
}

#[test]
fn one_whose_clock_is_behind_gets_what_is_left_of_its_own_period_at_most() {
    // By the server the next day began half a minute ago.
    let passed = passed_in_turns(|now| [now.minus(SKEW).minus(DAY), now.minus(SKEW)]);
    assert!(passed <= 4, "{passed}");
}

#[test]
fn the_next_period_begins_at_zero_by_the_servers_clock() {
    let server = Valkey::start(&[]);
    run(async {
        let session = RedisStore::open(&format!("{}?timeout=1000ms", server.url())).unwrap().session();
        let ends = SystemClock::new().now().plus(Duration::from_secs(2));
        let (this, next) = (ends.minus(DAY), ends);
        for expected in [true, true, false] {
            assert_eq!(passes(&session, this).await, expected);
        }
        // This replica's clock is ahead: it waits with the others.
        assert!(!passes(&session, next).await);
        let begun = Instant::now();
        while !passes(&session, next).await {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(passes(&session, next).await && !passes(&session, next).await);
    });
}
