//! Charges that go together, and what a refusal leaves behind.

use std::time::Duration;

use proptest::prelude::*;

use super::{Mode, Share, settle};
use crate::algorithm::{Algorithm, Cell, Commit, Worth};
use crate::model::{Hits, Outcome, Timestamp};

mod plain;

fn charge(limit: u64, cell: usize) -> Share {
    Share {
        algorithm: Algorithm::anchored(Duration::from_secs(60)),
        limit,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell,
    }
}

/// Settles once, at the epoch, and writes each charge as `ok` or `over` with its use, and `-` where it was not reached.
#[track_caller]
fn check(mode: Mode, charges: &[Share], cells: &mut [Cell], reported: &str) {
    let answers: Vec<String> = settle(mode, charges, cells, Timestamp::EPOCH)
        .into_iter()
        .map(|out| match out {
            None => "-".into(),
            Some(Outcome { admitted, used, limit, .. }) => {
                format!("{} {used}/{limit}", if admitted { "ok" } else { "over" })
            }
        })
        .collect();
    assert_eq!(answers.join(", "), reported);
}

#[test]
fn each_goes_its_own_way() {
    let in_stage = |stage, charge| Share { stage, ..charge };
    let counting = Share { count_denied: true, ..charge(1, 2) };
    let charges = [in_stage(0, charge(1, 0)), in_stage(1, charge(2, 1)), in_stage(2, counting)];
    let cells = &mut vec![Cell::Empty; 3];
    check(Mode::Each, &charges, cells, "ok 1/1, ok 1/2, ok 1/1");
    check(Mode::Each, &charges, cells, "over 1/1, ok 2/2, over 2/1");
}

#[test]
fn each_stage_is_all_or_nothing_in_itself() {
    let charges = [charge(1, 0), charge(2, 1), Share { stage: 1, ..charge(9, 2) }];
    let cells = &mut vec![Cell::Empty; 3];
    check(Mode::Each, &charges, cells, "ok 1/1, ok 1/2, ok 1/9");
    check(Mode::Each, &charges, cells, "over 1/1, ok 1/2, ok 2/9");
}

#[test]
fn all_or_nothing_tells_unchanged_numbers_when_it_refuses() {
    let charges = [charge(3, 0), charge(1, 1)];
    let cells = &mut vec![Cell::Empty; 2];
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, ok 1/1");
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, over 1/1");
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, over 1/1");
}

#[test]
fn a_limit_that_counts_refusals_counts_only_its_own() {
    let counting = |limit, cell| Share { count_denied: true, ..charge(limit, cell) };
    let charges = [counting(3, 0), counting(1, 1), charge(1, 2)];
    let cells = &mut vec![Cell::Empty; 3];
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, ok 1/1, ok 1/1");
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, over 2/1, over 1/1");
}

#[test]
fn a_shadow_tells_and_refuses_nothing() {
    let charges = [charge(3, 0), Share { enforced: false, ..charge(1, 1) }];
    let cells = &mut vec![Cell::Empty; 2];
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, ok 1/1");
    check(Mode::AllOrNothing, &charges, cells, "ok 2/3, over 1/1");
    let counting = [charges[0], Share { count_denied: true, ..charges[1] }];
    check(Mode::AllOrNothing, &counting, cells, "ok 3/3, over 2/1");
    check(Mode::AllOrNothing, &counting, cells, "over 3/3, over 3/1");
}

#[test]
fn a_later_stage_is_reached_only_past_the_earlier() {
    let stage = |stage, charge| Share { stage, ..charge };
    let charges = [charge(3, 0), charge(2, 1), stage(1, charge(1, 2)), stage(2, charge(9, 3))];
    let cells = &mut vec![Cell::Empty; 4];
    check(Mode::InOrder, &charges, cells, "ok 1/3, ok 1/2, ok 1/1, ok 1/9");
    check(Mode::InOrder, &charges, cells, "ok 2/3, ok 2/2, over 1/1, -");
    check(Mode::InOrder, &charges, cells, "ok 2/3, over 2/2, -, -");
}

