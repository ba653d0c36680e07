//! Sliding windows: in no interval as long as the window, wherever it begins, does more than the limit pass.
//!
//! Every hit is kept with its stamp until it is as old as the window. That makes both times of an answer exact: the
//! first hit leaves with the oldest, and the limit is whole again with the newest. For limits above 1,024 the stamps
//! are those of [`sub_buckets`], later than the hits and never earlier; all else is the same.

use std::fmt;
use std::time::Duration;

use super::bytes::{self, Malformed};
use super::log::Live;
use super::{Algorithm, Cell, Commit, Counting, Log, Row, State, Worth, judge, sub_buckets, tolerance};
use crate::model::{Hits, Outcome, Timestamp};

/// At most `limit` hits in any interval as long as `window`: exact for limits up to 1,024 and conservative to a sixtieth of
/// the window above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// How long each hit counts.
    pub window: Duration,
}

impl Algorithm {
    /// A sliding window of that length.
    pub const fn sliding_window(window: Duration) -> Self {
        Self::SlidingWindow(SlidingWindow { window })
    }
}

impl Counting for SlidingWindow {
    const ROW: Row = Row {
        name: "sliding_window",
        meaning: "never more than N hits in any interval of the window's length: each hit is forgotten when it is that old. \
                  Exact for N up to 1,024; beyond that, hits are forgotten up to a sixtieth of the window later",
        words: &[],
        has_periods: false,
        make: |written| Algorithm::sliding_window(written.window),
    };

    // Whoever is refused may wait for either.
    const RESETS_AT_RETRY: bool = true;

    #[cfg(test)]
    const SAMPLES: &'static [super::tests::Sample] = tests::SAMPLES;

    fn step(self, limit: u64, cell: &mut Cell, hits: Hits, commit: Commit, now: Timestamp) -> Outcome {
        step(self.window, limit, cell, hits, commit, now)
    }

    fn window(self) -> Option<Duration> {
        Some(self.window)
    }

    /// So little that a crash wastes the reserved hits hardly longer than a window.
    fn ahead(self) -> Duration {
        self.window / 64
    }

    fn tag(self) -> &'static str {
        "sliding"
    }

    fn describe(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(", sliding")
    }
}

/// As bytes, a log is the time it ends, how many entries it has, and for each how much later it is than the one before (the
/// first: than 1970), times two, plus one where a number of hits follows; else the entry is a single hit.
impl State for Box<Log> {
    fn until(&self) -> Timestamp {
        Log::until(self)
    }

    /// From whichever time on hits are added up, there are as many.
    fn covers(&self, other: &Self) -> bool {
        let newest_first = |log: &Log| {
            let mut entries: Vec<_> = log.entries().collect();
            entries.reverse();
            entries
        };
        let (mut ours, mut theirs) = (0_u64, 0_u64);
        let mut own = newest_first(self).into_iter().peekable();
        newest_first(other).into_iter().all(|(stamp, hits)| {
            while let Some((_, hits)) = own.next_if(|(own, _)| *own >= stamp) {
                ours = ours.saturating_add(hits);
            }
            theirs = theirs.saturating_add(hits);
            ours >= theirs
        })
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Log>() + Log::heap_bytes(self)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes::write_time(Log::until(self), bytes);
        bytes::write(self.entries().count() as u64, bytes);
        let mut before = 0;
        for (stamp, hits) in self.entries() {
            let later = stamp.as_nanos() - before;
            before = stamp.as_nanos();
            bytes::write_wide(u128::from(later) << 1 | u128::from(hits > 1), bytes);
            if hits > 1 {
                bytes::write(hits, bytes);
            }
        }
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let until = bytes::time(bytes)?;
        let entries = bytes::number(bytes)?;
        let (mut log, mut stamp, mut total) = (Log::default(), 0_u64, 0_u64);
        for at in 0..entries {
            let written = bytes::wide(bytes)?;
            let later = u64::try_from(written >> 1).map_err(|_| Malformed::Impossible("time of a hit"))?;
            let hits = if written & 1 == 1 { bytes::number(bytes)? } else { 1 };
            if at > 0 && later == 0 {
                return Err(Malformed::Impossible("order of hits"));
            }
            stamp = stamp.checked_add(later).ok_or(Malformed::Impossible("time of a hit"))?;
            total = total.checked_add(hits).ok_or(Malformed::Impossible("number of hits"))?;
            if hits == 0 {
                return Err(Malformed::Impossible("number of hits"));
            }
            log.restore(Timestamp::from_nanos(stamp), hits, until);
        }
        if entries == 0 {
            return Err(Malformed::Impossible("number of hits"));
        }
        Ok(Self::new(log))
    }
}

