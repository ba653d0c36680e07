//! Clocks that jump, by any distance and in either direction, and then go right.

use std::time::Duration;

use proptest::prelude::*;

use super::{Kind, any_commit, any_kind, samples};
use crate::algorithm::{Cell, Commit, tolerance};
use crate::model::{Hits, Timestamp};

const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 365 * 86_400 * SECOND;
const NOW: u64 = 50 * YEAR;

/// Where the clock may have been, in nanoseconds before or after what it shows in the end.
fn any_error() -> impl Strategy<Value = i64> {
    let year = i64::try_from(YEAR).unwrap();
    let second = i64::try_from(SECOND).unwrap();
    prop_oneof![
        -5_i64..5,
        -second..second,
        -90 * second..90 * second,
        -86_400 * second..86_400 * second,
        -49 * year..49 * year,
    ]
}

/// From a second to a month.
fn any_window() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(SECOND),
        Just(60 * SECOND),
        Just(3_600 * SECOND),
        Just(86_400 * SECOND),
        Just(30 * 86_400 * SECOND)
    ]
}

fn any_limit() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..7, 1_024_u64..1_027]
}

type Past = Vec<(i64, u64, Commit)>;

/// What was counted before, by clocks that were wrong by so much.
fn any_past(most: u64) -> impl Strategy<Value = Past> {
    prop::collection::vec((any_error(), 1..=most, any_commit()), 0..12)
}

fn at_error(error: i64) -> Timestamp {
    Timestamp::from_nanos(NOW.checked_add_signed(error).unwrap())
}

/// The cell after all of that.
fn after(kind: Kind, limit: u64, window: u64, past: &Past) -> Cell {
    let mut cell = Cell::Empty;
    for &(error, hits, commit) in past {
        let now = at_error(error);
        let hits = Hits::charge(hits);
        kind.algorithm(window, now.as_nanos()).step(limit, &mut cell, hits, commit, now);
    }
    cell
}

fn kinds() -> impl Strategy<Value = Kind> {
    // A bucket that holds nothing lets nobody pass, whatever the clock does.
    any_kind().prop_map(|kind| Kind { n: kind.n.max(1), ..kind })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn who_waits_as_reported_passes_wherever_the_clock_has_been(
        (kind, limit, window) in (kinds(), any_limit(), any_window()),
        past in any_past(3),
        cost in 1_u64..3,
    ) {
        let mut cell = after(kind, limit, window, &past);
        let ask = |cell: &mut Cell, now: Timestamp| {
            kind.algorithm(window, now.as_nanos()).step(limit, cell, Hits::charge(cost), Commit::IfAdmitted, now)
        };
        let now = at_error(0);
        let reported = ask(&mut cell, now);
        if let Some(wait) = reported.retry_after {
            prop_assert!(ask(&mut cell, now.plus(wait)).admitted, "{reported:?}");
        }
    }

    #[test]
    fn nobody_is_locked_out_for_longer_than_a_window(
        (kind, limit, window) in (kinds(), any_limit(), any_window()),
        past in any_past(3),
    ) {
        let mut cell = after(kind, limit, window, &past);
        let ask = |cell: &mut Cell, now: Timestamp| {
            kind.algorithm(window, now.as_nanos()).step(limit, cell, Hits::ONE, Commit::IfAdmitted, now)
        };
        let length = Duration::from_nanos(window);
        // Sub-buckets keep a hit for a sixtieth of the window longer.
        let most = length + tolerance(length) + if limit > 1_024 { length / 60 } else { Duration::ZERO };
        let reported = ask(&mut cell, at_error(0));
        prop_assert!(reported.admitted || reported.retry_after.is_some_and(|wait| wait <= most), "{reported:?}");
        prop_assert!(reported.reset_after <= most, "{reported:?}");
        // A bucket that holds more than a window refills takes as many windows.
        let windows = u32::try_from(kind.holds(limit).div_ceil(limit)).unwrap().max(1);
        prop_assert!(reported.full_after <= most * windows, "{reported:?}");
        prop_assert!(ask(&mut cell, at_error(0).plus(most)).admitted);
    }

    #[test]
    fn a_cut_end_keeps_the_count(
        (kind, limit, window) in (kinds(), any_limit(), any_window()),
        ahead in any_error().prop_filter("later than a tolerance", |error| *error > 0),
    ) {
        let capacity = kind.holds(limit);
        let past = vec![(ahead, capacity, Commit::IfAdmitted)];
        let mut cell = after(kind, limit, window, &past);
        let now = at_error(0);
        let reported =
            kind.algorithm(window, now.as_nanos()).step(limit, &mut cell, Hits::ONE, Commit::IfAdmitted, now);
        prop_assert!(!reported.admitted, "{reported:?}");
        prop_assert_eq!(reported.used, capacity);
    }
}

#[test]
fn one_call_a_year_ahead_costs_at_most_one_window() {
    let window = 86_400 * SECOND;
    for kind in samples().into_iter().map(|sample| Kind { sample, n: 1 }) {
        let mut cell = after(kind, 1, window, &vec![(i64::try_from(YEAR).unwrap(), 1, Commit::IfAdmitted)]);
        let mut ask = |later: u64| {
            let now = Timestamp::from_nanos(NOW + later);
            kind.algorithm(window, now.as_nanos())
                .step(1, &mut cell, Hits::ONE, Commit::IfAdmitted, now)
                .admitted
        };
        assert!(!ask(0), "{kind:?}: the call is still counted");
        assert!(ask(window), "{kind:?}");
    }
}
