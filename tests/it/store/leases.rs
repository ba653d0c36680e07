//! Processes that take leases of the counters they share.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Outcomes, Share};
use spillway::model::{Hits, Outcome, Timestamp};
use spillway::store::{LeasedStore, MemoryStore, RedisStore, Session, Store, StoreError};
use tokio::time::Instant;

use super::laws::{START, Time, charge, run};
use super::plain::Plain;
use crate::support::PATIENCE;
use crate::support::stores::{Delayed, Failing, Fails, Yielding};
use crate::support::valkey::Valkey;

pub(super) type Leased<S = MemoryStore> = LeasedStore<S>;

/// Whether a request of one hit to the counter 1 passes, and whether the store was asked.
pub(super) async fn hit<S: Session>(
    session: &S,
    limit: u64,
    now: Timestamp,
) -> Result<(bool, bool), StoreError> {
    let of = [charge(1, limit)];
    if let Some(outcomes) = session.apply_now(Mode::Each, &of, now) {
        return Ok((outcomes[0].unwrap().admitted, false));
    }
    let outcomes = session.apply(Mode::Each, &of, now, Instant::now() + Duration::from_secs(1)).await?;
    Ok((outcomes[0].unwrap().admitted, true))
}

pub(super) async fn apply<S: Session>(
    session: &S,
    mode: Mode,
    charges: &[Charge],
    now: Timestamp,
) -> Outcomes {
    if let Some(outcomes) = session.apply_now(mode, charges, now) {
        return outcomes;
    }
    // Nothing is given back to a window that may end before the deadline.
    session.apply(mode, charges, now, Instant::now()).await.unwrap()
}

/// What is counted of the counter 1, with what is leased.
pub(super) fn counted(store: &MemoryStore, now: Timestamp) -> u64 {
    let look = Charge { share: Share { hits: Hits::Look, ..charge(1, 1).share }, ..charge(1, 1) };
    store.apply_now(Mode::Each, &[look], now).unwrap()[0].unwrap().used
}

#[test]
fn most_hits_of_a_busy_counter_ask_nobody() {
    run(Time::Paused, async {
        let leased = Leased::new(MemoryStore::default(), 2);
        let session = leased.session();
        let mut trips = 0;
        for _ in 0..100_000 {
            let (passes, asked) = hit(&session, 1_000_000, START).await.unwrap();
            assert!(passes);
            trips += u64::from(asked);
        }
        assert!(trips < 300, "{trips} of 100,000 went to the store");
    });
}

#[test]
fn three_processes_admit_exactly_the_limit_together() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let processes = [(); 3].map(|()| Leased::new(shared.clone(), 3));
        let sessions = processes.each_ref().map(Store::session);
        let mut passed = 0;
        for call in 0..3_000_usize {
            // The first is asked half of the time.
            let (admitted, _) = hit(&sessions[[0, 1, 0, 2][call % 4]], 1_000, START).await.unwrap();
            passed += u64::from(admitted);
        }
        let stranded: u64 = processes.iter().map(LeasedStore::unspent).sum();
        assert_eq!(passed + stranded, 1_000);
        assert!(stranded <= 3, "{stranded} hits are held by processes that could be spent by others");
    });
}

#[test]
fn what_was_not_spent_is_given_back_at_the_end() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let leased = Leased::new(shared.clone(), 1);
        let session = leased.session();
        for _ in 0..50 {
            assert!(hit(&session, 1_000, START).await.unwrap().0);
        }
        let unspent = leased.unspent();
        assert!(unspent > 0);
        assert_eq!(counted(&shared, START), 50 + unspent);
        leased.give_back(START, Instant::now()).await.unwrap();
        assert_eq!(counted(&shared, START), 50);
        assert_eq!(leased.unspent(), 0);
    });
}