#[test]
fn two_charges_of_one_cell_are_counted_both_or_not_at_all() {
    let charges = [charge(3, 0), charge(3, 0)];
    let cells = &mut [Cell::Empty];
    check(Mode::AllOrNothing, &charges, cells, "ok 1/3, ok 2/3");
    check(Mode::AllOrNothing, &charges, cells, "ok 2/3, over 2/3");
    check(Mode::AllOrNothing, &charges[..1], cells, "ok 3/3");
}

#[test]
fn two_charges_that_never_fit_together_have_no_time_to_retry() {
    let window = Duration::from_secs(60);
    for algorithm in
        [Algorithm::anchored(window), Algorithm::sliding_window(window), Algorithm::token_bucket(window, 3)]
    {
        for (cost, retries) in [(1, true), (2, false)] {
            let charges = [Share { algorithm, hits: Hits::charge(cost), ..charge(3, 0) }; 2];
            let mut cells = [Cell::Empty];
            algorithm.step(3, &mut cells[0], Hits::charge(2), Commit::Always, Timestamp::EPOCH);
            let out = settle(Mode::AllOrNothing, &charges, &mut cells, Timestamp::EPOCH)[1].unwrap();
            assert!(!out.admitted);
            assert_eq!(out.retry_after.is_some(), retries, "{algorithm:?}");
            if let Some(wait) = out.retry_after {
                let later = Timestamp::EPOCH.plus(wait);
                let outs = settle(Mode::AllOrNothing, &charges, &mut cells, later);
                assert!(outs.into_iter().all(|out| out.unwrap().admitted), "{algorithm:?}");
            }
        }
    }
}

#[test]
fn two_rates_of_one_bucket_report_a_time_at_which_both_pass_or_none() {
    let bucket = Algorithm::token_bucket(Duration::from_secs(60), 6);
    // Two hits take two minutes of a bucket that holds a minute and a half by the other rate.
    let slow = Share { algorithm: bucket, ..charge(1, 0) };
    let charges = [slow, slow, Share { limit: 4, ..slow }];
    let outcomes = settle(Mode::AllOrNothing, &charges, &mut [Cell::Empty], Timestamp::EPOCH);
    assert_eq!(outcomes[2].unwrap().retry_after, None);
}

#[test]
fn a_shadow_beside_what_passes_tells_its_own_reset() {
    let algorithm = Algorithm::sliding_window(Duration::from_secs(60));
    let passes = Share { algorithm, ..charge(9, 0) };
    let shadow = Share { algorithm, enforced: false, ..charge(1, 0) };
    let outcomes = settle(Mode::AllOrNothing, &[passes, shadow], &mut [Cell::Empty], Timestamp::EPOCH);
    let reported = outcomes[1].unwrap();
    assert_eq!((reported.admitted, reported.reset_after), (false, Duration::from_secs(60)));
}

#[test]
fn a_refund_is_given_back_where_the_limit_stays_exceeded() {
    let cells = &mut vec![Cell::Empty; 2];
    for cell in cells.iter_mut() {
        charge(9, 0).algorithm.step(9, cell, Hits::charge(9), Commit::Always, Timestamp::EPOCH);
    }
    let refund = |cell| Share { hits: Hits::refund(2), ..charge(3, cell) };
    check(Mode::AllOrNothing, &[refund(0), refund(1)], cells, "ok 7/3, ok 7/3");
    // But not together with a charge that is refused.
    check(Mode::AllOrNothing, &[refund(0), charge(3, 1)], cells, "ok 7/3, over 7/3");
}

#[test]
fn nothing_to_charge_is_nothing_to_tell() {
    for mode in [Mode::Each, Mode::AllOrNothing, Mode::InOrder] {
        check(mode, &[], &mut [], "");
    }
}

/// The limits of a request's cells: charges that share a cell share its algorithm and its limit.
fn any_limits() -> impl Strategy<Value = Vec<(Algorithm, u64)>> {
    let algorithm = (1_u64..20, 0_u64..4, 0_usize..4).prop_map(|(window, burst, kind)| {
        let window = Duration::from_nanos(window);
        [
            Algorithm::aligned(window),
            Algorithm::anchored(window),
            Algorithm::sliding_window(window),
            Algorithm::token_bucket(window, burst),
        ][kind]
    });
    prop::collection::vec((algorithm, 0_u64..5), 4)
}

