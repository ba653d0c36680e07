//! A time that follows the wall clock forwards and never back.

use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::Step;
use crate::model::{Reading, Timestamp};

/// By how much the two clocks may differ from what they did, in nanoseconds, without having been set: they are not read at
/// the same instant.
const NOISE: u64 = 1_000_000;
/// The least that is called a step, in nanoseconds. What is less is followed all the same.
const STEP: u64 = 100_000_000;
/// How often both clocks are read before one of them is said to have been set.
const READS: usize = 4;
/// The most steps that wait to be reported.
const KEPT: usize = 16;

/// What the wall clock and a clock that is never set showed at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Nanoseconds since 1970, read first; 0 when it stands before.
    pub(super) wall: u64,
    /// Nanoseconds since some instant, read last.
    pub(super) elapsed: u64,
}

impl Shown {
    /// Modulo 2^64, for the wall clock may show less than has elapsed.
    const fn offset(self) -> u64 {
        self.wall.wrapping_sub(self.elapsed)
    }
}

/// How far one offset is from another; their difference is taken for less than 292 years.
const fn moved(from: u64, to: u64) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

/// Nanoseconds from the clock that is never set to the others, modulo 2^64.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    /// Never less than `wall`, and never less than it was.
    steady: u64,
    wall: u64,
}

impl Offsets {
    const fn reading(&self, elapsed: u64) -> Reading {
        Reading {
            steady: Timestamp::from_nanos(self.steady.wrapping_add(elapsed)),
            wall: Timestamp::from_nanos(self.wall.wrapping_add(elapsed)),
        }
    }
}

/// Keeps how far the steady time is ahead of the wall clock.
///
/// It is the highest offset that was ever seen: a step forwards is followed at once, and after a step back the steady time
/// runs on as fast as ever, ahead of the wall clock by what that was set back, until that is set forward again. To run
/// slower until the wall clock has caught up would make every wait that was reported meanwhile too short.
#[derive(Debug)]
pub(super) struct Steady {
    offsets: ArcSwap<Offsets>,
    steps: Mutex<Vec<Step>>,
}

impl Steady {
    pub(super) fn new(shown: Shown) -> Self {
        let offset = shown.offset();
        Self {
            offsets: ArcSwap::from_pointee(Offsets { steady: offset, wall: offset }),
            steps: Mutex::default(),
        }
    }

    /// What both show when so much has elapsed, if the wall clock was not set since it was read last.
    pub(super) fn believed(&self, elapsed: u64) -> Reading {
        self.offsets.load().reading(elapsed)
    }

    /// What both show now.
    pub(super) fn read(&self, mut show: impl FnMut() -> Shown) -> Reading {
        let shown = show();
        let offsets = **self.offsets.load();
        // A wall clock that stands before 1970 shows nothing to follow.
        if moved(offsets.wall, shown.offset()).unsigned_abs() <= NOISE || shown.wall == 0 {
            return offsets.reading(shown.elapsed);
        }
        self.follow(show)
    }

    /// Takes over what the wall clock shows now.
    #[cold]
    fn follow(&self, mut show: impl FnMut() -> Shown) -> Reading {
        let mut steps = self.steps.lock();
        let before = **self.offsets.load();
        // Whoever is held up after reading the wall clock sees less of it than there is, and never more.
        let mut last = show();
        let mut wall = last.offset();
        for _ in 1..READS {
            last = show();
            wall = if moved(wall, last.offset()) > 0 { last.offset() } else { wall };
        }
        let step = moved(before.wall, wall);
        if step.unsigned_abs() <= NOISE {
            return before.reading(last.elapsed);
        }
        let ahead = moved(before.steady, wall) > 0;
        let after = Offsets { steady: if ahead { wall } else { before.steady }, wall };
        self.offsets.store(after.into());
        if step.unsigned_abs() >= STEP && steps.len() < KEPT {
            let by = Duration::from_nanos(step.unsigned_abs());
            steps.push(if step > 0 { Step::Forward(by) } else { Step::Back(by) });
        }
        after.reading(last.elapsed)
    }

    pub(super) fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut *self.steps.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::{Shown, Steady};
    use crate::clock::Step;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_800_000_000 * SECOND;
    const MINUTES: Duration = Duration::from_secs(600);
    const DAY: Duration = Duration::from_secs(86_400);

