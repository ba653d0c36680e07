//! Each algorithm against a slow, obvious model, and the sequences of published policies.

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;

use super::{Algorithm, Cell, Commit};
use crate::model::{Hits, Outcome, Timestamp};

mod contracts;
mod jumps;
mod model;

pub(super) use model::{Model, State};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// An algorithm as these tests need it. Each lists its own in its file, and the table of algorithms adds them up.
pub(super) struct Sample {
    pub(super) name: &'static str,
    /// The algorithm at a time, in nanoseconds, for some parameters.
    pub(super) make: fn(Parameters, u64) -> Algorithm,
    /// What is used and when it becomes free, by the plainest possible reading of a model's history.
    pub(super) model: fn(&Model, Parameters, u64) -> State,
    /// The most hits that pass within an interval of that many nanoseconds, if the algorithm promises any number.
    pub(super) most: fn(Parameters, u64) -> Option<u64>,
    /// By multiples of this many nanoseconds, time can be shifted without another effect.
    pub(super) shift: fn(Parameters) -> u64,
    /// The most hits that pass at once, under a limit that is not 0.
    pub(super) holds: fn(Parameters) -> u64,
}

/// What an algorithm is tried with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub(super) limit: u64,
    /// In nanoseconds.
    pub(super) window: u64,
    /// A number for whatever the algorithm has beside a limit and a window, as the burst of a token bucket.
    pub(super) n: u64,
}