type Ask = (usize, u64, bool, bool, u32);

/// `(cell, cost, count_denied, enforced, stage)` of each charge.
fn any_asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = (0_usize..4, 0_u64..4, any::<bool>(), prop::bool::weighted(0.8), 0_u32..3);
    prop::collection::vec(ask, 1..9).prop_map(|mut asks| {
        asks.sort_by_key(|ask| ask.4);
        asks
    })
}

fn charges(limits: &[(Algorithm, u64)], asks: &[Ask]) -> Vec<Share> {
    asks.iter()
        .map(|&(cell, cost, count_denied, enforced, stage)| {
            let (algorithm, limit) = limits[cell];
            Share {
                algorithm,
                limit,
                hits: Hits::charge(cost),
                count_denied,
                settles: false,
                enforced,
                stage,
                cell,
            }
        })
        .collect()
}

fn used(limits: &[(Algorithm, u64)], cells: &[Cell], now: Timestamp) -> Vec<u64> {
    let tell = |((algorithm, limit), cell): (&(Algorithm, u64), &Cell)| {
        algorithm.step(*limit, &mut cell.clone(), Hits::Look, Commit::Never, now).used
    };
    limits.iter().zip(cells).map(tell).collect()
}

/// Outcomes without the times to wait for.
fn timeless(outcomes: &[Option<Outcome>]) -> Vec<Option<Outcome>> {
    let timeless = |outcome: Outcome| Outcome { retry_after: None, reset_after: Duration::ZERO, ..outcome };
    outcomes.iter().map(|outcome| outcome.map(timeless)).collect()
}

