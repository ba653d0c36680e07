//! Fixed windows: a count that is forgotten all at once.
//!
//! Three kinds differ in where the window lies: between multiples of its length, from its first hit, or where a calendar
//! puts it. When the clock steps back a little, into an earlier window, the later one goes on being charged until it ends,
//! so that threads that read the clock in another order than they get here are never granted anything. An end that lies
//! further ahead than that comes from a clock that was wrong: the count stays, and ends with the window of now.

use std::fmt;
use std::time::Duration;

use super::bytes::{self, Malformed};
use super::{Algorithm, Cell, Commit, Counting, Grant, Row, State, Worth, judge, tolerance};
use crate::model::{Hits, Outcome, Timestamp};

/// Where a fixed window begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedWindow {
    /// Between two multiples of its length since the Unix epoch in UTC, as envoyproxy/ratelimit counts.
    Aligned {
        /// The window's length.
        window: Duration,
        /// How many nanoseconds the wall clock, which the epoch is of, is behind the time that hits are counted by.
        behind_ns: u64,
    },
    /// From its first hit on.
    Anchored {
        /// The window's length.
        window: Duration,
    },
    /// In a calendar or billing period, whose bounds the caller computed for `now`: `start <= now < end`.
    Period {
        /// The first instant of the period.
        start: Timestamp,
        /// The first instant after it.
        end: Timestamp,
    },
}

/// The hits of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the window ends; from then on the count says nothing.
    pub end: Timestamp,
    /// Hits counted so far.
    pub used: u64,
}

/// The hits of one period. Packed, or a cell would not be three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub struct Period {
    /// When the period ends; from then on the count says nothing.
    pub end: Timestamp,
    /// Hits counted so far.
    pub used: u64,
    /// The period's length in whole seconds, rounded down: it tells a clock that stepped back into the period before from an
    /// anchor that was edited.
    pub length_s: u32,
}

impl Algorithm {
    /// A fixed window between multiples of its length, by a clock that was never set back.
    pub const fn aligned(window: Duration) -> Self {
        Self::FixedWindow(FixedWindow::Aligned { window, behind_ns: 0 })
    }

    /// A fixed window that starts at its first hit.
    pub const fn anchored(window: Duration) -> Self {
        Self::FixedWindow(FixedWindow::Anchored { window })
    }

    /// A period from `start` until just before `end`.
    pub const fn period(start: Timestamp, end: Timestamp) -> Self {
        Self::FixedWindow(FixedWindow::Period { start, end })
    }
}

impl Counting for FixedWindow {
    const ROW: Row = Row {
        name: "fixed_window",
        meaning: "N hits from the window's beginning to its end. Around the end of a window up to 2 N pass within its length",
        words: &[],
        has_periods: true,
        make: |written| Algorithm::anchored(written.window),
    };

    #[cfg(test)]
    const SAMPLES: &'static [super::tests::Sample] = tests::SAMPLES;

    fn step(self, limit: u64, cell: &mut Cell, hits: Hits, commit: Commit, now: Timestamp) -> Outcome {
        match self {
            Self::Aligned { window, behind_ns } => {
                aligned((window, Duration::from_nanos(behind_ns)), limit, cell, hits, commit, now)
            }
            Self::Anchored { window } => anchored(window, limit, cell, hits, commit, now),
            Self::Period { start, end } => period((start, end), limit, cell, hits, commit, now),
        }
    }

    fn granted(self, grant: Grant) -> Self {
        match self {
            Self::Aligned { window, .. } => Self::Aligned {
                window,
                behind_ns: u64::try_from(grant.behind.as_nanos()).unwrap_or(u64::MAX),
            },
            Self::Anchored { .. } => self,
            // What the wall clock shows at the bounds, as the time that hits are counted by.
            Self::Period { start, end } => {
                Self::Period { start: start.plus(grant.behind), end: end.plus(grant.behind) }
            }
        }
    }

    fn window(self) -> Option<Duration> {
        match self {
            Self::Aligned { window, .. } | Self::Anchored { window } => Some(window),
            Self::Period { .. } => None,
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Aligned { .. } => "clock",
            Self::Anchored { .. } => "first hit",
            Self::Period { .. } => "period",
        }
    }

    fn describe(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aligned { .. } => ", by the clock",
            Self::Anchored { .. } => " from the first hit",
            Self::Period { .. } => "",
        })
    }
}

impl State for Window {
    fn until(&self) -> Timestamp {
        self.end
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes::write_time(self.end, bytes);
        bytes::write(self.used, bytes);
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(Self { end: bytes::time(bytes)?, used: bytes::number(bytes)? })
    }
}

impl State for Period {
    fn until(&self) -> Timestamp {
        self.end
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes::write_time(self.end, bytes);
        bytes::write(self.used, bytes);
        bytes::write(self.length_s.into(), bytes);
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let (end, used) = (bytes::time(bytes)?, bytes::number(bytes)?);
        let length_s = bytes::number(bytes)?.try_into().map_err(|_| Malformed::Impossible("length"))?;
        Ok(Self { end, used, length_s })
    }
}

