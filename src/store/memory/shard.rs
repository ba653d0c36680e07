//! Counters behind one lock.

use std::cmp::Ordering;

use hashbrown::HashTable;

use crate::algorithm::{Cell, Worth};
use crate::model::{CellKey, Timestamp};

/// What makes room at once: one counter in so many. Were it a single one, each new counter would look through all.
const PART: usize = 8;

/// How many counters were forgotten, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    /// They still counted, and made room for others.
    pub(super) evicted: u64,
    /// Their windows had ended.
    pub(super) expired: u64,
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<(CellKey, Cell)>,
    /// Bytes of the table. To ask it each time costs more than a charge does.
    table_bytes: usize,
    /// Bytes that the counters keep elsewhere.
    elsewhere: usize,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that its counters take, and the room that is kept for more.
    pub(super) fn bytes(&self) -> usize {
        self.table_bytes + self.elsewhere
    }

    /// Whether one more counter makes the table grow, to twice its size.
    pub(super) fn is_to_grow(&self) -> bool {
        self.table.len() == self.table.capacity()
    }

    /// Bytes of the table, which is how much it grows by.
    pub(super) fn table_bytes(&self) -> usize {
        self.table_bytes
    }

    /// Lends a counter that is kept.
    pub(super) fn lend<T>(&mut self, key: &CellKey, step: impl FnOnce(&mut Cell) -> T) -> Option<T> {
        let (_, cell) = self.table.find_mut(hash(key), |(other, _)| other == key)?;
        let before = cell.heap_bytes();
        let told = step(cell);
        let after = cell.heap_bytes();
        if after != before {
            self.elsewhere = self.elsewhere - before + after;
        }
        Some(told)
    }

    /// Keeps a counter that was not kept before.
    pub(super) fn insert(&mut self, key: CellKey, cell: Cell) {
        self.elsewhere += cell.heap_bytes();
        self.table.insert_unique(hash(&key), (key, cell), |(key, _)| hash(key));
        self.table_bytes = self.table.allocation_size();
    }

    /// Forgets the counters that decide nothing any more, and gives memory back when few are left. Returns how many there were.
    pub(super) fn sweep(&mut self, now: Timestamp) -> u64 {
        let expired = self.expire(now);
        if self.table.len() < self.table.capacity() / 4 {
            self.rebuild(self.len());
        }
        // Whatever a step that failed has left wrong.
        self.elsewhere = self.table.iter().map(|(_, cell)| cell.heap_bytes()).sum();
        expired
    }

    /// Forgets the counters that decide nothing any more. Returns how many there were.
    fn expire(&mut self, now: Timestamp) -> u64 {
        let before = self.len();
        self.retain(|cell| !cell.is_spent(now));
        (before - self.len()) as u64
    }

    /// Forgets what decides nothing any more, and then, if it must be, what is worth least; of those the first to end.
    /// An eighth of the counters goes, so that there are places for others.
    pub(super) fn make_places(&mut self, now: Timestamp) -> Freed {
        let most = self.len() - self.len().div_ceil(PART);
        let expired = self.expire(now);
        let too_many = self.len().saturating_sub(most);
        let evicted = if too_many > 0 { self.forget(too_many, &mut self.ranks(too_many)) } else { 0 };
        // What was removed leaves marks in the table, which would grow for want of free places.
        if self.is_to_grow() {
            self.rebuild(self.len() + 1);
        }
        Freed { evicted, expired }
    }

    /// The same until an eighth of the bytes is given back, be they the table's or what counters keep elsewhere. A table
    /// gives bytes back only when it is half as large.
    pub(super) fn make_bytes(&mut self, now: Timestamp) -> Freed {
        let most = self.bytes() - self.bytes() / PART;
        let expired = self.expire(now);
        let mut ranks = self.ranks(self.len());
        ranks.sort_unstable();
        let (mut len, mut elsewhere, mut places) = (self.len(), self.elsewhere, self.places());
        let mut table_bytes = self.table_bytes;
        let mut fits = |len: usize, elsewhere: usize| {
            while len <= places / 2 && places > 1 {
                places /= 2;
                table_bytes /= 2;
            }
            table_bytes + elsewhere <= most
        };
        let mut too_many = 0;
        while too_many < ranks.len() && !fits(len, elsewhere) {
            len -= 1;
            elsewhere -= ranks[too_many].1;
            too_many += 1;
        }
        let evicted = if too_many > 0 { self.forget(too_many, &mut ranks) } else { 0 };
        if self.len() <= self.places() / 2 {
            self.rebuild(self.len());
        }
        Freed { evicted, expired }
    }

    /// How many counters the table has places for, as large as it is.
    fn places(&self) -> usize {
        // Hashbrown leaves an eighth free.
        self.table.num_buckets() / 8 * 7
    }

    /// What is worth least, and the bytes that each keeps elsewhere: the first `sorted` of them before all others.
    fn ranks(&self, sorted: usize) -> Vec<(Rank, usize)> {
        let mut ranks: Vec<_> = self.table.iter().map(|(_, cell)| (rank(cell), cell.heap_bytes())).collect();
        if sorted < ranks.len() {
            ranks.select_nth_unstable(sorted);
        }
        ranks
    }

    /// Forgets the first `count` of `ranks`.
    fn forget(&mut self, count: usize, ranks: &mut [(Rank, usize)]) -> u64 {
        let ranks = &ranks[..count];
        let highest = ranks.iter().map(|(rank, _)| *rank).max();
        let mut equal = ranks.iter().filter(|(rank, _)| Some(*rank) == highest).count();
        self.retain(|cell| match Some(rank(cell)).cmp(&highest) {
            Ordering::Less => false,
            Ordering::Equal if equal > 0 => {
                equal -= 1;
                false
            }
            _ => true,
        });
        count as u64
    }

    /// Makes the table anew, as large as `places` need.
    fn rebuild(&mut self, places: usize) {
        let mut table = HashTable::with_capacity(places);
        for entry in std::mem::take(&mut self.table) {
            table.insert_unique(hash(&entry.0), entry, |(key, _)| hash(key));
        }
        self.table_bytes = table.allocation_size();
        self.table = table;
    }

    fn retain(&mut self, mut keeps: impl FnMut(&Cell) -> bool) {
        let elsewhere = &mut self.elsewhere;
        self.table.retain(|(_, cell)| {
            let kept = keeps(cell);
            if !kept {
                *elsewhere -= cell.heap_bytes();
            }
            kept
        });
    }
}

/// In which order counters make room.
type Rank = (Worth, Timestamp);

fn rank(cell: &Cell) -> Rank {
    (cell.worth(), cell.until())
}

/// A [`CellKey`] is a hash already; half of it is as good as hashing it again. The other half says which shard it is in.
fn hash(key: &CellKey) -> u64 {
    key.low
}