impl Parameters {
    /// The window's length.
    pub(super) fn length(self) -> Duration {
        if self.window == u64::MAX { Duration::MAX } else { nanos(self.window) }
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A sample, and the number for its `n`.
#[derive(Clone, Copy, Debug)]
struct Kind {
    sample: &'static Sample,
    n: u64,
}

impl Kind {
    fn with(self, limit: u64, window: u64) -> Parameters {
        Parameters { limit, window, n: self.n }
    }

    /// The most hits that pass at once.
    fn holds(self, limit: u64) -> u64 {
        (self.sample.holds)(self.with(limit, 1))
    }

    fn algorithm(self, window: u64, now: u64) -> Algorithm {
        (self.sample.make)(self.with(0, window), now)
    }
}

pub(super) fn samples() -> Vec<&'static Sample> {
    super::SAMPLES.iter().copied().flatten().collect()
}

fn any_kind() -> impl Strategy<Value = Kind> {
    (prop::sample::select(samples()), 0_u64..7).prop_map(|(sample, n)| Kind { sample, n })
}

fn any_hits(cost: u64) -> impl Strategy<Value = Hits> {
    prop_oneof![
        1 => Just(Hits::Look),
        8 => (1..=cost).prop_map(Hits::charge),
        1 => (1..=cost).prop_map(Hits::refund),
    ]
}

fn any_commit() -> impl Strategy<Value = Commit> {
    prop_oneof![4 => Just(Commit::IfAdmitted), 1 => Just(Commit::Always), 1 => Just(Commit::Never)]
}

/// A limit, a window in nanoseconds, and steps of `(nanoseconds later, hits, commit)`.
#[derive(Clone, Debug)]
struct Trace {
    limit: u64,
    window: u64,
    steps: Vec<(u64, Hits, Commit)>,
}

fn traces(
    limits: std::ops::Range<u64>,
    windows: std::ops::Range<u64>,
    long: usize,
) -> impl Strategy<Value = Trace> {
    (limits, windows).prop_flat_map(move |(limit, window)| {
        let later = prop_oneof![3 => 0..=window.div_ceil(6), 1 => 0..=window + 1];
        prop::collection::vec((later, any_hits(limit + 2), any_commit()), 1..long)
            .prop_map(move |steps| Trace { limit, window, steps })
    })
}

/// Small limits, whose hits meet often; and large ones, which count in sub-buckets.
fn any_trace() -> impl Strategy<Value = (Kind, Trace)> {
    prop_oneof![
        3 => (any_kind(), traces(0..7, 1..40, 80)),
        1 => (any_kind(), traces(1_025..1_030, 1..400, 40)),
    ]
}

/// Plays a trace from `start` on and returns the cell, the time and what was reported.
fn play(kind: Kind, trace: &Trace, start: u64) -> (Cell, u64, Vec<Outcome>) {
    let (mut cell, mut now) = (Cell::default(), start);
    let outcomes = trace
        .steps
        .iter()
        .map(|&(later, hits, commit)| {
            now += later;
            kind.algorithm(trace.window, now).step(trace.limit, &mut cell, hits, commit, at(now))
        })
        .collect();
    (cell, now, outcomes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_number_is_the_models((kind, trace) in any_trace()) {
        let (mut cell, mut model, mut now) = (Cell::default(), Model::default(), 1_000);
        for (later, hits, commit) in trace.steps {
            now += later;
            let algorithm = kind.algorithm(trace.window, now);
            let reported = algorithm.step(trace.limit, &mut cell, hits, commit, at(now));
            prop_assert_eq!(reported, model.step(kind.sample, kind.with(trace.limit, trace.window), hits, commit, now));
        }
    }

    #[test]
    fn waiting_as_reported_succeeds_and_a_nanosecond_less_does_not((kind, trace) in any_trace()) {
        let (mut cell, mut now) = (Cell::default(), 0);
        for (later, hits, commit) in trace.steps {
            now += later;
            let step = |cell: &mut Cell, now, commit| {
                kind.algorithm(trace.window, now).step(trace.limit, cell, hits, commit, at(now))
            };
            let reported = step(&mut cell, now, commit);
            let Some(wait) = reported.retry_after else { continue };
            let wait = u64::try_from(wait.as_nanos()).unwrap();
            prop_assert!(wait > 0);
            prop_assert!(!step(&mut cell.clone(), now + wait - 1, Commit::IfAdmitted).admitted);
            prop_assert!(step(&mut cell.clone(), now + wait, Commit::IfAdmitted).admitted);
        }
    }

    #[test]
    fn only_what_can_never_pass_has_no_time_to_retry((kind, trace) in any_trace()) {
        let (_, _, outcomes) = play(kind, &trace, 0);
        for (reported, (_, hits, _)) in outcomes.iter().zip(&trace.steps) {
            prop_assert_eq!(reported.retry_after.is_none(), reported.admitted || hits.cost() > reported.limit);
        }
    }

    #[test]
    fn looks_and_rehearsals_leave_the_cell_as_it_is(
        (kind, trace) in any_trace(),
        later in 0_u64..50,
        hits in any_hits(5),
    ) {
        let (mut cell, now, _) = play(kind, &trace, 0);
        let now = now + later;
        let before = cell.clone();
        let algorithm = kind.algorithm(trace.window, now);
        let look = algorithm.step(trace.limit, &mut cell, Hits::Look, Commit::Always, at(now));
        prop_assert_eq!(look.admitted, look.used <= look.limit);
        algorithm.step(trace.limit, &mut cell, hits, Commit::Never, at(now));
        prop_assert_eq!(cell, before);
    }

    #[test]
    fn a_cell_that_is_spent_says_what_an_empty_one_says((kind, trace) in any_trace(), later in 0_u64..50) {
        let (mut cell, now, _) = play(kind, &trace, 0);
        let now = now + later;
        let algorithm = kind.algorithm(trace.window, now);
        if cell.is_spent(at(now)) {
            let look = |cell: &mut Cell| algorithm.step(trace.limit, cell, Hits::Look, Commit::Never, at(now));
            prop_assert_eq!(look(&mut cell), look(&mut Cell::Empty));
        }
    }

    #[test]
    fn a_cell_is_read_as_it_was_written((kind, trace) in any_trace()) {
        let (cell, _, _) = play(kind, &trace, 0);
        let mut bytes = Vec::new();
        cell.write(&mut bytes);
        let read = Cell::read(&mut bytes.as_slice()).unwrap();
        prop_assert_eq!((read.until(), read.worth()), (cell.until(), cell.worth()));
        prop_assert_eq!(read, cell);
    }

    #[test]
    fn no_interval_sees_more_than_its_algorithm_promises((kind, mut trace) in any_trace()) {
        trace.steps.iter_mut().for_each(|(_, hits, commit)| {
            if matches!(hits, Hits::Refund(_)) { *hits = Hits::ONE }
            if *commit == Commit::Never { *commit = Commit::IfAdmitted }
        });
        let (_, _, outcomes) = play(kind, &trace, 0);
        let mut now = 0;
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        for (reported, (later, hits, _)) in outcomes.iter().zip(&trace.steps) {
            now += later;
            if reported.admitted { admitted.push((now, hits.cost())) }
        }
        let Trace { limit, window, .. } = trace;
        for (first, &(from, _)) in admitted.iter().enumerate() {
            let mut passed = 0;
            for &(now, hits) in &admitted[first..] {
                passed += hits;
                if let Some(most) = (kind.sample.most)(kind.with(limit, window), now - from) {
                    prop_assert!(passed <= most, "{passed} of {most}");
                }
            }
        }
    }

    #[test]
    fn several_hits_of_one_are_one_hit_of_several(
        (kind, trace) in any_trace(),
        later in 0_u64..50,
        cost in 1_u64..8,
    ) {
        let (mut together, now, _) = play(kind, &trace, 0);
        let mut apart = together.clone();
        let now = at(now + later);
        let algorithm = kind.algorithm(trace.window, now.as_nanos());
        let reported = algorithm.step(trace.limit, &mut together, Hits::charge(cost), Commit::IfAdmitted, now);
        if !reported.admitted { return Ok(()) }
        for _ in 1..cost {
            algorithm.step(trace.limit, &mut apart, Hits::ONE, Commit::IfAdmitted, now);
        }
        prop_assert_eq!(algorithm.step(trace.limit, &mut apart, Hits::ONE, Commit::IfAdmitted, now), reported);
        prop_assert_eq!(apart, together);
    }

    #[test]
    fn shifting_time_shifts_answers_only((kind, trace) in any_trace(), shift in 0_u64..1_000) {
        let shift = shift * (kind.sample.shift)(kind.with(trace.limit, trace.window));
        prop_assert_eq!(play(kind, &trace, 0).2, play(kind, &trace, shift).2);
    }

    #[test]
    fn raising_the_limit_never_refuses_what_passed(
        (kind, trace) in any_trace(),
        later in 0_u64..50,
        hits in any_hits(8),
    ) {
        let (mut cell, now, _) = play(kind, &trace, 0);
        let mut admitted = |kind: Kind, limit| {
            kind.algorithm(trace.window, now + later).step(limit, &mut cell, hits, Commit::Never, at(now + later)).admitted
        };
        let raised_n = Kind { n: kind.n + 1, ..kind };
        let raised = if raised_n.holds(trace.limit) > kind.holds(trace.limit) {
            (raised_n, trace.limit)
        } else {
            (kind, trace.limit + 1)
        };
        prop_assert!(!admitted(kind, trace.limit) || admitted(raised.0, raised.1));
    }

    #[test]
    fn a_clock_that_steps_back_admits_nothing_it_refused(
        (kind, trace) in any_trace(),
        back in 0_u64..100,
        hits in any_hits(8),
    ) {
        let (mut cell, now, _) = play(kind, &trace, 1_000);
        let mut admitted = |now: u64| {
            kind.algorithm(trace.window, now).step(trace.limit, &mut cell, hits, Commit::Never, at(now)).admitted
        };
        prop_assert!(admitted(now) || !admitted(now - back));
    }

    #[test]
    fn the_edges_of_the_numbers_break_nothing(
        steps in prop::collection::vec((prop::sample::select(samples()), edges(), edges(), edges(), edges(), 0_u8..3, any_commit()), 1..30),
    ) {
        let mut cell = Cell::default();
        for (sample, limit, window, now, n, hits, commit) in steps {
            let algorithm = (sample.make)(Parameters { limit, window, n }, now);
            let hits = [Hits::Look, Hits::charge(n), Hits::refund(n)][usize::from(hits)];
            let reported = algorithm.step(limit, &mut cell, hits, commit, at(now));
            prop_assert!(reported.used >= reported.limit || reported.used + reported.remaining == reported.limit);
            prop_assert!(reported.remaining <= reported.limit);
            if hits.cost() > 0 && commit != Commit::Never {
                prop_assert!(!reported.admitted || reported.used <= reported.limit);
            }
            prop_assert!(!reported.admitted || reported.retry_after.is_none());
            cell.is_spent(at(now));
        }
    }
}

fn edges() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        1_u64..5,
        1_020_u64..1_030,
        any::<u64>(),
        u64::MAX - 3..=u64::MAX,
        u64::MAX / 2 - 2..u64::MAX / 2 + 2,
    ]
}
