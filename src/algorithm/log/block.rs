//! Hits that follow each other, each in as few bytes as the longest of them needs.

use crate::model::Timestamp;

/// The most bytes of one block: whenever an entry leaves at its front, the others are moved there.
const LARGEST: usize = 1_024;
/// A block of fewer entries is written anew in longer ones rather than followed by another.
const FEW: usize = LARGEST / (2 * size_of::<u64>());
/// The least and the most bytes that are set aside at once for more entries.
const ROOM: (usize, usize) = (8, 80);

/// Entries of a log, oldest first: of each, how much later than `base` it is stamped and how many hits it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// No later than the first stamp.
    base: Timestamp,
    /// Hits of all entries.
    hits: u64,
    /// Little-endian.
    bytes: Vec<u8>,
    /// Bytes of a stamp, 1 to 8, and none before there is one.
    of_stamp: u8,
    /// Bytes of the number of hits: 0 to 8. With none, every entry is a single hit.
    of_count: u8,
}

impl Block {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().checked_div(self.of_entry()).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Hits of all entries.
    pub(super) fn hits(&self) -> u64 {
        self.hits
    }

    /// Bytes that are allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The stamp of the entry `at`.
    pub(super) fn stamp(&self, at: usize) -> Timestamp {
        let offset = self.number(at * self.of_entry(), self.of_stamp);
        Timestamp::from_nanos(self.base.as_nanos().saturating_add(offset))
    }

    /// The stamp of the last entry.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.len().checked_sub(1).map(|last| self.stamp(last))
    }

    /// The hits of the entry `at`, never zero.
    pub(super) fn count(&self, at: usize) -> u64 {
        if self.of_count == 0 {
            return 1;
        }
        self.number(at * self.of_entry() + usize::from(self.of_stamp), self.of_count)
    }

    /// The hits of the first `entries`.
    pub(super) fn hits_before(&self, entries: usize) -> u64 {
        if self.of_count == 0 {
            return entries as u64;
        }
        (0..entries).map(|at| self.count(at)).sum()
    }

    /// How many entries at the front are stamped so that `is_before`.
    pub(super) fn partition_point(&self, is_before: impl Fn(Timestamp) -> bool) -> usize {
        let (mut before, mut after) = (0, self.len());
        while before < after {
            let middle = before.midpoint(after);
            if is_before(self.stamp(middle)) { before = middle + 1 } else { after = middle }
        }
        before
    }

    /// Which entry the `nth` hit belongs to, counted from the entry `from`.
    pub(super) fn entry_of(&self, mut nth: u64, from: usize) -> Option<usize> {
        if self.of_count == 0 {
            return usize::try_from(nth)
                .ok()
                .and_then(|nth| from.checked_add(nth))
                .filter(|&at| at < self.len());
        }
        (from..self.len()).find(|&at| {
            let count = self.count(at);
            let found = nth < count;
            nth = nth.saturating_sub(count);
            found
        })
    }

    /// Adds an entry that is stamped no earlier than the last. Tells whether there was room for it.
    pub(super) fn push(&mut self, stamp: Timestamp, hits: u64) -> bool {
        if self.is_empty() {
            self.base = stamp;
        }
        if !self.has_room(length(self.offset(stamp)).max(1), length_of_count(hits)) {
            return false;
        }
        let offset = self.offset(stamp);
        let more = self.of_entry();
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact((self.bytes.len() / 4).clamp(ROOM.0.max(more), ROOM.1));
        }
        self.bytes.extend_from_slice(&offset.to_le_bytes()[..usize::from(self.of_stamp)]);
        self.bytes.extend_from_slice(&hits.to_le_bytes()[..usize::from(self.of_count)]);
        self.hits += hits;
        true
    }

    /// Gives the last entry `hits` hits. Tells whether there was room for as many.
    pub(super) fn set_last(&mut self, hits: u64) -> bool {
        let Some(last) = self.len().checked_sub(1) else { return false };
        // A number that takes no more bytes needs no room.
        if length_of_count(hits) > self.of_count && !self.has_room(self.of_stamp, length_of_count(hits)) {
            return false;
        }
        self.set(last, hits);
        true
    }

    /// Gives the entry `at` `hits` hits, no more than it has.
    pub(super) fn lower(&mut self, at: usize, hits: u64) {
        if at < self.len() {
            self.set(at, hits);
        }
    }

    pub(super) fn pop(&mut self) {
        if let Some(last) = self.len().checked_sub(1) {
            self.hits -= self.count(last);
            self.bytes.truncate(last * self.of_entry());
            self.fit(2 * ROOM.1);
        }
    }

    /// Removes the first `entries`.
    pub(super) fn drop_first(&mut self, entries: usize) {
        if entries > 0 {
            self.hits -= self.hits_before(entries);
            self.bytes.drain(..entries * self.of_entry());
            self.fit(2 * ROOM.1);
        }
    }

    /// Gives room back that is more than `most` bytes.
    pub(super) fn fit(&mut self, most: usize) {
        if self.bytes.capacity() - self.bytes.len() > most {
            self.bytes.shrink_to(self.bytes.len() + most / 2);
        }
    }

    fn offset(&self, stamp: Timestamp) -> u64 {
        stamp.as_nanos().saturating_sub(self.base.as_nanos())
    }

    fn of_entry(&self) -> usize {
        usize::from(self.of_stamp) + usize::from(self.of_count)
    }

    /// Whether there can be one more entry of such lengths. Entries are made as long if there are few.
    fn has_room(&mut self, of_stamp: u8, of_count: u8) -> bool {
        let longer = (self.of_stamp.max(of_stamp), self.of_count.max(of_count));
        if longer == (self.of_stamp, self.of_count) {
            return self.bytes.len() + self.of_entry() <= LARGEST;
        }
        if self.len() >= FEW {
            return false;
        }
        let mut new = Self { of_stamp: longer.0, of_count: longer.1, ..Self::default() };
        new.bytes.reserve_exact((self.len() + 1) * new.of_entry());
        for at in 0..self.len() {
            // The first stamp becomes the base, which makes none longer.
            new.push(self.stamp(at), self.count(at));
        }
        if self.is_empty() {
            new.base = self.base;
        }
        *self = new;
        true
    }

    fn set(&mut self, at: usize, hits: u64) {
        self.hits = self.hits - self.count(at) + hits;
        let from = at * self.of_entry() + usize::from(self.of_stamp);
        let length = usize::from(self.of_count);
        self.bytes[from..from + length].copy_from_slice(&hits.to_le_bytes()[..length]);
    }

    /// The number of `length` bytes at `at`.
    fn number(&self, at: usize, length: u8) -> u64 {
        // A whole word is quicker to read, and there is one but at the end.
        if let Some(word) = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let unused = 64 - 8 * u32::from(length.clamp(1, 8));
            return u64::from_le_bytes(*word) << unused >> unused;
        }
        let bytes = &self.bytes[at..at + usize::from(length)];
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// How many bytes a number takes.
fn length(number: u64) -> u8 {
    u8::try_from(number.checked_ilog2().map_or(0, |bit| bit / 8 + 1)).unwrap_or(8)
}

/// How many bytes the number of hits of an entry takes.
fn length_of_count(hits: u64) -> u8 {
    if hits == 1 { 0 } else { length(hits) }
}