/// At most `limit` hits in any interval as long as `window`.
///
/// Where refused hits are counted, a log keeps the newest 2 × limit + 1 of all hits and `used` rises no further, so an
/// attack does not fill the memory. Who is admitted, and when, is decided by fewer than those.
fn step(
    window: Duration,
    limit: u64,
    cell: &mut Cell,
    hits: Hits,
    commit: Commit,
    now: Timestamp,
) -> Outcome {
    cut(window, limit, cell, now);
    let mut live = written(cell).map_or_else(Live::default, |log| log.live(window, now));
    let verdict = judge(limit, live.used, hits, commit);
    let attempted = hits.applied_to(live.used);
    if verdict.applies {
        apply(window, limit, cell, live, hits, now);
        live = written(cell).map_or_else(Live::default, Log::all);
    }

    let empty = Log::default();
    let log = written(cell).unwrap_or(&empty);
    // A stamp later than `now` makes the wait longer than the window.
    let wait = |stamp: Timestamp| stamp.since(now).saturating_add(window.saturating_sub(now.since(stamp)));
    // The request fits as soon as all that is over `limit - cost` has left, the oldest first.
    let too_many = live.used.saturating_sub(limit.saturating_sub(hits.cost()));
    let fits_after = || log.nth(live, too_many.saturating_sub(1)).map(wait);
    let retry_after = if verdict.admitted || hits.cost() > limit { None } else { fits_after() };
    Outcome {
        admitted: verdict.admitted,
        limit,
        quota: limit,
        used: live.used,
        attempted,
        remaining: limit.saturating_sub(live.used),
        window,
        // Whoever is refused may wait for either.
        reset_after: retry_after.or_else(|| log.nth(live, 0).map(wait)).unwrap_or_default(),
        full_after: log.newest(live).map(wait).unwrap_or_default(),
        retry_after,
    }
}

/// Moves hits that were stamped by a clock that was wrong to the latest stamp that a hit at `now` can have. They count
/// for one window from here on, and not until the clock gets to where it was.
fn cut(window: Duration, limit: u64, cell: &mut Cell, now: Timestamp) {
    let Cell::Log(log, _) = cell else { return };
    let latest = sub_buckets::stamp(limit, window, now);
    if log.last().is_some_and(|last| last > latest.plus(tolerance(window))) {
        log.cut(latest, window);
    }
}

/// Counts the hits, or gives them back; nothing is kept that does not count at `now`.
fn apply(window: Duration, limit: u64, cell: &mut Cell, live: Live, hits: Hits, now: Timestamp) {
    if !matches!(cell, Cell::Log(..)) {
        *cell = Cell::Log(Box::default(), Worth::NOTHING);
    }
    let Cell::Log(log, _) = cell else { return };
    log.forget_dead(live);
    match hits {
        Hits::Look => {}
        Hits::Refund(n) => log.take_newest(n.get(), window),
        Hits::Charge(n) => {
            // What a higher limit admitted before a reload is kept, for a reload may restore that limit.
            let most = limit.saturating_mul(2).saturating_add(1).max(live.used);
            let added = n.get().min(most);
            log.drop_oldest(added.saturating_sub(most - live.used));
            log.push(sub_buckets::stamp(limit, window, now), added, window);
        }
    }
    if log.is_empty() {
        *cell = Cell::Empty;
    }
}

fn written(cell: &Cell) -> Option<&Log> {
    match cell {
        Cell::Log(log, _) => Some(log),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::algorithm::cell::tests::check_bytes;
    use crate::algorithm::tests::Sample;
    use crate::algorithm::{Algorithm, Cell, Commit, Log, Worth};
    use crate::model::{Hits, Timestamp};

    pub(in crate::algorithm) const SAMPLES: &[Sample] = &[Sample {
        name: "sliding window",
        make: |of, _| Algorithm::sliding_window(of.length()),
        model: |model, of, now| model.sliding(of.limit, of.window, now),
        most: |of, within| (within < of.window).then_some(of.limit),
        shift: |of| if of.limit > 1_024 { of.window.div_ceil(60) } else { 1 },
        holds: |of| of.limit,
    }];

    const MINUTE: Algorithm = Algorithm::sliding_window(Duration::from_secs(60));

    #[test]
    fn its_bytes_are_what_they_always_were() {
        let mut log = Log::default();
        log.restore(Timestamp::from_nanos(3), 1, Timestamp::from_secs(1));
        log.restore(Timestamp::from_nanos(5), 9, Timestamp::from_secs(1));
        let cell = Cell::Log(Box::new(log), Worth::from_byte(1));
        check_bytes(&cell, &[4, 1, 0x80, 0x94, 0xeb, 0xdc, 0x03, 2, 6, 5, 9]);
    }

    #[test]
    fn counting_refused_hits_keeps_twice_the_limit_and_one() {
        let mut cell = Cell::default();
        for (nanos, hits) in (0..100).map(|nanos| (nanos, Hits::ONE)).chain([(100, Hits::charge(u64::MAX))]) {
            let out = MINUTE.step(3, &mut cell, hits, Commit::Always, Timestamp::from_nanos(nanos));
            assert_eq!(out.used, (nanos + 1).min(7));
        }
    }

    #[test]
    fn a_lowered_limit_keeps_what_was_counted_under_the_higher() {
        let mut cell = Cell::default();
        MINUTE.step(2_000, &mut cell, Hits::charge(1_500), Commit::IfAdmitted, Timestamp::EPOCH);
        for (limit, used, admitted) in [(10, 1_500, false), (2_000, 1_501, true)] {
            let out = MINUTE.step(limit, &mut cell, Hits::ONE, Commit::Always, Timestamp::from_secs(1));
            assert_eq!((out.used, out.admitted), (used, admitted), "{limit}");
        }
    }

    #[test]
    fn crossing_from_sub_buckets_to_the_exact_log_forgets_nothing() {
        let mut cell = Cell::default();
        for (secs, limit, remaining) in [(0, 1_025, 1_024), (1, 1_024, 1_022), (2, 1_025, 1_022)] {
            let out =
                MINUTE.step(limit, &mut cell, Hits::ONE, Commit::IfAdmitted, Timestamp::from_secs(secs));
            assert_eq!(out.remaining, remaining, "{secs}s");
        }
    }
}