#[test]
fn a_lease_ends_with_its_window_and_is_not_given_back_into_the_next_one() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let leased = Leased::new(shared.clone(), 1);
        let session = leased.session();
        for _ in 0..50 {
            hit(&session, 1_000, START).await.unwrap();
        }
        let next = START.plus(Duration::from_secs(3_600));
        assert_eq!(hit(&session, 1_000, next).await.unwrap(), (true, true), "the store is asked again");
        assert_eq!(counted(&shared, next), 1);
        leased.give_back(next, Instant::now()).await.unwrap();
        assert_eq!(counted(&shared, next), 1);
    });
}

#[test]
fn a_limit_that_was_lowered_holds_at_once() {
    run(Time::Paused, async {
        let leased = Leased::new(MemoryStore::default(), 1);
        let session = leased.session();
        for _ in 0..50 {
            hit(&session, 1_000, START).await.unwrap();
        }
        assert!(leased.unspent() > 0);
        for _ in 0..100 {
            assert!(!hit(&session, 40, START).await.unwrap().0);
        }
    });
}

#[test]
fn a_failure_strands_a_lease_at_most_and_frees_nobody() {
    run(Time::Paused, async {
        // Every second answer is lost after everything was counted.
        let failing = Failing::in_turn(&[None, Some(Fails::After)]);
        let leased = Leased::new(failing, 1);
        let session = leased.session();
        let mut passed = 0;
        for _ in 0..5_000 {
            passed += u64::from(hit(&session, 1_000, START).await.is_ok_and(|(passes, _)| passes));
        }
        assert!((1..=1_000).contains(&passed), "{passed}");
    });
}

#[test]
fn counters_that_come_once_are_no_leases_for_long_and_many_of_them_take_little() {
    run(Time::Paused, async {
        let leased = Leased::new(MemoryStore::default(), 1);
        let session = leased.session();
        let of_memory = |number: u64| number - leased.unspent();
        for number in 0..200_000 {
            apply(&session, Mode::Each, &[charge(number, 1_000)], START).await;
        }
        let counters = of_memory(leased.statistics().counters) - 200_000;
        assert!((1..=70_000).contains(&counters), "{counters} leases");
        leased.sweep(START).for_each(drop);
        assert_eq!(leased.statistics().counters, 200_000, "of none anything was left");
    });
}

#[test]
fn what_is_given_back_at_the_end_waits_for_a_store_that_is_not_there_at_once() {
    run(Time::Paused, async {
        // It fails four times more before it answers.
        const FAILS: Option<Fails> = Some(Fails::Before);
        let turns = &[None, None, None, None, None, None, None, None, None, None, FAILS, FAILS, FAILS, FAILS];
        let leased = Leased::new(Failing::in_turn(turns), 1);
        let session = leased.session();
        let mut trips = 0;
        while trips < 10 {
            trips += usize::from(hit(&session, 100_000, START).await.unwrap().1);
        }
        assert!(leased.unspent() > 0);
        let now = Instant::now();
        leased.give_back(START, now + Duration::from_secs(1)).await.unwrap();
        assert_eq!(leased.unspent(), 0);
        // Too late to be sure of the window.
        assert!(hit(&session, 100_000, START).await.is_ok());
    });
}

#[test]
fn hits_ahead_of_a_limit_in_shadow_mode_are_not_lost_when_it_would_refuse() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let leased = Leased::new(shared.clone(), 1);
        let session = leased.session();
        let watched = |hits| {
            let limit = charge(1, 5);
            Charge { share: Share { hits, enforced: false, ..limit.share }, ..limit }
        };
        // Each after what is known of a refusal has been forgotten.
        for (after, hits, used) in [(0, 3, 3), (100, 3, 3), (200, 1, 4)] {
            let now = START.plus(Duration::from_millis(after));
            let told = apply(&session, Mode::Each, &[watched(Hits::charge(hits))], now).await;
            assert_eq!(told[0].unwrap().used, used, "{hits} more");
            assert_eq!(counted(&shared, now), used + leased.unspent(), "what is counted is spent or kept");
        }
    });
}