/// What a cell has counted, whatever it is worth.
fn counted(cell: &Cell) -> Cell {
    let mut cell = cell.clone();
    cell.set_worth(Worth::NOTHING);
    cell
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn all_or_nothing_counts_everything_or_nothing(
        limits in any_limits(),
        requests in prop::collection::vec((0_u64..8, any_asks()), 1..30),
    ) {
        let mut cells = vec![Cell::Empty; limits.len()];
        let mut now = 0;
        for (later, asks) in requests {
            now += later;
            let charges = charges(&limits, &asks);
            let before = cells.clone();
            let outs = settle(Mode::AllOrNothing, &charges, &mut cells, Timestamp::from_nanos(now));
            let outs: Vec<Outcome> = outs.into_iter().map(Option::unwrap).collect();
            let refused = charges.iter().zip(&outs).any(|(charge, out)| charge.enforced && !out.admitted);

            for (cell, (kept, now_is)) in before.iter().zip(&cells).enumerate() {
                let mine = || charges.iter().zip(&outs).filter(|(charge, _)| charge.cell == cell);
                if refused && !mine().any(|(charge, out)| charge.count_denied && !out.admitted) {
                    prop_assert_eq!(counted(kept), counted(now_is), "a refused request changed a cell");
                }
                // All that was admitted is counted, unless the request was refused.
                let counts = |(charge, out): &(&Share, &Outcome)| {
                    if out.admitted { !refused } else { charge.count_denied }
                };
                let at = Timestamp::from_nanos(now);
                let mut by_hand = kept.clone();
                for (charge, _) in mine().filter(counts) {
                    charge.algorithm.step(charge.limit, &mut by_hand, charge.hits, Commit::Always, at);
                }
                prop_assert_eq!(counted(&by_hand), counted(now_is));
            }
            if refused {
                let at = Timestamp::from_nanos(now);
                for (charge, out) in charges.iter().zip(&outs).filter(|(_, out)| out.admitted) {
                    let sole = charges.iter().filter(|other| other.cell == charge.cell).count() == 1;
                    prop_assert!(!sole || out.used == used(&limits, &before, at)[charge.cell]);
                }
            }
        }
    }

    #[test]
    fn all_or_nothing_is_the_and_of_what_each_would_say(
        limits in any_limits(),
        requests in prop::collection::vec((0_u64..8, any_asks()), 1..30),
    ) {
        let mut cells = vec![Cell::Empty; limits.len()];
        let mut now = 0;
        for (later, asks) in requests {
            now += later;
            let at = Timestamp::from_nanos(now);
            let charges = charges(&limits, &asks);
            // What shares a cell is asked for together.
            let alone = charges.iter().enumerate().all(|(n, charge)| {
                let before: u64 = charges[..n].iter().filter(|other| other.cell == charge.cell).map(|other| other.hits.cost()).sum();
                let hits = Hits::charge(before + charge.hits.cost());
                !charge.enforced || charge.algorithm.step(charge.limit, &mut cells[charge.cell].clone(), hits, Commit::Never, at).admitted
            });
            let outs = settle(Mode::AllOrNothing, &charges, &mut cells, at);
            let together = charges.iter().zip(&outs).all(|(charge, out)| !charge.enforced || out.unwrap().admitted);
            let shadows = charges.iter().any(|charge| !charge.enforced);
            prop_assert!(alone == together || (shadows && together));
        }
    }

    #[test]
    fn stages_are_all_or_nothing_one_after_the_other(
        limits in any_limits(),
        requests in prop::collection::vec((0_u64..8, any_asks()), 1..30),
    ) {
        let mut cells = vec![Cell::Empty; limits.len()];
        let mut by_hand = cells.clone();
        let mut now = 0;
        for (later, asks) in requests {
            now += later;
            let at = Timestamp::from_nanos(now);
            let charges = charges(&limits, &asks);
            let outs = settle(Mode::InOrder, &charges, &mut cells, at);

            let mut expected = Vec::new();
            for stage in 0..3 {
                let stage: Vec<Share> = charges.iter().filter(|charge| charge.stage == stage).copied().collect();
                let reported = settle(Mode::AllOrNothing, &stage, &mut by_hand, at);
                let refused = stage.iter().zip(&reported).any(|(charge, out)| charge.enforced && !out.unwrap().admitted);
                expected.extend(reported);
                if refused { break }
            }
            expected.resize(charges.len(), None);
            // How long all stages wait for what they share, none of them can know.
            prop_assert_eq!(timeless(&outs), timeless(&expected));
            prop_assert_eq!(&cells, &by_hand);
        }
    }

    #[test]
    fn it_says_what_the_plain_form_says(
        limits in any_limits(),
        mode in prop::sample::select(&[Mode::Each, Mode::AllOrNothing, Mode::InOrder][..]),
        requests in prop::collection::vec((0_u64..8, any_asks(), any::<u32>()), 1..30),
    ) {
        let mut cells = vec![Cell::Empty; limits.len()];
        let mut plainly = cells.clone();
        let mut now = 0;
        for (later, asks, refunds) in requests {
            now += later;
            let at = Timestamp::from_nanos(now);
            let mut charges = charges(&limits, &asks);
            for (n, charge) in charges.iter_mut().enumerate().filter(|(n, _)| (refunds >> n).trailing_zeros() >= 3) {
                charge.hits = Hits::refund(n as u64 + 1);
            }
            let reported = settle(mode, &charges, &mut cells, at);
            prop_assert_eq!(reported.to_vec(), plain::settle(mode, &charges, &mut plainly, at));
            let counts = |cells: &[Cell]| cells.iter().map(counted).collect::<Vec<_>>();
            prop_assert_eq!(counts(&cells), counts(&plainly));
        }
    }

    #[test]
    fn each_is_the_same_as_one_after_the_other(limits in any_limits(), asks in any_asks(), times in 1_u64..9) {
        let mut cells = vec![Cell::Empty; limits.len()];
        let mut by_hand = cells.clone();
        let mut charges = charges(&limits, &asks);
        for (stage, charge) in (0..).zip(&mut charges) {
            charge.stage = stage;
        }
        for now in (0..times).map(Timestamp::from_nanos) {
            let outs = settle(Mode::Each, &charges, &mut cells, now);
            for (charge, out) in charges.iter().zip(outs) {
                let commit = if charge.count_denied { Commit::Always } else { Commit::IfAdmitted };
                let cell = &mut by_hand[charge.cell];
                let alone = charge.algorithm.step(charge.limit, cell, charge.hits, commit, now);
                prop_assert_eq!(timeless(&[Some(alone)]), timeless(&[out]));
            }
        }
        prop_assert_eq!(cells, by_hand);
    }
}
