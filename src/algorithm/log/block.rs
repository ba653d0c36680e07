//! Entries that follow each other, each in as few bytes as the longest of them needs.
//!
//! All entries of a block are equally long, so any of them is found at once. A delta to the entry before would be no
//! shorter where it counts: at 600 hits an hour it takes 5 bytes, as does the offset to the block's base.

use crate::model::Timestamp;

/// The most entries of a block: finding a hit among entries of several hits adds up as many counts.
const MOST: u16 = 128;

/// Below as many entries a block is written anew with longer ones, rather than followed by another block: one byte
/// more for each of them is less than another block takes.
const FEW: u16 = 32;

/// Where some entries are in the buffer of a log, and how they are written there: of each how much later than `base`
/// it is stamped, then how many hits it has, both little-endian.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block {
    /// No later than the first stamp, and later than the stamps of all blocks before.
    base: Timestamp,
    /// Hits of all that was ever before it, dropped or not; modulo 2^64.
    pub(super) before: u64,
    /// Its first byte in the buffer.
    pub(super) start: usize,
    entries: u16,
    /// Bytes of a stamp: 0 to 8.
    of_stamp: u8,
    /// Bytes of a number of hits: 0 to 8. With none, each entry is a single hit.
    of_count: u8,
}

/// How the entries of a block are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    base: Timestamp,
    of_stamp: u8,
    of_count: u8,
}

impl Block {
    /// A block without entries, for stamps from `base` on.
    pub(super) fn new(base: Timestamp, before: u64, start: usize) -> Self {
        Self { base, before, start, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.entries)
    }

    /// The byte after its last.
    pub(super) fn end(&self) -> usize {
        self.start_of(self.len())
    }

    /// Whether no stamp can be `latest` or earlier.
    pub(super) fn is_after(&self, latest: Timestamp) -> bool {
        self.base > latest
    }

    /// The stamp of the entry `at`.
    pub(super) fn stamp(&self, bytes: &[u8], at: usize) -> Timestamp {
        let offset = number(bytes, self.start_of(at), self.of_stamp);
        Timestamp::from_nanos(self.base.as_nanos().saturating_add(offset))
    }

    /// The hits of the entry `at`, never zero.
    pub(super) fn count(&self, bytes: &[u8], at: usize) -> u64 {
        if self.of_count == 0 {
            return 1;
        }
        number(bytes, self.start_of(at) + usize::from(self.of_stamp), self.of_count)
    }

    /// The stamp of the first entry.
    pub(super) fn oldest(&self, bytes: &[u8]) -> Option<Timestamp> {
        if self.is_empty() { None } else { Some(self.stamp(bytes, 0)) }
    }

    /// The stamp of the last entry.
    pub(super) fn newest(&self, bytes: &[u8]) -> Option<Timestamp> {
        self.len().checked_sub(1).map(|last| self.stamp(bytes, last))
    }

    /// The hits of the last entry; zero when there is none.
    pub(super) fn newest_count(&self, bytes: &[u8]) -> u64 {
        self.len().checked_sub(1).map_or(0, |last| self.count(bytes, last))
    }

    /// The hits of the first `entries`.
    pub(super) fn hits_of_first(&self, bytes: &[u8], entries: usize) -> u64 {
        if self.of_count == 0 {
            return entries as u64;
        }
        (0..entries).map(|at| self.count(bytes, at)).sum()
    }

    /// How many entries are stamped `latest` or earlier.
    pub(super) fn until(&self, bytes: &[u8], latest: Timestamp) -> usize {
        if self.is_after(latest) {
            return 0;
        }
        let latest = self.offset(latest);
        let (mut until, mut after) = (0, self.len());
        while until < after {
            let middle = until.midpoint(after);
            let offset = number(bytes, self.start_of(middle), self.of_stamp);
            if offset <= latest { until = middle + 1 } else { after = middle }
        }
        until
    }

    /// The entry of the `nth` hit, and the hits of the entries before it. There must be such a hit.
    pub(super) fn entry_of(&self, bytes: &[u8], nth: u64) -> (usize, u64) {
        if self.of_count == 0 {
            return (usize::try_from(nth).unwrap_or(usize::MAX).min(self.len()), nth);
        }
        let mut before = 0;
        for at in 0..self.len() {
            let count = self.count(bytes, at);
            if nth - before < count {
                return (at, before);
            }
            before += count;
        }
        (self.len(), before)
    }

    /// Whether an entry goes here, or into a block of its own.
    pub(super) fn takes(&self, stamp: Timestamp, hits: u64) -> bool {
        let as_it_is = length(self.offset(stamp)) <= self.of_stamp && length_of_count(hits) <= self.of_count;
        self.entries < if as_it_is { MOST } else { FEW }
    }