#[test]
fn what_the_store_refused_is_refused_here_for_a_moment() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let processes = [(); 2].map(|()| Leased::new(shared.clone(), 2));
        let [one, other] = processes.each_ref().map(Store::session);
        for _ in 0..40 {
            assert!(hit(&other, 1_000, START).await.unwrap().0);
        }
        let held = processes[1].unspent();
        assert!(held > 0);
        while hit(&one, 1_000, START).await.unwrap().0 {}
        let mut trips = 0;
        for millisecond in 0..1_000 {
            let now = START.plus(Duration::from_millis(millisecond));
            let (passes, asked) = hit(&one, 1_000, now).await.unwrap();
            assert!(!passes);
            trips += usize::from(asked);
        }
        assert!((5..=10).contains(&trips), "{trips} of 1,000 went to the store");
        // What others give back is found.
        let now = START.plus(Duration::from_secs(1));
        processes[1].give_back(now, Instant::now()).await.unwrap();
        let mut passed = 0;
        while hit(&one, 1_000, now.plus(Duration::from_millis(100))).await.unwrap().0 {
            passed += 1;
        }
        assert_eq!(passed, held);
    });
}

/// An answer tells how long its window lasts from when it was given, which is known to within the time that it took.
#[test]
fn what_is_left_of_a_window_is_not_spent_in_the_next_one_however_long_an_answer_takes() {
    run(Time::Paused, async {
        let store = Delayed::default();
        let leased = Leased::new(store.clone(), 1);
        let session = leased.session();
        let of = charge(1, 100);
        let of = [Charge {
            share: Share { algorithm: Algorithm::aligned(Duration::from_secs(1)), ..of.share },
            ..of
        }];
        for _ in 0..30 {
            apply(&session, Mode::Each, &of, START).await;
        }
        assert!(leased.unspent() > 0);
        // It is sent in the middle of the window, and counted in the next one.
        let half = Duration::from_millis(500);
        *store.by.lock() = half;
        let told = session.apply(Mode::Each, &of, START.plus(half), Instant::now() + half).await.unwrap();
        assert!(told[0].unwrap().admitted);
        *store.by.lock() = Duration::ZERO;
        let (next, mut passed) = (START.plus(Duration::from_secs(1)), 1);
        for _ in 0..200 {
            passed += u64::from(apply(&session, Mode::Each, &of, next).await[0].unwrap().admitted);
        }
        assert_eq!(passed, 100);
    });
}

/// A limit in the words of envoyproxy/ratelimit, which counts what it refuses.
fn plain(limit: u64, hits: u64) -> Charge {
    let of = charge(1, limit);
    Charge { share: Share { count_denied: true, hits: Hits::charge(hits), ..of.share }, ..of }
}

#[test]
fn a_limit_that_counts_what_it_refuses_is_leased_and_counts_that_with_the_next_question() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let leased = Leased::new(shared.clone(), 1);
        let session = leased.session();
        let (mut trips, mut passed, mut used) = (0, 0, 0);
        for _ in 0..1_500 {
            let known = session.apply_now(Mode::Each, &[plain(1_000, 1)], START);
            trips += usize::from(known.is_none());
            let told = match known {
                Some(known) => known,
                None => apply(&session, Mode::Each, &[plain(1_000, 1)], START).await,
            };
            passed += u64::from(told[0].unwrap().admitted);
            used = told[0].unwrap().used;
        }
        assert_eq!((passed, used), (1_000, 1_500), "500 more are refused, and told as counted");
        assert!(trips < 100, "{trips} of 1,500 went to the store");
        let later = START.plus(Duration::from_millis(100));
        let told = apply(&session, Mode::Each, &[plain(1_000, 1)], later).await[0].unwrap();
        assert_eq!((told.used, told.attempted), (1_501, 1_501));
        assert_eq!(counted(&shared, later), 1_501);
    });
}

