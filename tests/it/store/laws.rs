//! The laws of stores. Each makes stores of its own.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use spillway::algorithm::{ALGORITHMS, Algorithm, Charge, Durability, Mode, Outcomes, Share, Written};
use spillway::model::{CellKey, Hits, Outcome, Timestamp};
use spillway::store::{Answers, Session, Store, StoreError};
use tokio::time::{Instant, timeout_at};

use super::plain::Plain;

pub(super) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
/// How time goes on for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// By itself when everybody waits.
    Paused,
    /// As it does: the store is a server.
    Real,
    /// As it does, and counters of one request are at several servers: what was counted at some is given back a moment later.
    Apart,
}

impl Time {
    /// How long an answer is waited for: as Envoy waits, where a busy machine takes no time.
    fn within(self) -> Duration {
        match self {
            Self::Paused => Duration::from_millis(20),
            Self::Real | Self::Apart => Duration::from_secs(5),
        }
    }
}

/// A charge of one hit to the counter `number`.
pub(super) fn charge(number: u64, limit: u64) -> Charge {
    let share = Share {
        algorithm: Algorithm::aligned(Duration::from_secs(3_600)),
        limit,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell: 0,
    };
    let key = CellKey { high: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), low: number };
    Charge { key, durability: Durability::None, share }
}

/// Runs a law.
pub(super) fn run<T>(time: Time, law: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(time == Time::Paused);
    runtime.build().unwrap().block_on(law)
}

/// As a worker asks a store.
async fn ask<S: Session>(
    time: Time,
    session: &S,
    mode: Mode,
    charges: &[Charge],
    now: Timestamp,
) -> Result<Outcomes, StoreError> {
    if let Some(outcomes) = session.apply_now(mode, charges, now) {
        return Ok(outcomes);
    }
    assert_ne!(S::ANSWERS, Answers::Now, "it said that it never has to be waited for");
    let deadline = Instant::now() + time.within();
    match timeout_at(deadline, session.apply(mode, charges, now, deadline)).await {
        Ok(settled) => settled,
        Err(_) => Err(StoreError::TimedOut { after: time.within() }),
    }
}

/// What a counter's look says, however often the store has to be asked for it.
async fn look<S: Session>(time: Time, session: &S, charge: &Charge, now: Timestamp) -> Outcome {
    look_at(time, session, &[*charge], now).await[0].unwrap()
}

/// The counters of all of `charges` at one moment.
async fn look_at<S: Session>(time: Time, session: &S, charges: &[Charge], now: Timestamp) -> Outcomes {
    let look =
        |charge: &Charge| Charge { share: Share { hits: Hits::Look, stage: 0, ..charge.share }, ..*charge };
    let looks: Vec<Charge> = charges.iter().map(look).collect();
    for _ in 0..10 {
        if let Ok(outcomes) = ask(time, session, Mode::Each, &looks, now).await {
            return outcomes;
        }
    }
    panic!("a look failed ten times");
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Each), Just(Mode::AllOrNothing), Just(Mode::InOrder)]
}

/// One of six counters, each of which has an algorithm of its own.
fn any_charge() -> impl Strategy<Value = Charge> {
    let hits = prop_oneof![
        Just(Hits::Look),
        (1..4_u64).prop_map(Hits::charge),
        (1..3_u64).prop_map(|hits| Hits::Refund(hits.try_into().unwrap())),
    ];
    (0..6_u64, 0..3_u32, hits, any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.8)).prop_map(
        |(number, stage, hits, count_denied, settles, enforced)| {
            let window = Duration::from_secs(10);
            let periods = [Algorithm::aligned(window), Algorithm::period(START, START.plus(window * 3))];
            let written = Written { window, numbers: &[("burst", 3)] };
            let named = ALGORITHMS.iter().map(|row| (row.make)(&written));
            let algorithms: Vec<Algorithm> = periods.into_iter().chain(named).collect();
            let algorithm = algorithms[usize::try_from(number).unwrap() % algorithms.len()];
            let share =
                Share { algorithm, hits, count_denied, settles, enforced, stage, ..charge(0, 5).share };
            Charge { share, ..charge(number, 5) }
        },
    )
}

/// Requests, each so many milliseconds after the one before.
fn history() -> impl Strategy<Value = Vec<(u64, Mode, Vec<Charge>)>> {
    let charges = prop::collection::vec(any_charge(), 1..5).prop_map(|mut charges| {
        charges.sort_by_key(|charge| charge.share.stage);
        charges
    });
    prop::collection::vec((0..4_000_u64, mode(), charges), 1..25)
}

