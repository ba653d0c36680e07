//! The hits of a sliding window, oldest first.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;

/// Hits with their stamps, to the nanosecond.
///
/// Hits that share a stamp share an entry. While every entry is a single hit, as with requests that cost one each, an
/// entry takes 8 bytes: a limit of 120 keeps 1 kB. From the first entry of several hits on it takes 16, until the log
/// runs empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Never falling.
    stamps: VecDeque<Timestamp>,
    /// The hits of each stamp, never zero; none at all while each stamp has one.
    counts: VecDeque<u64>,
    /// All hits of all stamps.
    total: u64,
    /// When the newest hit leaves, under the window it was counted by.
    until: Timestamp,
}

/// The part of a log that counts at some time, under some window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Live {
    /// Hits that count.
    pub(super) used: u64,
    /// Entries before them that no longer do.
    dead: usize,
}

impl Log {
    /// When nothing in the log counts any more.
    pub(super) fn until(&self) -> Timestamp {
        self.until
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Bytes that it has allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Timestamp>() * self.stamps.capacity() + size_of::<u64>() * self.counts.capacity()
    }

    /// What counts at `now`; stamps later than `now` do.
    pub(super) fn live(&self, window: Duration, now: Timestamp) -> Live {
        let dead = self.stamps.partition_point(|stamp| now.since(*stamp) >= window);
        let forgotten: u64 = (0..dead).map(|at| self.count(at)).sum();
        Live { used: self.total - forgotten, dead }
    }

    /// The stamp of a live hit, counted from the oldest, which is the 0th.
    pub(super) fn nth(&self, live: Live, nth: u64) -> Option<Timestamp> {
        if self.counts.is_empty() {
            return self.stamps.get(live.dead.checked_add(usize::try_from(nth).ok()?)?).copied();
        }
        let mut before = 0_u64;
        for at in live.dead..self.stamps.len() {
            before += self.count(at);
            if nth < before {
                return self.stamps.get(at).copied();
            }
        }
        None
    }

    /// The stamp of the newest live hit.
    pub(super) fn newest(&self, live: Live) -> Option<Timestamp> {
        if live.used == 0 { None } else { self.stamps.back().copied() }
    }

    /// The stamp of the newest hit, be it live or not.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.stamps.back().copied()
    }

    /// Forgets what no longer counts.
    pub(super) fn forget_dead(&mut self, live: Live) {
        self.stamps.drain(..live.dead);
        self.counts.drain(..live.dead.min(self.counts.len()));
        self.total = live.used;
    }

    /// Adds `hits` at `stamp`, or at the newest stamp if that is later: then the clock stepped back, and the hits stay
    /// no shorter than they would have without.
    pub(super) fn push(&mut self, stamp: Timestamp, hits: u64, window: Duration) {
        if hits == 0 {
            return;
        }
        let newest = self.stamps.back().copied();
        let shared = newest.is_some_and(|newest| stamp <= newest);
        if (shared || hits > 1) && self.counts.is_empty() {
            self.counts.resize(self.stamps.len(), 1);
        }
        match self.counts.back_mut() {
            Some(count) if shared => *count += hits,
            _ => {
                if hits > 1 || !self.counts.is_empty() {
                    self.counts.push_back(hits);
                }
                self.stamps.push_back(stamp);
            }
        }
        self.total += hits;
        self.until = newest.map_or(stamp, |newest| newest.max(stamp)).plus(window);
    }

    /// Moves the hits that are stamped later than `latest` there.
    pub(super) fn cut(&mut self, latest: Timestamp, window: Duration) {
        let later = self.stamps.partition_point(|stamp| *stamp <= latest);
        let hits = (later..self.stamps.len()).map(|at| self.count(at)).sum();
        self.take_newest(hits, window);
        self.push(latest, hits, window);
    }

    /// Removes the newest hits, as far as there are any.
    pub(super) fn take_newest(&mut self, mut hits: u64, window: Duration) {
        while hits > 0 && !self.is_empty() {
            let count = self.count(self.stamps.len() - 1);
            let taken = count.min(hits);
            hits -= taken;
            self.total -= taken;
            if taken == count {
                self.stamps.pop_back();
                self.counts.pop_back();
            } else if let Some(last) = self.counts.back_mut() {
                *last -= taken;
            }
        }
        self.until = self.stamps.back().map_or(Timestamp::EPOCH, |newest| newest.plus(window));
    }

    /// Removes the oldest hits, as far as there are any.
    pub(super) fn drop_oldest(&mut self, mut hits: u64) {
        while hits > 0 && !self.is_empty() {
            let count = self.count(0);
            let taken = count.min(hits);
            hits -= taken;
            self.total -= taken;
            if taken == count {
                self.stamps.pop_front();
                self.counts.pop_front();
            } else if let Some(first) = self.counts.front_mut() {
                *first -= taken;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.stamps.len()
    }

    fn count(&self, at: usize) -> u64 {
        self.counts.get(at).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Log;
    use crate::model::Timestamp;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn an_entry_of_one_hit_takes_eight_bytes() {
        let mut log = Log::default();
        for secs in 0..120 {
            log.push(at(secs), 1, 3 * MINUTE);
        }
        assert!(log.stamps.capacity() * size_of::<Timestamp>() <= 1_024);
        assert_eq!(log.counts.capacity(), 0);
    }

    #[test]
    fn a_thousand_hits_at_once_are_one_entry() {
        let mut log = Log::default();
        log.push(at(1), 1, MINUTE);
        log.push(at(2), 1_000, MINUTE);
        log.push(at(2), 1, MINUTE);
        log.push(at(3), 1, MINUTE);
        assert_eq!((log.stamps.len(), log.total), (3, 1_003));
        assert_eq!(log.counts, [1, 1_001, 1]);
    }

    #[test]
    fn hits_are_found_removed_and_forgotten_in_order() {
        let mut log = Log::default();
        for (secs, hits) in [(0, 1), (10, 2), (20, 3)] {
            log.push(at(secs), hits, MINUTE);
        }
        let live = log.live(MINUTE, at(60));
        let stamps: Vec<_> = (0..=live.used).map(|nth| log.nth(live, nth)).collect();
        assert_eq!(stamps, [Some(10), Some(10), Some(20), Some(20), Some(20), None].map(|secs| secs.map(at)));

        log.forget_dead(live);
        log.take_newest(1, MINUTE);
        log.drop_oldest(1);
        assert_eq!((log.total, log.stamps.len(), log.until), (3, 2, at(80)));

        log.take_newest(2, MINUTE);
        assert_eq!((log.total, log.until), (1, at(70)));
        log.take_newest(9, MINUTE);
        assert!(log.is_empty() && log.counts.is_empty());
        assert_eq!((log.total, log.until), (0, at(0)));
    }

    #[test]
    fn the_clock_stepping_back_leaves_the_order() {
        let mut log = Log::default();
        log.push(at(9), 1, MINUTE);
        log.push(at(5), 1, MINUTE);
        assert_eq!((log.stamps.len(), log.total, log.until), (1, 2, at(69)));
    }
}