#[test]
fn of_a_limit_that_survives_a_crash_no_more_is_taken_ahead_than_is_lost_on_a_disk() {
    run(Time::Paused, async {
        for (durability, limit, most) in [
            (Durability::Reserve, 1_000_000, 64),
            (Durability::Reserve, 20_000, 20),
            (Durability::Reserve, 100, 1),
            (Durability::Exact, 1_000_000, 0),
        ] {
            let leased = Leased::new(MemoryStore::default(), 1);
            let session = leased.session();
            let mut held = 0;
            for _ in 0..2_000 {
                let of = Charge { durability, ..charge(1, limit) };
                apply(&session, Mode::Each, &[of], START).await;
                held = held.max(leased.unspent());
            }
            // One is spent before half of them are, and more are taken then.
            assert!(held >= most / 2 && held <= most + most / 2, "{held} of {limit}, {durability:?}");
        }
    });
}

#[test]
fn what_others_were_refused_takes_no_lease_away() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let processes = [(); 2].map(|()| Leased::new(shared.clone(), 2));
        let [one, other] = processes.each_ref().map(Store::session);
        for _ in 0..40 {
            assert!(apply(&one, Mode::Each, &[plain(1_000, 1)], START).await[0].unwrap().admitted);
        }
        let held = processes[0].unspent();
        assert!(held > 0);
        let mut passed = 40;
        for call in 0..2_000 {
            // It asks the store about what it refuses once in a while.
            let now = START.plus(Duration::from_millis(call));
            passed +=
                u64::from(apply(&other, Mode::Each, &[plain(1_000, 1)], now).await[0].unwrap().admitted);
        }
        assert_eq!(passed + held, 1_000);
        assert!(counted(&shared, START) > 1_000, "what was refused is counted");
        for _ in 0..held {
            assert!(apply(&one, Mode::Each, &[plain(1_000, 1)], START).await[0].unwrap().admitted);
        }
        assert!(!apply(&one, Mode::Each, &[plain(1_000, 1)], START).await[0].unwrap().admitted);
    });
}

#[test]
fn what_was_refused_is_counted_before_anybody_looks_and_at_the_end() {
    run(Time::Paused, async {
        for ends in [false, true] {
            let shared = MemoryStore::default();
            let leased = Leased::new(shared.clone(), 1);
            let session = leased.session();
            for _ in 0..20 {
                apply(&session, Mode::Each, &[plain(10, 1)], START).await;
            }
            assert!(counted(&shared, START) < 20);
            if ends {
                leased.give_back(START, Instant::now()).await.unwrap();
            } else {
                let look = Charge { share: Share { hits: Hits::Look, ..plain(10, 1).share }, ..plain(10, 1) };
                assert_eq!(apply(&session, Mode::Each, &[look], START).await[0].unwrap().used, 20);
            }
            assert_eq!(counted(&shared, START), 20);
        }
    });
}

#[test]
fn a_limit_that_counts_what_it_refuses_and_was_lowered_holds_at_once() {
    run(Time::Paused, async {
        let leased = Leased::new(MemoryStore::default(), 1);
        let session = leased.session();
        for _ in 0..50 {
            apply(&session, Mode::Each, &[plain(1_000, 1)], START).await;
        }
        assert!(leased.unspent() > 0);
        for _ in 0..100 {
            assert!(!apply(&session, Mode::Each, &[plain(40, 1)], START).await[0].unwrap().admitted);
        }
    });
}

#[test]
fn what_is_refused_here_keeps_other_counters_as_they_are() {
    run(Time::Paused, async {
        for mode in [Mode::Each, Mode::AllOrNothing, Mode::InOrder] {
            let (leased, mut plain) = (Leased::new(MemoryStore::default(), 1), Plain::default());
            let session = leased.session();
            let stage = |of: Charge, stage: u32| Charge { share: Share { stage, ..of.share }, ..of };
            let both = [stage(charge(1, 5), 0), stage(charge(2, 1_000), 1)];
            for _ in 0..20 {
                let free = [charge(2, 1_000)];
                for charges in [&both[..], &free[..]] {
                    let expected = plain.apply(mode, charges, START);
                    assert_eq!(apply(&session, mode, charges, START).await, expected, "{mode:?}");
                }
            }
            assert!(session.apply_now(mode, &both, START).is_some(), "{mode:?}: nothing is known");
        }
    });
}