pub(super) fn its_answers_are_those_of_the_algorithms<S: Store>(time: Time, make: impl Fn() -> S) {
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&history(), |history| {
        run(time, async {
            let (store, mut plain, mut now) = (make(), Plain::default(), START);
            let session = store.session();
            for (later, mode, charges) in history {
                now = now.plus(Duration::from_millis(later));
                if let Ok(mut outcomes) = ask(time, &session, mode, &charges, now).await {
                    let expected = plain.apply(mode, &charges, now);
                    if time == Time::Apart {
                        round(&charges, &mut outcomes, &expected);
                    }
                    prop_assert_eq!(outcomes, expected);
                    continue;
                }
                // Whether it counted is not known: all of it, or nothing.
                let mut counted = plain.clone();
                counted.apply(mode, &charges, now);
                let (mut as_before, mut as_counted) = (true, true);
                for charge in &charges {
                    let seen = look(time, &session, charge, now).await;
                    let look = Charge { share: Share { hits: Hits::Look, ..charge.share }, ..*charge };
                    let of = |plain: &Plain| plain.clone().apply(Mode::Each, &[look], now)[0].unwrap();
                    as_before &= seen == of(&plain);
                    as_counted &= seen == of(&counted);
                }
                prop_assert!(as_before || as_counted, "some of the charges were made, and some not");
                if !as_before {
                    plain = counted;
                }
            }
            Ok(())
        })
    });
    checked.unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Where hits of a sliding window are given back after the answer, it says no more than by when the last of the others has left.
fn round(charges: &[Charge], found: &mut [Option<Outcome>], expected: &[Option<Outcome>]) {
    let refuses = |(charge, outcome): (&Charge, &Option<Outcome>)| {
        outcome.as_ref().is_some_and(|outcome| charge.share.refuses(outcome))
    };
    if !charges.iter().zip(expected).any(refuses) {
        return;
    }
    for (charge, (found, expected)) in charges.iter().zip(found.iter_mut().zip(expected)) {
        let (Some(found), Some(expected)) = (found, expected) else { continue };
        let slides = matches!(charge.share.algorithm, Algorithm::SlidingWindow(_));
        if slides && (expected.full_after..=expected.window).contains(&found.full_after) {
            found.full_after = expected.full_after;
        }
    }
}

pub(super) fn all_sessions_count_together<S: Store>(time: Time, make: impl Fn() -> S) {
    run(time, async {
        let store = make();
        let sessions: Vec<_> = (0..5).map(|_| store.session()).collect();
        let mut answered = 0;
        for session in &sessions {
            answered += u64::from(ask(time, session, Mode::Each, &[charge(1, 100)], START).await.is_ok());
        }
        let used = look(time, &sessions[0], &charge(1, 100), START).await.used;
        assert!((answered..=5).contains(&used), "{used} were counted, and {answered} answered");
        assert!(store.statistics().counters <= 1);
    });
}

