//! Sliding windows: in no interval as long as the window, wherever it begins, does more than the limit pass.
//!
//! Every hit is kept with its stamp until it is as old as the window. That makes both times of an answer exact: the
//! first hit leaves with the oldest, and the limit is whole again with the newest. For limits above 1,024 the stamps
//! are those of [`sub_buckets`], later than the hits and never earlier; all else is the same.

use std::time::Duration;

use super::log::Live;
use super::{Cell, Commit, Log, Worth, judge, sub_buckets, tolerance};
use crate::model::{Hits, Outcome, Timestamp};

/// At most `limit` hits in any interval as long as `window`.
///
/// Where refused hits are counted, a log keeps the newest 2 × limit + 1 of all hits and `used` rises no further, so an
/// attack does not fill the memory. Who is admitted, and when, is decided by fewer than those.
pub(super) fn step(
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

    use crate::algorithm::{Algorithm, Cell, Commit};
    use crate::model::{Hits, Timestamp};

    const MINUTE: Algorithm = Algorithm::Sliding { window: Duration::from_secs(60) };

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