/// At most `limit` hits between two multiples of `window` since the Unix epoch, by a wall clock that is `behind` the time that
/// hits are counted by.
///
/// When the wall clock is set back, a count goes on until its window ends by either clock, whichever comes first: nobody
/// waits longer than was told, and the next window is the wall clock's. Around a boundary an interval as long as the window
/// may see twice the limit, and all clients come back at once; around the first boundary after the wall clock was set back it
/// may be three times, for what is left of the wall clock's window then is one of its own.
fn aligned(
    (window, behind): (Duration, Duration),
    limit: u64,
    cell: &mut Cell,
    hits: Hits,
    commit: Commit,
    now: Timestamp,
) -> Outcome {
    let of_now = window_end(window, now.minus(behind)).plus(behind);
    let (mut end, used) = open(cell, window, of_now, now).unwrap_or((of_now, 0));
    // Another thread that read the clock a little later may have begun the next window.
    if end > of_now && of_now.since(now) > tolerance(window) {
        end = of_now;
        if let Cell::Window(Window { end, .. }, _) = cell {
            *end = of_now;
        }
    }
    let count = Count::new(limit, used, hits, commit);
    if count.applies {
        *cell = Cell::Window(Window { end, used: count.used }, Worth::NOTHING);
    }
    count.tell(window, end.since(now))
}

/// At most `limit` hits in a window that starts at its first counted hit.
///
/// A look, a refund and a refusal that is not counted start no window: then nothing is used and nothing is to reset.
fn anchored(
    window: Duration,
    limit: u64,
    cell: &mut Cell,
    hits: Hits,
    commit: Commit,
    now: Timestamp,
) -> Outcome {
    let opened = open(cell, window, now.plus(window), now);
    let count = Count::new(limit, opened.map_or(0, |(_, used)| used), hits, commit);
    let starts = count.applies && count.used > 0;
    let end = opened.map(|(end, _)| end).or_else(|| starts.then(|| now.plus(window)));
    if let (Some(end), true) = (end, count.applies) {
        *cell = Cell::Window(Window { end, used: count.used }, Worth::NOTHING);
    }
    count.tell(window, end.map_or(Duration::ZERO, |end| end.since(now)))
}

/// At most `limit` hits between `start` and `end`, the period that `now` lies in.
///
/// When the bounds are other than they were, the period is not over for all that: somebody edited the anchor. The count
/// stays and the new end holds. Only bounds that lie just before the counted period come from a clock that stepped back,
/// and then the counted period goes on.
fn period(
    (start, end): (Timestamp, Timestamp),
    limit: u64,
    cell: &mut Cell,
    hits: Hits,
    commit: Commit,
    now: Timestamp,
) -> Outcome {
    let length = end.since(start);
    let of_now = (end, u32::try_from(length.as_secs()).unwrap_or(u32::MAX));
    let counted = match *cell {
        Cell::Period(counted, _) if now < { counted.end } => Some(counted),
        _ => None,
    };
    let (bounds, used) = match counted {
        Some(Period { end: counted, used, length_s }) => {
            let counted_length = Duration::from_secs(length_s.into());
            let ahead = counted.minus(counted_length).since(now);
            let stepped_back =
                end < counted && counted.since(end) >= counted_length && ahead <= tolerance(length);
            (if stepped_back { (counted, length_s) } else { of_now }, used)
        }
        None => (of_now, 0),
    };
    let count = Count::new(limit, used, hits, commit);
    let (end, length_s) = bounds;
    // An adopted end is kept whatever was asked: a full quota counts nothing, and must still end when it was told to.
    if count.applies || counted.is_some() {
        *cell = Cell::Period(Period { end, used: count.used, length_s }, cell.worth());
    }
    count.tell(length, end.since(now))
}

/// The window that is being counted, as its end and its hits. An end that `window` cannot have been given is cut to
/// `of_now`.
fn open(cell: &mut Cell, window: Duration, of_now: Timestamp, now: Timestamp) -> Option<(Timestamp, u64)> {
    match cell {
        Cell::Window(Window { end, used }, _) if now < *end => {
            if end.since(now) > window.saturating_add(tolerance(window)) {
                *end = of_now;
            }
            Some((*end, *used))
        }
        _ => None,
    }
}

/// The end of the window that `now` lies in: the next multiple of `window` since the epoch, strictly after `now`.
fn window_end(window: Duration, now: Timestamp) -> Timestamp {
    let window_nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
    let into_window = now.as_nanos() % window_nanos;
    Timestamp::from_nanos(now.as_nanos() - into_window).plus(window)
}

/// The count of one window after one request.
struct Count {
    limit: u64,
    used: u64,
    attempted: u64,
    hits: Hits,
    admitted: bool,
    applies: bool,
}

impl Count {
    fn new(limit: u64, used: u64, hits: Hits, commit: Commit) -> Self {
        let verdict = judge(limit, used, hits, commit);
        let attempted = hits.applied_to(used);
        let used = if verdict.applies { attempted } else { used };
        Self { limit, used, attempted, hits, admitted: verdict.admitted, applies: verdict.applies }
    }

    fn tell(&self, window: Duration, until_end: Duration) -> Outcome {
        Outcome {
            admitted: self.admitted,
            limit: self.limit,
            quota: self.limit,
            used: self.used,
            attempted: self.attempted,
            remaining: self.limit.saturating_sub(self.used),
            window,
            reset_after: until_end,
            full_after: until_end,
            retry_after: (!self.admitted && self.hits.cost() <= self.limit).then_some(until_end),
        }
    }
}

#[cfg(test)]
mod tests {
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

    /// Plays `(second, algorithm, hits)` against a limit of three and tells each answer in words.
    #[track_caller]
    fn check(commit: Commit, script: &[(u64, Algorithm, Hits)], told: &[&str]) {
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
        assert_eq!(answers, told);
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
}
