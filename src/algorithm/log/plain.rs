//! The plain form of a log, a word for each stamp: the model that the compact form is compared with.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;

/// Hits with their stamps, to the nanosecond.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
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

impl Plain {
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

    /// Stamps, and the hits of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Timestamp, u64)> {
        self.stamps.iter().enumerate().map(|(at, stamp)| (*stamp, self.count(at)))
    }

    fn count(&self, at: usize) -> u64 {
        self.counts.get(at).copied().unwrap_or(1)
    }
}
