//! The script's answers are those of the algorithms, whatever happens: limits and windows that change between two requests,
//! clocks that step, charges of one counter that differ, numbers of any size.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Outcome, Timestamp};
use spillway::store::{Session, Store};
use tokio::time::Instant;

use super::super::plain::Plain;
use super::counting_by_the_caller;
use crate::support::valkey::Valkey;

const START: u64 = 1_800_000_000_000_000;

/// A charge in the making: a period's bounds depend on when it is asked for.
#[derive(Clone, Debug)]
struct Draft {
    counter: u64,
    kind: u8,
    window: Duration,
    burst: u64,
    share: Share,
}

impl Draft {
    fn at(&self, micros: u64, window: Duration) -> Charge {
        let algorithm = match self.kind {
            0 => Algorithm::aligned(window),
            1 => Algorithm::anchored(window),
            2 => {
                let length = u64::try_from(window.as_micros()).unwrap();
                let start = Timestamp::from_nanos((micros - micros % length) * 1_000);
                Algorithm::period(start, start.plus(window))
            }
            3 => Algorithm::sliding_window(window),
            _ => {
                // Deeper buckets are counted in microseconds, which are not these answers to the nanosecond.
                let per_hit = window.as_nanos().div_ceil(self.share.limit.max(1).into());
                let most = u64::try_from((1_u128 << 52) / per_hit).unwrap();
                Algorithm::token_bucket(window, self.burst.min(most))
            }
        };
        let key = CellKey { high: self.counter, low: 1 };
        Charge { key, durability: Durability::None, share: Share { algorithm, ..self.share } }
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..6_u64,
        1 => Just(1_000),
        1 => 1_020..1_030_u64,
        1 => 2_000..5_000_u64,
        1 => Just(1_000_000),
        1 => Just(1 << 49),
    ]
}

fn hits() -> impl Strategy<Value = Hits> {
    prop_oneof![
        1 => Just(Hits::Look),
        5 => (1..4_u64).prop_map(Hits::charge),
        2 => number().prop_map(Hits::charge),
        1 => (1..4_u64).prop_map(Hits::refund),
        1 => number().prop_map(Hits::refund),
    ]
}

/// Windows of whole microseconds, whose sixtieth parts are none in some.
fn window() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => Just(Duration::from_secs(10)),
        1 => Just(Duration::from_millis(1)),
        1 => Just(Duration::from_secs(7)),
        1 => Just(Duration::from_secs(60)),
        1 => Just(Duration::from_secs(3_600)),
        1 => Just(Duration::from_secs(30 * 86_400)),
        1 => Just(Duration::from_millis(3_600_000_001)),
        1 => Just(Duration::from_secs(365 * 86_400)),
    ]
}

/// Charges of a counter mostly agree on how it is counted, as those of a policy do, whose reloads change it.
fn draft() -> impl Strategy<Value = Draft> {
    let of = |counter: u64, window: Duration, limit: u64, hits: Hits, burst: u64| Draft {
        counter,
        kind: u8::try_from(counter % 5).unwrap(),
        window,
        burst,
        share: Share {
            algorithm: Algorithm::aligned(window),
            limit,
            hits,
            count_denied: false,
            settles: false,
            enforced: true,
            stage: 0,
            cell: 0,
        },
    };
    let of_policy = (0..10_u64, hits()).prop_map(move |(counter, hits)| {
        let limit = if counter < 5 { 4 } else { 2_000 };
        of(counter, Duration::from_secs(10), limit, hits, limit / 2 + 1)
    });
    let numbers = || (0..10_u64, window(), number(), hits(), number());
    let of_any = numbers()
        .prop_map(move |(counter, window, limit, hits, burst)| of(counter, window, limit, hits, burst));
    let of_another = (numbers(), 0..5_u8).prop_map(move |((counter, window, limit, hits, burst), kind)| {
        Draft { kind, ..of(counter, window, limit, hits, burst) }
    });
    let drafts = prop_oneof![12 => of_policy, 4 => of_any, 1 => of_another];
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.8), 0..3_u32);
    (drafts, flags).prop_map(|(mut draft, (count_denied, settles, enforced, stage))| {
        draft.share = Share { count_denied, settles, enforced, stage, ..draft.share };
        draft
    })
}

/// How the clock goes on, in microseconds.
fn step() -> BoxedStrategy<i64> {
    prop_oneof![
        2 => Just(0),
        6 => 0..4_000_000_i64,
        2 => 0..40_000_000_i64,
        1 => Just(10_000_000),
    ]
    .boxed()
}

fn step_or_back() -> BoxedStrategy<i64> {
    prop_oneof![10 => step(), 1 => -1_500_000..0_i64, 1 => -100_000_000..0_i64].boxed()
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Each), Just(Mode::AllOrNothing), Just(Mode::InOrder)]
}

