//! Fixed windows at their edges, and how the tests of all algorithms try them.

use std::time::Duration;

use super::{Period, Window, window_end};
use crate::algorithm::cell::tests::check_bytes;
use crate::algorithm::tests::{Sample, State};
use crate::algorithm::{Algorithm, Cell, Commit, Worth};
use crate::model::{Hits, Timestamp, Unit};

pub(in crate::algorithm) const SAMPLES: &[Sample] = &[
    Sample {
        name: "aligned",
        make: |of, _| Algorithm::aligned(of.length()),
        model: |model, of, now| model.fixed(of.limit, of.window, now / of.window * of.window, now),
        most: |of, within| (within < of.window).then_some(2 * of.limit),
        shift: |of| of.window,
        holds: |of| of.limit,
    },
    Sample {
        name: "anchored",
        make: |of, _| Algorithm::anchored(of.length()),
        model: |model, of, now| {
            let mut start: Option<u64> = None;
            for &(at, _) in model.counted.iter().filter(|(at, hits)| *hits > 0 && *at <= now) {
                if start.is_none_or(|start| at >= start + of.window) {
                    start = Some(at);
                }
            }
            match start.filter(|start| now < start + of.window) {
                Some(start) => model.fixed(of.limit, of.window, start, now),
                None => State { limit: of.limit, used: 0, window: of.length(), frees: vec![] },
            }
        },
        most: |of, within| (within < of.window).then_some((2 * of.limit).saturating_sub(1)),
        shift: |_| 1,
        holds: |of| of.limit,
    },
    Sample {
        name: "period",
        make: |of, now| {
            let start = now - now % of.window.max(1);
            let end = start.saturating_add(of.window.max(1));
            Algorithm::period(Timestamp::from_nanos(start), Timestamp::from_nanos(end))
        },
        model: |model, of, now| model.fixed(of.limit, of.window, now / of.window * of.window, now),
        most: |of, within| (within < of.window).then_some(2 * of.limit),
        shift: |of| of.window,
        holds: |of| of.limit,
    },
];

const ALIGNED: Algorithm = Algorithm::aligned(Duration::from_secs(60));
const ANCHORED: Algorithm = Algorithm::anchored(Duration::from_secs(60));

const fn days(start: u64, end: u64) -> Algorithm {
    Algorithm::period(Timestamp::from_secs(start * 86_400), Timestamp::from_secs(end * 86_400))
}

/// Plays `(second, algorithm, hits)` against a limit of three and writes each answer in words.
#[track_caller]
fn check(commit: Commit, script: &[(u64, Algorithm, Hits)], reported: &[&str]) {
    let mut cell = Cell::default();
    let answers: Vec<String> = script
        .iter()
        .map(|&(at, algorithm, hits)| {
            let out = algorithm.step(3, &mut cell, hits, commit, Timestamp::from_secs(at));
            assert_eq!(out.reset_after, out.full_after);
            let word = if out.admitted { "ok" } else { "over" };
            format!(
                "{at}s {word}, {} used, {} left, resets in {}s",
                out.used,
                out.remaining,
                out.reset_after.as_secs()
            )
        })
        .collect();
    assert_eq!(answers, reported);
}

#[test]
fn its_bytes_are_what_they_always_were() {
    let end = Timestamp::from_secs(1);
    let window = Cell::Window(Window { end, used: 300 }, Worth::from_byte(7));
    check_bytes(&window, &[1, 7, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0xac, 0x02]);
    let period = Cell::Period(Period { end, used: 5, length_s: 128 }, Worth::from_byte(255));
    check_bytes(&period, &[2, 255, 0x80, 0x94, 0xeb, 0xdc, 0x03, 5, 0x80, 0x01]);
}

#[test]
fn refuses_the_fourth_hit_and_forgives_at_the_boundary() {
    check(
        Commit::IfAdmitted,
        &[60, 61, 119, 119, 120].map(|at| (at, ALIGNED, Hits::ONE)),
        &[
            "60s ok, 1 used, 2 left, resets in 60s",
            "61s ok, 2 used, 1 left, resets in 59s",
            "119s ok, 3 used, 0 left, resets in 1s",
            "119s over, 3 used, 0 left, resets in 1s",
            "120s ok, 1 used, 2 left, resets in 60s",
        ],
    );
}