#[test]
fn given_up_while_it_asks_for_more_all_or_nothing_is_charged_and_nothing_is_lost() {
    run(Time::Paused, async {
        for polls in 0..12 {
            // The one has a lease, and another process takes all that is left but for one hit.
            let shared = MemoryStore::default();
            let leased = Leased::new(Yielding(shared.clone()), 1);
            let session = leased.session();
            for _ in 0..6 {
                assert!(hit(&session, 100, START).await.unwrap().0);
            }
            while leased.unspent() > 0 {
                let _ = session.apply_now(Mode::Each, &[charge(1, 100)], START);
                if session.apply_now(Mode::Each, &[charge(1, 100)], START).is_none() {
                    break;
                }
            }
            let spent = counted(&shared, START) - leased.unspent();
            let rest = 99 - counted(&shared, START);
            let of = charge(1, 100);
            let taken = Charge { share: Share { hits: Hits::charge(rest), ..of.share }, ..of };
            shared.apply_now(Mode::Each, &[taken], START);

            let hits = leased.unspent() + 1;
            let first = Charge { share: Share { hits: Hits::charge(hits), ..of.share }, ..of };
            let second = Charge { share: Share { stage: 1, ..charge(2, 5).share }, ..charge(2, 5) };
            let before = leased.unspent();
            let deadline = Instant::now() + Duration::from_secs(1);
            let both = [first, second];
            let mut asked = Box::pin(session.apply(Mode::Each, &both, START, deadline));
            let mut answer = None;
            for _ in 0..polls {
                answer = futures_util::FutureExt::now_or_never(&mut asked);
                if answer.is_some() {
                    break;
                }
            }
            drop(asked);
            let look = Share { hits: Hits::Look, stage: 0, ..second.share };
            let look = Charge { share: look, ..second };
            let of_second = shared.apply_now(Mode::Each, &[look], START).unwrap()[0].unwrap().used;
            let of_first = counted(&shared, START) - spent - rest - before;
            assert_eq!(of_first, of_second, "given up after {polls} polls");
            if answer.is_none() {
                assert_eq!(leased.unspent(), before, "what the lease had is there again");
            }
        }
    });
}

/// Requests of one to three counters whose windows are fixed, each so many milliseconds after the one before.
fn history() -> impl Strategy<Value = Vec<(u64, Mode, Vec<Charge>)>> {
    any::<[bool; 3]>().prop_flat_map(history_of)
}

/// One of counters of which some count what they refuse.
fn history_of(refusals_count: [bool; 3]) -> impl Strategy<Value = Vec<(u64, Mode, Vec<Charge>)>> {
    let modes = prop_oneof![Just(Mode::Each), Just(Mode::AllOrNothing), Just(Mode::InOrder)];
    let asked = (0..3_u32, 1..4_u64, prop::bool::weighted(0.9));
    let charges = prop::collection::btree_map(0..3_u64, asked, 1..4);
    let charges = charges.prop_map(move |of| {
        let mut charges: Vec<_> = of
            .into_iter()
            .map(|(number, (stage, hits, enforced))| {
                let count_denied = (0..).zip(refusals_count).any(|(of, counts)| counts && of == number);
                let window = Duration::from_secs(5 + number);
                let algorithm =
                    if number == 1 { Algorithm::anchored(window) } else { Algorithm::aligned(window) };
                let of = charge(number, 20 + 10 * number);
                Charge {
                    share: Share {
                        algorithm,
                        stage,
                        enforced,
                        count_denied,
                        hits: Hits::charge(hits),
                        ..of.share
                    },
                    ..of
                }
            })
            .collect();
        charges.sort_by_key(|charge| charge.share.stage);
        charges
    });
    prop::collection::vec((0..500_u64, modes, charges), 1..60)
}

