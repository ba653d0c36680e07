//! The hits of a sliding window, oldest first.

mod block;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

use std::iter::once;
use std::mem;
use std::time::Duration;

use self::block::Block;
use crate::model::Timestamp;

/// The length of the buffer is a multiple of as many bytes, as is what an allocator gives.
const STEP: usize = 16;

/// Hits with their stamps, to the nanosecond.
///
/// Hits that share a stamp share an entry. Entries are kept in blocks, in as few bytes as those of their block need:
/// 600 hits spread over an hour take less than 6 bytes each, all included, and a single hit takes no heap at all.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The entries of all blocks, one after the other: room that old entries left, the entries, room for new ones.
    bytes: Box<[u8]>,
    /// All blocks but the newest. None is empty.
    older: Box<[Block]>,
    /// The block that entries are added to; empty only when the log is.
    newest: Block,
    /// Hits that were ever added and not refunded, dropped or not; modulo 2^64.
    ever: u64,
    /// When the newest hit leaves, under the window it was counted by.
    until: Timestamp,
}

/// The part of a log that counts at some time, under some window: its newest hits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Live {
    /// Hits that count.
    pub(super) used: u64,
}

/// An entry of a log.
#[derive(Clone, Copy, Debug)]
struct Place {
    block: usize,
    /// Which entry of the block.
    entry: usize,
    /// Hits of all entries before.
    before: u64,
}