pub(super) fn no_more_than_the_limit_passes_under_any_concurrency<S: Store>(
    time: Time,
    make: impl Fn() -> S,
) {
    const LIMIT: u64 = 40;
    for mode in [Mode::Each, Mode::AllOrNothing, Mode::InOrder] {
        let store = make();
        let admitted: u64 = std::thread::scope(|scope| {
            let of_thread = |thread: u64| {
                let store = &store;
                scope.spawn(move || {
                    run(time, async {
                        let session = store.session();
                        // Each asks for the counter that all share and for another one, in an order of its own.
                        let calls = (0..40).map(|call| {
                            let mut charges = [charge(7, LIMIT), charge(100 + (thread + call) % 3, 1_000)];
                            if call % 2 == 0 {
                                charges.reverse();
                            }
                            let session = &session;
                            async move { ask(time, session, mode, &charges, START).await }
                        });
                        let answers = futures_util::future::join_all(calls).await;
                        let passes = |outcomes: &Outcomes| outcomes.iter().flatten().all(|one| one.admitted);
                        answers.iter().flatten().filter(|outcomes| passes(outcomes)).count() as u64
                    })
                })
            };
            let threads: Vec<_> = (0..4).map(of_thread).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let used = run(time, async { look(time, &store.session(), &charge(7, LIMIT), START).await.used });
        assert!(admitted <= used && used <= LIMIT, "{mode:?}: {admitted} passed, {used} were counted");
        assert_eq!(used, LIMIT, "{mode:?}: 160 asked");
    }
}

pub(super) fn given_up_while_it_waits_all_or_nothing_was_charged<S: Store>(time: Time, make: impl Fn() -> S) {
    run(time, async {
        for polls in 0..8 {
            let store = make();
            let session = store.session();
            let three = [charge(1, 5), charge(2, 5), charge(3, 5)];
            if session.apply_now(Mode::AllOrNothing, &three, START).is_none() {
                let deadline = Instant::now() + time.within();
                let mut context = Context::from_waker(Waker::noop());
                let mut asked = pin!(session.apply(Mode::AllOrNothing, &three, START, deadline));
                for _ in 0..polls {
                    if asked.as_mut().poll(&mut context).is_ready() {
                        break;
                    }
                    match time {
                        Time::Paused => tokio::time::advance(Duration::from_millis(1)).await,
                        Time::Real | Time::Apart => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                }
            }
            let mut used = Vec::new();
            for _ in 0..if time == Time::Apart { 100 } else { 1 } {
                let found = look_at(time, &session, &three, START).await;
                used = found.iter().map(|outcome| outcome.unwrap().used).collect();
                if used == [0, 0, 0] || used == [1, 1, 1] {
                    break;
                }
                if time == Time::Apart {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            assert!(used == [0, 0, 0] || used == [1, 1, 1], "given up after {polls} polls: {used:?}");
        }
    });
}

pub(super) fn a_refused_request_leaves_no_trace<S: Store>(time: Time, make: impl Fn() -> S) {
    run(time, async {
        let session = make().session();
        while look(time, &session, &charge(1, 1), START).await.used == 0 {
            let _ = ask(time, &session, Mode::AllOrNothing, &[charge(1, 1)], START).await;
        }
        for _ in 0..10 {
            if let Ok(outcomes) =
                ask(time, &session, Mode::AllOrNothing, &[charge(1, 1), charge(2, 1)], START).await
            {
                let admitted: Vec<_> = outcomes.iter().flatten().map(|outcome| outcome.admitted).collect();
                assert_eq!(admitted, [false, true]);
            }
            let mut used = look(time, &session, &charge(2, 1), START).await.used;
            // The answer was there before it.
            for _ in 0..if time == Time::Apart { 100 } else { 0 } {
                if used == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                used = look(time, &session, &charge(2, 1), START).await.used;
            }
            assert_eq!(used, 0);
        }
    });
}

pub(super) fn an_error_leaves_all_charges_or_none<S: Store>(time: Time, make: impl Fn() -> S) {
    run(time, async {
        let store = make();
        let session = store.session();
        let mut counted: HashMap<u64, u64> = HashMap::new();
        for call in 0..60 {
            let numbers = [call % 4, 4 + call % 3, 7 + call % 2];
            let charges = numbers.map(|number| charge(number, 1_000));
            let answered = ask(time, &session, Mode::Each, &charges, START).await.is_ok();
            let mut more = Vec::new();
            for (number, charge) in numbers.iter().zip(&charges) {
                let used = look(time, &session, charge, START).await.used;
                more.push(used - counted.insert(*number, used).unwrap_or_default());
            }
            assert!(more == [1, 1, 1] || (!answered && more == [0, 0, 0]), "call {call}: {more:?}");
        }
    });
}

pub(super) fn what_is_swept_decides_nothing<S: Store>(time: Time, make: impl Fn() -> S) {
    run(time, async {
        let store = make();
        let session = store.session();
        let short = |number| {
            let algorithm = Algorithm::anchored(Duration::from_secs(10));
            let of = charge(number, 5);
            Charge { share: Share { algorithm, ..of.share }, ..of }
        };
        for (number, of) in [(1, short(1)), (2, charge(2, 5))] {
            while look(time, &session, &of, START).await.used == 0 {
                let _ = ask(time, &session, Mode::Each, &[of], START).await;
            }
            assert!(store.statistics().counters <= number);
        }
        store.sweep(START.plus(Duration::from_secs(9))).for_each(drop);
        assert_eq!(look(time, &session, &short(1), START).await.used, 1);
        let later = START.plus(Duration::from_secs(10));
        store.sweep(later).for_each(drop);
        assert_eq!(look(time, &session, &charge(2, 5), later).await.used, 1, "what counts is kept");
        assert_eq!(look(time, &session, &short(1), later).await.used, 0);
    });
}