proptest! {
    /// To a process that is alone, leases make no difference.
    #[test]
    fn the_answers_of_one_process_are_exact(history in history()) {
        run(Time::Paused, async {
            let (leased, mut plain, mut now) = (Leased::new(MemoryStore::default(), 1), Plain::default(), START);
            let session = leased.session();
            for (later, mode, charges) in history {
                now = now.plus(Duration::from_millis(later));
                let expected = plain.apply(mode, &charges, now);
                prop_assert_eq!(apply(&session, mode, &charges, now).await, expected);
            }
            Ok(())
        })?;
    }

    /// Nobody can be told by the sum of what passed that there is more than one process.
    #[test]
    fn several_processes_never_admit_more_than_the_limit(history in history(), turns in prop::collection::vec(0..3_usize, 60)) {
        run(Time::Paused, async {
            let shared = MemoryStore::default();
            let processes = [(); 3].map(|()| Leased::new(shared.clone(), 3));
            let sessions = processes.each_ref().map(Store::session);
            let (mut passed, mut now) = (HashMap::<_, u64>::new(), START);
            for ((later, mode, charges), turn) in history.into_iter().zip(turns) {
                now = now.plus(Duration::from_millis(later));
                let charges: Vec<_> = charges
                    .into_iter()
                    .map(|of| Charge { share: Share { enforced: true, ..of.share }, ..of })
                    .collect();
                let outcomes = apply(&sessions[turn], mode, &charges, now).await;
                for (at, of) in charges.iter().enumerate() {
                    let in_stage = |other: &Charge| mode == Mode::AllOrNothing || other.share.stage == of.share.stage;
                    let admits = charges.iter().zip(&outcomes).filter(|(other, _)| in_stage(other)).all(|(_, outcome)| outcome.is_some_and(|outcome| outcome.admitted));
                    if admits && let Some(told) = outcomes[at] {
                        // The window, by when it ends.
                        let window = (of.key.low, now.plus(told.reset_after));
                        *passed.entry(window).or_default() += of.share.hits.cost();
                    }
                }
            }
            for ((number, _), passed) in passed {
                prop_assert!(passed <= 20 + 10 * number, "{} of the counter {}", passed, number);
            }
            Ok(())
        })?;
    }
}

/// The server stands still while a lease is given back, and comes to that after nobody waits any more. What it did not count as given back
/// is spent here.
#[test]
fn a_lease_that_was_not_given_back_in_time_is_kept() {
    const LIMIT: u64 = 2_000;
    let server = Valkey::start(&[]);
    run(Time::Real, async {
        let leased = Leased::new(RedisStore::open(&format!("{}?timeout=1000ms", server.url())).unwrap(), 1);
        let session = leased.session();
        let now = || Timestamp::from_nanos(u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap());
        let hits = async |hits| {
            let of = charge(1, LIMIT);
            let algorithm = Algorithm::anchored(Duration::from_secs(3_600));
            let asked = [Charge { share: Share { algorithm, hits, ..of.share }, ..of }];
            if let Some(outcomes) = session.apply_now(Mode::Each, &asked, now()) {
                return Ok(outcomes[0].unwrap());
            }
            let deadline = Instant::now() + PATIENCE;
            Ok(session.apply(Mode::Each, &asked, now(), deadline).await?[0].unwrap())
        };
        let mut passed = 0;
        while leased.unspent() < 100 {
            passed += u64::from(hits(Hits::ONE).await.is_ok_and(|told: Outcome| told.admitted));
        }
        server.signal("STOP");
        let unspent = leased.unspent();
        let error = hits(Hits::Look).await.unwrap_err();
        assert!(matches!(error, StoreError::TimedOut { .. }), "{error}");
        server.signal("CONT");
        let begun = Instant::now();
        while leased.unspent() != unspent {
            assert!(begun.elapsed() < PATIENCE, "{} of {unspent} hits are kept", leased.unspent());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        loop {
            match hits(Hits::ONE).await {
                Ok(told) if told.admitted => passed += 1,
                Ok(_) => break,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        }
        assert_eq!(passed, LIMIT);
    });
}