    /// Moves both clocks on by so many seconds and sets the wall clock by as many more: the seconds since the start that the
    /// steady time and the wall clock show then.
    #[track_caller]
    fn check(script: &[(u64, i64)], reported: &[(u64, i64)], steps: &[Step]) {
        let shown = Cell::new(Shown { wall: START, elapsed: 7 });
        let steady = Steady::new(shown.get());
        let times: Vec<_> = script
            .iter()
            .map(|&(later, set)| {
                let Shown { wall, elapsed } = shown.get();
                let wall = (wall + later * SECOND).saturating_add_signed(set * 1_000_000_000);
                shown.set(Shown { wall, elapsed: elapsed + later * SECOND });
                let reading = steady.read(|| shown.get());
                let since = |nanos: u64| (i128::from(nanos) - i128::from(START)) / i128::from(SECOND);
                assert_eq!(reading.steady.since(reading.wall), reading.behind());
                (
                    u64::try_from(since(reading.steady.as_nanos())).unwrap(),
                    i64::try_from(since(reading.wall.as_nanos())).unwrap(),
                )
            })
            .collect();
        assert_eq!(times, reported);
        assert_eq!(steady.take_steps(), steps);
        assert_eq!(steady.take_steps(), []);
    }

    #[test]
    fn a_step_back_is_not_followed_and_a_step_forward_is() {
        for (by, size) in [(600, MINUTES), (86_400, DAY)] {
            let ahead = u64::try_from(by).unwrap();
            check(&[(1, 0), (1, -by), (9, 0)], &[(1, 1), (2, 2 - by), (11, 11 - by)], &[Step::Back(size)]);
            check(
                &[(1, 0), (1, by), (9, 0)],
                &[(1, 1), (2 + ahead, 2 + by), (11 + ahead, 11 + by)],
                &[Step::Forward(size)],
            );
        }
    }

    #[test]
    fn a_step_forward_first_makes_up_for_a_step_back() {
        let steps = [Step::Back(MINUTES), Step::Forward(MINUTES / 2), Step::Forward(MINUTES)];
        check(&[(1, -600), (1, 300), (1, 600)], &[(1, -599), (2, -298), (303, 303)], &steps);
    }

    #[test]
    fn a_process_that_was_stopped_finds_the_time_that_has_passed() {
        check(&[(86_400, 0)], &[(86_400, 86_400)], &[]);
        // Where the whole machine slept, the clock that is never set may have slept, too.
        check(&[(0, 86_400)], &[(86_400, 86_400)], &[Step::Forward(DAY)]);
    }

    #[test]
    fn whoever_is_held_up_between_the_readings_takes_it_for_no_step() {
        let shown = Shown { wall: START, elapsed: 0 };
        let steady = Steady::new(shown);
        let mut held_up = [90 * SECOND, 30 * SECOND, 0, 0, 0].into_iter();
        let reading = steady.read(|| {
            let elapsed = SECOND * 100;
            Shown { wall: START + elapsed - held_up.next().unwrap_or_default(), elapsed }
        });
        assert_eq!(
            (reading.steady.as_nanos(), reading.wall.as_nanos()),
            (START + 100 * SECOND, START + 100 * SECOND)
        );
        assert_eq!(steady.take_steps(), []);
    }

    #[test]
    fn a_clock_that_stood_before_1970_is_followed_when_it_is_set() {
        // Until then time runs on from 1970.
        let steady = Steady::new(Shown { wall: 0, elapsed: 5 * SECOND });
        for (shown, expected) in [
            (Shown { wall: 0, elapsed: 6 * SECOND }, SECOND),
            (Shown { wall: START, elapsed: 7 * SECOND }, START),
            (Shown { wall: START + SECOND, elapsed: 8 * SECOND }, START + SECOND),
        ] {
            assert_eq!(steady.read(|| shown).steady.as_nanos(), expected);
        }
        assert!(matches!(steady.take_steps()[..], [Step::Forward(_)]));
    }

    #[test]
    fn the_steady_time_never_goes_back_whatever_the_threads_see() {
        let shown = std::sync::Mutex::new(Shown { wall: START, elapsed: 0 });
        let steady = Steady::new(*shown.lock().unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (shown, steady) = (&shown, &steady);
                scope.spawn(move || {
                    let mut last = 0;
                    for turn in 0..2_000_u64 {
                        let reading = steady.read(|| {
                            let mut shown = shown.lock().unwrap();
                            shown.elapsed += SECOND;
                            let set = if (turn + thread) % 7 == 0 { 5 * SECOND } else { 0 };
                            shown.wall = (shown.wall + SECOND + set).saturating_sub(if turn % 5 == 0 {
                                9 * SECOND
                            } else {
                                0
                            });
                            *shown
                        });
                        assert!(reading.steady.as_nanos() >= last);
                        last = reading.steady.as_nanos();
                    }
                });
            }
        });
    }
}