    /// How the entries must be written so that one more can be, stamped no earlier.
    pub(super) fn format_for(&self, bytes: &[u8], stamp: Timestamp, hits: u64) -> Format {
        // A base that is no earlier than it must be keeps the stamps of a block short from which entries leave.
        let moved = length(self.offset(stamp)) > self.of_stamp && !self.is_empty();
        let base = if moved { self.stamp(bytes, 0) } else { self.base };
        Format {
            base,
            of_stamp: self.of_stamp.max(length(stamp.as_nanos().saturating_sub(base.as_nanos()))),
            of_count: self.of_count.max(length_of_count(hits)),
        }
    }

    /// Bytes that one more entry takes, with what the others take more in that format.
    pub(super) fn room_for(&self, format: Format) -> usize {
        (self.len() + 1) * format.of_entry() - self.len() * self.of_entry()
    }

    /// Adds an entry. Format and room must be for it.
    pub(super) fn push(&mut self, bytes: &mut [u8], format: Format, stamp: Timestamp, hits: u64) {
        let old = *self;
        *self = Self { base: format.base, of_stamp: format.of_stamp, of_count: format.of_count, ..old };
        if self.base != old.base || self.of_entry() != old.of_entry() {
            // No entry gets shorter, so from the last to the first none is written over before it is read.
            for at in (0..old.len()).rev() {
                self.set(bytes, at, old.stamp(bytes, at), old.count(bytes, at));
            }
        }
        self.set(bytes, self.len(), stamp, hits);
        self.entries += 1;
    }

    /// Gives the last entry `hits` hits. Returns whether they can be written.
    pub(super) fn set_newest_count(&self, bytes: &mut [u8], hits: u64) -> bool {
        let Some(last) = self.len().checked_sub(1) else { return false };
        let fits = length_of_count(hits) <= self.of_count;
        if fits {
            self.set_count(bytes, last, hits);
        }
        fits
    }

    /// Removes the last entry.
    pub(super) fn pop(&mut self) {
        self.entries = self.entries.saturating_sub(1);
    }

    /// Removes the first `entries`, no more than there are.
    pub(super) fn drop_first(&mut self, bytes: &[u8], entries: usize) {
        self.before = self.before.wrapping_add(self.hits_of_first(bytes, entries));
        self.start = self.start_of(entries);
        self.entries -= u16::try_from(entries).unwrap_or(self.entries);
    }

    /// Removes `hits` of the first entry, fewer than it has.
    pub(super) fn drop_hits(&mut self, bytes: &mut [u8], hits: u64) {
        self.set_count(bytes, 0, self.count(bytes, 0) - hits);
        self.before = self.before.wrapping_add(hits);
    }

    fn offset(&self, stamp: Timestamp) -> u64 {
        stamp.as_nanos().saturating_sub(self.base.as_nanos())
    }

    fn of_entry(&self) -> usize {
        usize::from(self.of_stamp) + usize::from(self.of_count)
    }

    fn start_of(&self, at: usize) -> usize {
        self.start + at * self.of_entry()
    }

    fn set(&self, bytes: &mut [u8], at: usize, stamp: Timestamp, hits: u64) {
        put(bytes, self.start_of(at), self.of_stamp, self.offset(stamp));
        self.set_count(bytes, at, hits);
    }

    fn set_count(&self, bytes: &mut [u8], at: usize, hits: u64) {
        put(bytes, self.start_of(at) + usize::from(self.of_stamp), self.of_count, hits);
    }
}

impl Format {
    fn of_entry(self) -> usize {
        usize::from(self.of_stamp) + usize::from(self.of_count)
    }
}

/// The number of `length` bytes at `at`.
fn number(bytes: &[u8], at: usize, length: u8) -> u64 {
    // A whole word is quicker to read, and there is one but at the end of the buffer.
    if let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let unused = 64 - 8 * u32::from(length.min(8));
        return u64::from_le_bytes(*word) & u64::MAX.checked_shr(unused).unwrap_or(0);
    }
    let bytes = &bytes[at..at + usize::from(length)];
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes the number at `at`, in `length` bytes that it fits in.
fn put(bytes: &mut [u8], at: usize, length: u8, number: u64) {
    let length = usize::from(length.min(8));
    bytes[at..at + length].copy_from_slice(&number.to_le_bytes()[..length]);
}

/// Bytes that a number needs.
fn length(number: u64) -> u8 {
    u8::try_from((u64::BITS - number.leading_zeros()).div_ceil(8)).unwrap_or(8)
}

/// Bytes that a number of hits needs: none for a single hit.
fn length_of_count(hits: u64) -> u8 {
    if hits == 1 { 0 } else { length(hits) }
}
