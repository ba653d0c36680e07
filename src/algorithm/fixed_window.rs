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
    /// The period's length in whole seconds, rounded down: it distinguishes a clock that stepped back into the period before from an
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

    fn covers(&self, other: &Self) -> bool {
        self.end == other.end && self.used >= other.used
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

    fn covers(&self, other: &Self) -> bool {
        (self.end, self.length_s) == (other.end, other.length_s) && { self.used } >= { other.used }
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
/// waits longer than was reported, and the next window is the wall clock's. Around a boundary an interval as long as the window
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
    // An adopted end is kept whatever was asked: a full quota counts nothing, and must still end at that time.
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
mod tests;
