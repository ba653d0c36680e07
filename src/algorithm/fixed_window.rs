//! Fixed windows aligned to the Unix epoch in UTC, as envoyproxy/ratelimit counts.

use std::time::Duration;

use super::{Algorithm, Allowance, Cell};
use crate::model::{Hits, Outcome, Timestamp};

/// At most `limit` hits between two multiples of the window's length since the Unix epoch.
///
/// A refused request is charged in full: `used` goes on rising past the limit until the window ends. Any interval as
/// long as the window may see up to twice the limit, around a boundary. When the clock steps back into an earlier
/// window, the later window goes on being charged, so a step back never grants anything.
#[derive(Clone, Copy, Debug)]
pub struct FixedWindow;

impl Algorithm for FixedWindow {
    fn step(&self, allowance: &Allowance, cell: &mut Cell, hits: Hits, now: Timestamp) -> Outcome {
        let (end, used) = match *cell {
            Cell::Window { end, used } if now < end => (end, used),
            _ => (window_end(allowance.window, now), 0),
        };
        let used = hits.applied_to(used);
        *cell = Cell::Window { end, used };

        let admitted = used <= allowance.limit;
        let until_end = end.since(now);
        Outcome {
            admitted,
            limit: allowance.limit,
            used,
            remaining: allowance.limit.saturating_sub(used),
            reset_after: until_end,
            retry_after: (!admitted && hits.cost() <= allowance.limit).then_some(until_end),
        }
    }
}

/// The end of the window that `now` lies in: the next multiple of `window` since the epoch, strictly after `now`.
fn window_end(window: Duration, now: Timestamp) -> Timestamp {
    let window_nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
    let into_window = now.as_nanos() % window_nanos;
    Timestamp::from_nanos(now.as_nanos() - into_window).plus(window)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Unit;

    const THREE_A_MINUTE: Allowance = Allowance { limit: 3, window: Duration::from_secs(60) };

    /// Plays `(second, hits)` against three a minute and tells each answer in words.
    fn check(script: &[(u64, Hits)], told: &[&str]) {
        let mut cell = Cell::default();
        let answers: Vec<String> = script
            .iter()
            .map(|&(at, hits)| {
                let out = FixedWindow.step(&THREE_A_MINUTE, &mut cell, hits, Timestamp::from_secs(at));
                let word = if out.admitted { "ok" } else { "over" };
                format!("{at}s {word}, {} left, resets in {}s", out.remaining, out.reset_after.as_secs())
            })
            .collect();
        assert_eq!(answers, told);
    }

    #[test]
    fn refuses_the_fourth_hit_and_forgives_at_the_boundary() {
        check(
            &[60, 61, 119, 119, 120].map(|at| (at, Hits::ONE)),
            &[
                "60s ok, 2 left, resets in 60s",
                "61s ok, 1 left, resets in 59s",
                "119s ok, 0 left, resets in 1s",
                "119s over, 0 left, resets in 1s",
                "120s ok, 2 left, resets in 60s",
            ],
        );
    }

    #[test]
    fn a_refused_hit_is_charged_and_a_refund_gives_it_back() {
        check(
            &[
                (0, Hits::charge(3)),
                (1, Hits::ONE),
                (2, Hits::refund(1)),
                (3, Hits::Look),
                (4, Hits::refund(99)),
                (5, Hits::Look),
            ],
            &[
                "0s ok, 0 left, resets in 60s",
                "1s over, 0 left, resets in 59s",
                "2s ok, 0 left, resets in 58s",
                "3s ok, 0 left, resets in 57s",
                "4s ok, 3 left, resets in 56s",
                "5s ok, 3 left, resets in 55s",
            ],
        );
    }

    #[test]
    fn a_clock_that_steps_back_grants_nothing() {
        check(
            &[(120, Hits::charge(3)), (119, Hits::ONE), (179, Hits::ONE), (180, Hits::ONE)],
            &[
                "120s ok, 0 left, resets in 60s",
                "119s over, 0 left, resets in 61s",
                "179s over, 0 left, resets in 1s",
                "180s ok, 2 left, resets in 60s",
            ],
        );
    }

    #[test]
    fn what_can_never_pass_has_no_time_to_retry() {
        let mut cell = Cell::default();
        let out = FixedWindow.step(&THREE_A_MINUTE, &mut cell, Hits::charge(4), Timestamp::EPOCH);
        assert!(!out.admitted);
        assert_eq!(out.retry_after, None);
    }

    #[test]
    fn every_unit_is_counted_from_the_epoch() {
        // 2026-11-21T23:55:12Z
        let now = Timestamp::from_secs(1_795_305_312);
        for (unit, left) in [
            (Unit::Second, 1),
            (Unit::Minute, 48),
            (Unit::Hour, 288),
            (Unit::Day, 288),
            (Unit::Week, 345_888),
            (Unit::Month, 950_688),
            (Unit::Year, 2_246_688),
        ] {
            assert_eq!(window_end(unit.length(), now).since(now).as_secs(), left, "{unit}");
        }
    }

    proptest! {
        /// The model: a map from window number to hits, added up by hand.
        #[test]
        fn agrees_with_a_count_per_window(
            limit in 0_u64..6,
            length in 1_u64..50,
            hits in prop::collection::vec((0_u64..30, -2_i64..4), 1..60),
        ) {
            let allowance = Allowance { limit, window: Duration::from_secs(length) };
            let mut cell = Cell::default();
            let mut model: HashMap<u64, u64> = HashMap::new();
            let mut at = 0;
            for (later, amount) in hits {
                at += later;
                let cost = if amount < 0 { Hits::refund(amount.unsigned_abs()) } else { Hits::charge(amount.unsigned_abs()) };
                let used = model.entry(at / length).or_default();
                *used = used.saturating_add_signed(amount);

                let out = FixedWindow.step(&allowance, &mut cell, cost, Timestamp::from_secs(at));

                prop_assert_eq!(out.used, *used);
                prop_assert_eq!(out.admitted, *used <= limit);
                prop_assert_eq!(out.remaining, limit.saturating_sub(*used));
                prop_assert_eq!(out.reset_after.as_secs(), length - at % length);
            }
        }

        #[test]
        fn waiting_as_told_succeeds_and_a_nanosecond_less_does_not(
            at in 0_u64..10_000_000_000_000,
            length in 1_u64..1_000_000_000_000,
        ) {
            let allowance = Allowance { limit: 1, window: Duration::from_nanos(length) };
            let mut cell = Cell::default();
            let now = Timestamp::from_nanos(at);
            FixedWindow.step(&allowance, &mut cell, Hits::charge(1), now);
            let wait = FixedWindow.step(&allowance, &mut cell, Hits::ONE, now).retry_after.expect("it fits later");

            let early = now.plus(wait.saturating_sub(Duration::from_nanos(1)));
            prop_assert!(!FixedWindow.step(&allowance, &mut cell.clone(), Hits::ONE, early).admitted);
            prop_assert!(FixedWindow.step(&allowance, &mut cell, Hits::ONE, now.plus(wait)).admitted);
        }
    }
}
