//! Sliding windows for large limits: sixty sub-buckets instead of a stamp for each hit.
//!
//! A bucket counts in full until its last instant is as old as the window, so each hit counts for at least the window
//! and at most a sixtieth longer. To weigh the oldest bucket by its share of the window would look more precise and
//! lose the bound: nearly twice the limit could pass.
//!
//! A bucket is an entry of the [`Log`](super::Log) stamped with the bucket's last instant, so a limit that moves
//! across the threshold in a reload keeps its counts.

use std::time::Duration;

use crate::model::Timestamp;

/// The largest limit whose hits keep their own stamps: less than 6 kB for requests that cost one each.
const EXACT_UP_TO: u64 = 1_024;

/// Sub-buckets of a window.
const BUCKETS: u128 = 60;

/// The stamp that a hit at `now` is kept by, never earlier than `now`.
pub(super) fn stamp(limit: u64, window: Duration, now: Timestamp) -> Timestamp {
    if limit <= EXACT_UP_TO {
        return now;
    }
    let length = u64::try_from(window.as_nanos().div_ceil(BUCKETS)).unwrap_or(u64::MAX).max(1);
    let start = now.as_nanos() - now.as_nanos() % length;
    Timestamp::from_nanos(start.saturating_add(length - 1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::stamp;
    use crate::algorithm::{Algorithm, Cell, Commit};
    use crate::model::{Hits, Timestamp};

    #[test]
    fn only_limits_above_the_threshold_are_stamped_by_the_bucket() {
        let minute = Duration::from_secs(60);
        let now = Timestamp::from_nanos(1_500_000_000);
        for (limit, window, stamped) in [
            (1_024, minute, 1_500_000_000),
            (1_025, minute, 1_999_999_999),
            (u64::MAX, Duration::from_nanos(1), 1_500_000_000),
            (u64::MAX, Duration::MAX, u64::MAX - 1),
        ] {
            assert_eq!(stamp(limit, window, now).as_nanos(), stamped, "{limit} per {window:?}");
        }
        assert_eq!(stamp(u64::MAX, minute, Timestamp::from_nanos(u64::MAX)).as_nanos(), u64::MAX);
    }

    #[test]
    fn a_hit_leaves_at_most_a_sixtieth_of_the_window_late() {
        let algorithm = Algorithm::sliding_window(Duration::from_secs(60));
        let mut cell = Cell::default();
        let first = algorithm.step(
            2_000,
            &mut cell,
            Hits::charge(2_000),
            Commit::IfAdmitted,
            Timestamp::from_secs(30),
        );
        assert_eq!(first.reset_after, Duration::from_nanos(60_999_999_999));
        let refused =
            algorithm.step(2_000, &mut cell, Hits::ONE, Commit::IfAdmitted, Timestamp::from_secs(90));
        assert_eq!(refused.retry_after, Some(Duration::from_nanos(999_999_999)));
    }

    #[test]
    fn an_aging_bucket_gives_nothing_back_before_its_last_hit_is_old() {
        let algorithm = Algorithm::sliding_window(Duration::from_secs(60));
        let mut cell = Cell::default();
        // All hits at the end of the first bucket: to weigh it would let most of the limit pass again at 60.9 s.
        let passed = |millis: u64, cell: &mut Cell| {
            let now = Timestamp::from_nanos(millis * 1_000_000);
            (0..2_000)
                .filter(|_| algorithm.step(2_000, cell, Hits::ONE, Commit::IfAdmitted, now).admitted)
                .count()
        };
        assert_eq!(passed(999, &mut cell), 2_000);
        for (millis, expected) in [(1_000, 0), (60_000, 0), (60_500, 0), (60_998, 0), (61_000, 2_000)] {
            assert_eq!(passed(millis, &mut cell), expected, "{millis} ms");
        }
    }

    #[test]
    fn a_limit_of_millions_keeps_sixty_two_buckets() {
        let algorithm = Algorithm::sliding_window(Duration::from_secs(60));
        let mut cell = Cell::default();
        for millis in 0..300_000_u64 {
            let now = Timestamp::from_nanos(millis * 1_000_000);
            algorithm.step(1_000_000, &mut cell, Hits::ONE, Commit::IfAdmitted, now);
        }
        let Cell::Log(log, _) = cell else { panic!("{cell:?}") };
        let entries = log.entries().count();
        assert!(entries <= 62, "{entries}");
    }
}
