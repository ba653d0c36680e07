//! The hits of a sliding window, oldest first.

mod block;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::iter::once;
use std::time::Duration;

use self::block::Block;
use crate::model::Timestamp;

/// Hits with their stamps, to the nanosecond.
///
/// Hits that share a stamp share an entry. Stamps are kept as offsets, in as few bytes as those beside them need: with 600
/// hits an hour a hit takes less than six bytes, all included.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// All blocks but the newest. None is empty.
    older: VecDeque<Block>,
    /// Where hits are added; empty only when the log is.
    newest: Block,
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
        self.newest.is_empty()
    }

    /// Bytes that it has allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Block>() * self.older.capacity() + self.blocks().map(Block::heap_bytes).sum::<usize>()
    }

    /// What counts at `now`; stamps later than `now` do.
    pub(super) fn live(&self, window: Duration, now: Timestamp) -> Live {
        let is_dead = |stamp| now.since(stamp) >= window;
        let (mut dead, mut forgotten) = (0, 0);
        for block in self.blocks() {
            if block.newest().is_some_and(is_dead) {
                dead += block.len();
                forgotten += block.hits();
                continue;
            }
            let first = block.partition_point(is_dead);
            dead += first;
            forgotten += block.hits_before(first);
            break;
        }
        Live { used: self.total - forgotten, dead }
    }

    /// All of it, as when what no longer counts was just forgotten.
    pub(super) fn all(&self) -> Live {
        Live { used: self.total, dead: 0 }
    }

    /// The stamp of a live hit, counted from the oldest, which is the 0th.
    pub(super) fn nth(&self, live: Live, mut nth: u64) -> Option<Timestamp> {
        let mut dead = live.dead;
        for block in self.blocks() {
            if dead >= block.len() {
                dead -= block.len();
                continue;
            }
            let hits = block.hits() - block.hits_before(dead);
            if nth < hits {
                return block.entry_of(nth, dead).map(|at| block.stamp(at));
            }
            nth -= hits;
            dead = 0;
        }
        None
    }

    /// The stamp of the newest live hit.
    pub(super) fn newest(&self, live: Live) -> Option<Timestamp> {
        if live.used == 0 { None } else { self.last() }
    }

    /// The stamp of the newest hit, be it live or not.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.newest.newest()
    }

    /// Forgets what no longer counts.
    pub(super) fn forget_dead(&mut self, live: Live) {
        let mut dead = live.dead;
        while let Some(oldest) = self.older.front_mut().filter(|_| dead > 0) {
            if dead < oldest.len() {
                oldest.drop_first(dead);
                dead = 0;
            } else {
                dead -= oldest.len();
                self.older.pop_front();
            }
        }
        self.newest.drop_first(dead);
        self.total = live.used;
    }

    /// Adds `hits` at `stamp`, or at the newest stamp if that is later: then the clock stepped back, and the hits stay
    /// no shorter than they would have without.
    pub(super) fn push(&mut self, stamp: Timestamp, hits: u64, window: Duration) {
        if hits == 0 {
            return;
        }
        let stamp = self.last().map_or(stamp, |last| last.max(stamp));
        let before = if self.last() == Some(stamp) { self.newest.count(self.newest.len() - 1) } else { 0 };
        if before > 0 && !self.newest.set_last(before + hits) {
            self.newest.pop();
            self.add(stamp, before + hits);
        } else if before == 0 {
            self.add(stamp, hits);
        }
        self.total += hits;
        self.until = stamp.plus(window);
    }

    /// Moves the hits that are stamped later than `latest` there.
    pub(super) fn cut(&mut self, latest: Timestamp, window: Duration) {
        let mut hits = 0;
        for block in once(&self.newest).chain(self.older.iter().rev()) {
            let first = block.partition_point(|stamp| stamp <= latest);
            hits += block.hits() - block.hits_before(first);
            if first > 0 {
                break;
            }
        }
        self.take_newest(hits, window);
        self.push(latest, hits, window);
    }

    /// Removes the newest hits, as far as there are any.
    pub(super) fn take_newest(&mut self, mut hits: u64, window: Duration) {
        while let Some(last) = self.newest.len().checked_sub(1).filter(|_| hits > 0) {
            let count = self.newest.count(last);
            let taken = count.min(hits);
            hits -= taken;
            self.total -= taken;
            if taken < count {
                self.newest.lower(last, count - taken);
                continue;
            }
            self.newest.pop();
            if self.newest.is_empty() {
                self.newest = self.older.pop_back().unwrap_or_default();
            }
        }
        self.until = self.last().map_or(Timestamp::EPOCH, |newest| newest.plus(window));
    }

    /// Removes the oldest hits, as far as there are any.
    pub(super) fn drop_oldest(&mut self, mut hits: u64) {
        while hits > 0 && !self.is_empty() {
            let oldest = self.older.front_mut().unwrap_or(&mut self.newest);
            let count = oldest.count(0);
            let taken = count.min(hits);
            hits -= taken;
            self.total -= taken;
            if taken < count {
                oldest.lower(0, count - taken);
                continue;
            }
            oldest.drop_first(1);
            if oldest.is_empty() {
                self.older.pop_front();
            }
        }
    }

    /// Adds an entry that is stamped later than all others.
    fn add(&mut self, stamp: Timestamp, hits: u64) {
        if self.newest.push(stamp, hits) {
            return;
        }
        let mut full = std::mem::take(&mut self.newest);
        full.fit(0);
        if !full.is_empty() {
            // Twice the room each time would be half of it unused.
            self.older.reserve_exact(1);
            self.older.push_back(full);
        }
        self.newest.push(stamp, hits);
    }

    /// Oldest first.
    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.older.iter().chain(once(&self.newest))
    }

    /// Stamps, and the hits of each.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Timestamp, u64)> + '_ {
        self.blocks().flat_map(|block| (0..block.len()).map(|at| (block.stamp(at), block.count(at))))
    }
}

/// How entries are divided into blocks is no part of what a log says.
impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until && self.entries().eq(other.entries())
    }
}

impl Eq for Log {}