impl Log {
    /// When nothing in the log counts any more.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Bytes that it has allocated.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.older)
    }

    /// What counts at `now`; stamps later than `now` do.
    pub(super) fn live(&self, window: Duration, now: Timestamp) -> Live {
        let dead = latest_dead(window, now).map_or(0, |latest| self.hits_until(latest));
        Live { used: self.total() - dead }
    }

    /// All of it, as it is when nothing in it is too old to count.
    pub(super) fn all(&self) -> Live {
        Live { used: self.total() }
    }

    /// The stamp of a live hit, counted from the oldest, which is the 0th.
    pub(super) fn nth(&self, live: Live, nth: u64) -> Option<Timestamp> {
        if nth >= live.used {
            return None;
        }
        let place = self.place_of(self.total() - live.used + nth);
        Some(self.block(place.block).stamp(&self.bytes, place.entry))
    }

    /// The stamp of the newest live hit.
    pub(super) fn newest(&self, live: Live) -> Option<Timestamp> {
        if live.used == 0 { None } else { self.last() }
    }

    /// The stamp of the newest hit, be it live or not.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.newest.newest(&self.bytes)
    }

    /// Forgets what no longer counts.
    pub(super) fn forget_dead(&mut self, live: Live) {
        self.drop_oldest(self.total() - live.used);
    }

    /// Adds `hits` at `stamp`, or at the newest stamp if that is later: then the clock stepped back, and the hits stay
    /// no shorter than they would have without. There are never more than `u64::MAX` hits.
    pub(super) fn push(&mut self, stamp: Timestamp, hits: u64, window: Duration) {
        let hits = hits.min(u64::MAX - self.total());
        if hits == 0 {
            return;
        }
        let stamp = self.last().map_or(stamp, |last| last.max(stamp));
        if self.last() == Some(stamp) {
            self.add_to_last(stamp, hits);
        } else {
            self.add(stamp, hits);
        }
        self.until = stamp.plus(window);
    }

    /// Adds hits that are read back from where they were kept: later than all others, in a log that ends at `until`.
    pub fn restore(&mut self, stamp: Timestamp, hits: u64, until: Timestamp) {
        self.push(stamp, hits, Duration::ZERO);
        self.until = until;
    }

    /// Moves the hits that are stamped later than `latest` there.
    pub(super) fn cut(&mut self, latest: Timestamp, window: Duration) {
        let hits = self.total() - self.hits_until(latest);
        self.take_newest(hits, window);
        self.push(latest, hits, window);
    }

    /// Removes the newest hits, as far as there are any.
    pub(super) fn take_newest(&mut self, mut hits: u64, window: Duration) {
        while hits > 0 && !self.is_empty() {
            let count = self.newest.newest_count(&self.bytes);
            let taken = count.min(hits);
            hits -= taken;
            self.ever = self.ever.wrapping_sub(taken);
            if taken < count {
                self.newest.set_newest_count(&mut self.bytes, count - taken);
            } else {
                self.pop();
            }
        }
        self.fit();
        self.until = self.last().map_or(Timestamp::EPOCH, |newest| newest.plus(window));
    }

    /// Removes the oldest hits, as far as there are any.
    pub(super) fn drop_oldest(&mut self, hits: u64) {
        if hits == 0 || self.is_empty() {
            return;
        }
        if hits >= self.total() {
            self.clear();
            return;
        }
        let place = self.place_of(hits);
        if place.block > 0 {
            let mut older = mem::take(&mut self.older).into_vec();
            older.drain(..place.block);
            self.older = older.into_boxed_slice();
        }
        let front = self.older.first_mut().unwrap_or(&mut self.newest);
        front.drop_first(&self.bytes, place.entry);
        if hits > place.before {
            front.drop_hits(&mut self.bytes, hits - place.before);
        }
        self.fit();
    }

    /// All hits of all entries.
    fn total(&self) -> u64 {
        self.ever.wrapping_sub(self.front().before)
    }

    /// Stamps, and the hits of each.
    pub fn entries(&self) -> impl Iterator<Item = (Timestamp, u64)> {
        let blocks = self.older.iter().chain(once(&self.newest));
        blocks.flat_map(|block| {
            (0..block.len()).map(|at| (block.stamp(&self.bytes, at), block.count(&self.bytes, at)))
        })
    }

    fn front(&self) -> &Block {
        self.older.first().unwrap_or(&self.newest)
    }

    fn block(&self, at: usize) -> &Block {
        self.older.get(at).unwrap_or(&self.newest)
    }

    /// Hits of all blocks before that one.
    fn hits_before(&self, block: &Block) -> u64 {
        block.before.wrapping_sub(self.front().before)
    }

    /// The last of the blocks at the front that are so.
    fn last_block(&self, is_so: impl Fn(&Block) -> bool) -> Option<usize> {
        if is_so(&self.newest) {
            return Some(self.older.len());
        }
        self.older.partition_point(is_so).checked_sub(1)
    }

    /// Hits that are stamped `latest` or earlier.
    fn hits_until(&self, latest: Timestamp) -> u64 {
        if self.front().oldest(&self.bytes).is_none_or(|oldest| oldest > latest) {
            return 0;
        }
        let block = self.block(self.last_block(|block| !block.is_after(latest)).unwrap_or_default());
        self.hits_before(block) + block.hits_of_first(&self.bytes, block.until(&self.bytes, latest))
    }

    /// The entry of a hit, counted from the oldest, which is the 0th. There must be such a hit.
    fn place_of(&self, hit: u64) -> Place {
        let at = self.last_block(|block| self.hits_before(block) <= hit).unwrap_or_default();
        let block = self.block(at);
        let before = self.hits_before(block);
        let (entry, within) = block.entry_of(&self.bytes, hit - before);
        Place { block: at, entry, before: before + within }
    }

    fn clear(&mut self) {
        *self = Self { until: self.until, ..Self::default() };
    }

    /// Adds hits to the last entry, which is stamped `stamp`.
    fn add_to_last(&mut self, stamp: Timestamp, hits: u64) {
        let count = self.newest.newest_count(&self.bytes);
        if self.newest.set_newest_count(&mut self.bytes, count + hits) {
            self.ever = self.ever.wrapping_add(hits);
            return;
        }
        self.ever = self.ever.wrapping_sub(count);
        self.pop();
        self.add(stamp, count + hits);
    }

    /// Adds an entry that is stamped later than all others.
    fn add(&mut self, stamp: Timestamp, hits: u64) {
        let full = !self.newest.is_empty() && !self.newest.takes(stamp, hits);
        if full {
            let mut older = mem::take(&mut self.older).into_vec();
            older.reserve_exact(1);
            older.push(self.newest);
            self.older = older.into_boxed_slice();
        }
        if full || self.newest.is_empty() {
            self.newest = Block::new(stamp, self.ever, self.newest.end());
        }
        let format = self.newest.format_for(&self.bytes, stamp, hits);
        self.make_room(self.newest.room_for(format));
        self.newest.push(&mut self.bytes, format, stamp, hits);
        self.ever = self.ever.wrapping_add(hits);
    }

    /// Removes the last entry.
    fn pop(&mut self) {
        self.newest.pop();
        if self.newest.is_empty() {
            let mut older = mem::take(&mut self.older).into_vec();
            if let Some(last) = older.pop() {
                self.newest = last;
            }
            self.older = older.into_boxed_slice();
        }
    }

    /// Bytes of all entries.
    fn len(&self) -> usize {
        self.newest.end() - self.front().start
    }

    /// Makes room for as many bytes after the last entry.
    fn make_room(&mut self, bytes: usize) {
        if self.newest.end() + bytes <= self.bytes.len() {
            return;
        }
        let len = self.len() + bytes;
        if self.bytes.len() < len + spare(len) / 2 {
            self.move_to_front(len + spare(len));
        } else {
            self.move_to_front(self.bytes.len());
        }
    }

    /// Gives back room that is more than some.
    fn fit(&mut self) {
        if self.is_empty() {
            self.clear();
            return;
        }
        let len = self.len();
        if self.bytes.len() - len > 2 * (spare(len) + STEP) {
            self.move_to_front(len + spare(len));
        }
    }

    /// Moves all entries to the front of a buffer that is as long.
    fn move_to_front(&mut self, length: usize) {
        let (start, end) = (self.front().start, self.newest.end());
        if start > 0 {
            self.bytes.copy_within(start..end, 0);
            for block in self.older.iter_mut().chain(once(&mut self.newest)) {
                block.start -= start;
            }
        }
        let length = length.next_multiple_of(STEP);
        if length != self.bytes.len() {
            let mut bytes = mem::take(&mut self.bytes).into_vec();
            bytes.reserve_exact(length.saturating_sub(bytes.len()));
            bytes.resize(length, 0);
            self.bytes = bytes.into_boxed_slice();
        }
    }
}

/// How blocks and bytes are laid out is no part of what a log says.
impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until && self.entries().eq(other.entries())
    }
}

impl Eq for Log {}

/// The latest stamp that no longer counts at `now`.
fn latest_dead(window: Duration, now: Timestamp) -> Option<Timestamp> {
    if window.is_zero() {
        return Some(Timestamp::from_nanos(u64::MAX));
    }
    let window = u64::try_from(window.as_nanos()).ok()?;
    now.as_nanos().checked_sub(window).map(Timestamp::from_nanos)
}

/// Bytes to set aside for more entries beside `len` bytes of them: so few that they do not weigh, and so many that
/// entries are moved rarely enough not to be noticed.
fn spare(len: usize) -> usize {
    len / 32 / STEP * STEP
}