fn history(
    step: BoxedStrategy<i64>,
    draft: BoxedStrategy<Draft>,
) -> impl Strategy<Value = Vec<(i64, Mode, Vec<Draft>)>> {
    let charges = prop::collection::vec(draft, 1..6).prop_map(|mut charges| {
        charges.sort_by_key(|charge| charge.share.stage);
        charges
    });
    prop::collection::vec((step, mode(), charges), 1..40)
}

/// Times are rounded up to the microsecond, and all else is the same.
#[track_caller]
fn is_as(found: Option<Outcome>, expected: Option<Outcome>) -> bool {
    let (Some(found), Some(expected)) = (found, expected) else {
        return found.is_none() && expected.is_none();
    };
    let rounded = |found: Duration, exact: Duration| {
        found.checked_sub(exact).is_some_and(|more| more < Duration::from_micros(1))
    };
    let waits = match (found.retry_after, expected.retry_after) {
        (Some(found), Some(exact)) => rounded(found, exact),
        (found, exact) => found == exact,
    };
    let times = |outcome: Outcome| Outcome {
        reset_after: Duration::ZERO,
        full_after: Duration::ZERO,
        retry_after: None,
        ..outcome
    };
    waits
        && rounded(found.reset_after, expected.reset_after)
        && rounded(found.full_after, expected.full_after)
        && times(found) == times(expected)
}

#[test]
fn random_histories_have_the_answers_of_the_algorithms() {
    check(step(), draft().boxed(), |window| window);
}

#[test]
fn and_so_have_those_that_only_have_hits_for_windows() {
    let draft = draft().prop_map(|draft| Draft {
        kind: draft.kind % 2,
        share: Share {
            hits: Hits::charge(draft.share.hits.cost().max(1)),
            limit: draft.share.limit.min(9),
            count_denied: false,
            settles: false,
            enforced: true,
            stage: draft.share.stage / 2,
            ..draft.share
        },
        ..draft
    });
    check(step_or_back(), draft.boxed(), |window| window);
}

/// Whether a stamp is by more than a second too late is asked in whole microseconds: the sixtieth parts of windows are whole here.
#[test]
fn and_so_have_those_whose_clock_steps_back() {
    let whole = |window: Duration| {
        let micros = u64::try_from(window.as_micros()).unwrap();
        Duration::from_micros(micros - micros % 60)
    };
    check(step_or_back(), draft().boxed(), whole);
}

/// Lua's stack has room for some thousand numbers, and scripts for more counters than that.
#[test]
fn a_request_of_thousands_of_counters_is_decided_as_one() {
    let server = Valkey::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (session, mut plain) = (counting_by_the_caller(&server).session(), Plain::default());
        let now = Timestamp::from_nanos(START * 1_000);
        for of in [Algorithm::aligned, Algorithm::sliding_window] {
            let one = |counter: u64| {
                let share = Share {
                    algorithm: of(Duration::from_secs(10)),
                    limit: 1 + counter / 3_500,
                    hits: Hits::ONE,
                    count_denied: false,
                    settles: false,
                    enforced: true,
                    stage: 0,
                    cell: 0,
                };
                Charge { key: CellKey { high: counter, low: 2 }, durability: Durability::None, share }
            };
            let all: Vec<Charge> = (0..3_501).map(one).collect();
            for _ in 0..2 {
                let deadline = Instant::now() + Duration::from_secs(5);
                let found = session.apply(Mode::AllOrNothing, &all, now, deadline).await.unwrap();
                let expected = plain.apply(Mode::AllOrNothing, &all, now);
                assert_eq!(found.len(), expected.len());
                assert!(found.into_iter().zip(expected).all(|(found, expected)| is_as(found, expected)));
            }
        }
    });
}

fn check(step: BoxedStrategy<i64>, draft: BoxedStrategy<Draft>, length: impl Fn(Duration) -> Duration) {
    let cases = if cfg!(debug_assertions) { 400 } else { 20_000 };
    let server = Valkey::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&history(step, draft), |history| {
        runtime.block_on(async {
            let (mut plain, mut micros) = (Plain::default(), START);
            let session = counting_by_the_caller(&server).session();
            for (at, (later, mode, drafts)) in history.into_iter().enumerate() {
                micros = micros.checked_add_signed(later).unwrap();
                let now = Timestamp::from_nanos(micros * 1_000);
                let charges: Vec<Charge> =
                    drafts.iter().map(|draft| draft.at(micros, length(draft.window))).collect();
                let deadline = Instant::now() + Duration::from_secs(5);
                let found = session.apply(mode, &charges, now, deadline).await.unwrap();
                let expected = plain.apply(mode, &charges, now);
                for (charge, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                    prop_assert!(
                        is_as(found, expected),
                        "request {at}, charge {charge}:\n{found:#?}\nand not\n{expected:#?}\n{:#?}",
                        charges[charge]
                    );
                }
            }
            Ok(())
        })
    });
    checked.unwrap_or_else(|wrong| panic!("{wrong}"));
}