#[test]
fn a_refused_hit_may_be_charged_and_a_refund_gives_it_back() {
    check(
        Commit::Always,
        &[
            (0, ALIGNED, Hits::charge(3)),
            (1, ALIGNED, Hits::charge(2)),
            (2, ALIGNED, Hits::refund(1)),
            (3, ALIGNED, Hits::refund(1)),
            (4, ALIGNED, Hits::Look),
            (5, ALIGNED, Hits::refund(99)),
        ],
        &[
            "0s ok, 3 used, 0 left, resets in 60s",
            "1s over, 5 used, 0 left, resets in 59s",
            "2s ok, 4 used, 0 left, resets in 58s",
            "3s ok, 3 used, 0 left, resets in 57s",
            "4s ok, 3 used, 0 left, resets in 56s",
            "5s ok, 0 used, 3 left, resets in 55s",
        ],
    );
}

#[test]
fn an_anchored_window_starts_at_its_first_hit_and_at_nothing_else() {
    check(
        Commit::IfAdmitted,
        &[
            (0, ANCHORED, Hits::Look),
            (1, ANCHORED, Hits::refund(1)),
            (2, ANCHORED, Hits::charge(4)),
            (7, ANCHORED, Hits::ONE),
            (8, ANCHORED, Hits::refund(1)),
            (66, ANCHORED, Hits::ONE),
            (67, ANCHORED, Hits::Look),
        ],
        &[
            "0s ok, 0 used, 3 left, resets in 0s",
            "1s ok, 0 used, 3 left, resets in 0s",
            "2s over, 0 used, 3 left, resets in 0s",
            "7s ok, 1 used, 2 left, resets in 60s",
            "8s ok, 0 used, 3 left, resets in 59s",
            "66s ok, 1 used, 2 left, resets in 1s",
            "67s ok, 0 used, 3 left, resets in 0s",
        ],
    );
}

#[test]
fn a_clock_that_steps_back_grants_nothing() {
    for algorithm in [ALIGNED, ANCHORED] {
        check(
            Commit::IfAdmitted,
            &[(120, Hits::charge(3)), (119, Hits::ONE), (179, Hits::ONE), (180, Hits::ONE)]
                .map(|(at, hits)| (at, algorithm, hits)),
            &[
                "120s ok, 3 used, 0 left, resets in 60s",
                "119s over, 3 used, 0 left, resets in 61s",
                "179s over, 3 used, 0 left, resets in 1s",
                "180s ok, 1 used, 2 left, resets in 60s",
            ],
        );
    }
}

#[test]
fn a_clock_that_steps_back_into_the_period_before_charges_the_later_one() {
    let (first, second) = (days(0, 1), days(1, 2));
    check(
        Commit::IfAdmitted,
        &[(86_400, second, Hits::charge(2)), (86_399, first, Hits::ONE), (86_401, second, Hits::ONE)],
        &[
            "86400s ok, 2 used, 1 left, resets in 86400s",
            "86399s ok, 3 used, 0 left, resets in 86401s",
            "86401s over, 3 used, 0 left, resets in 86399s",
        ],
    );
}

#[test]
fn an_edited_anchor_keeps_the_count_and_moves_the_end() {
    let edited_while_full = [(days(0, 30), 0, Hits::charge(3)), (days(0, 10), 86_400, Hits::ONE)];
    check(
        Commit::IfAdmitted,
        &edited_while_full
            .into_iter()
            .chain([(days(10, 40), 864_000, Hits::ONE), (days(5, 50), 864_001, Hits::ONE)])
            .map(|(algorithm, at, hits)| (at, algorithm, hits))
            .collect::<Vec<_>>(),
        &[
            "0s ok, 3 used, 0 left, resets in 2592000s",
            "86400s over, 3 used, 0 left, resets in 777600s",
            "864000s ok, 1 used, 2 left, resets in 2592000s",
            "864001s ok, 2 used, 1 left, resets in 3455999s",
        ],
    );
}

#[test]
fn what_can_never_pass_has_no_time_to_retry() {
    for algorithm in [ALIGNED, ANCHORED, days(0, 1)] {
        for (limit, cost) in [(3, 4), (0, 1), (u64::MAX - 1, u64::MAX)] {
            for commit in [Commit::IfAdmitted, Commit::Always, Commit::Never] {
                let mut cell = Cell::default();
                let out = algorithm.step(limit, &mut cell, Hits::charge(cost), commit, Timestamp::EPOCH);
                assert_eq!((out.admitted, out.retry_after), (false, None), "{algorithm:?} {limit}");
            }
        }
    }
}

#[test]
fn the_largest_limit_is_a_limit() {
    let mut cell = Cell::default();
    for (cost, admitted) in [(u64::MAX, true), (1, false)] {
        let hits = Hits::charge(cost);
        assert_eq!(
            ALIGNED.step(u64::MAX, &mut cell, hits, Commit::Always, Timestamp::EPOCH).admitted,
            admitted
        );
    }
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
