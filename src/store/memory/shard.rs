//! Counters behind one lock.

use hashbrown::HashTable;

use crate::algorithm::{Cell, Worth};
use crate::model::{CellKey, Timestamp};

/// What makes room at once: one counter in so many. Were it a single one, each new counter would look through all.
const PART: usize = 8;

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
        self.elsewhere = self.elsewhere - before + cell.heap_bytes();
        Some(told)
    }

    /// Keeps a counter that was not kept before.
    pub(super) fn insert(&mut self, key: CellKey, cell: Cell) {
        self.elsewhere += cell.heap_bytes();
        self.table.insert_unique(hash(&key), (key, cell), |(key, _)| hash(key));
        self.table_bytes = self.table.allocation_size();
    }

    /// Forgets the counters that decide nothing any more, and gives memory back when few are left.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.retain(|cell| !cell.is_spent(now));
        if self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to_fit(|(key, _)| hash(key));
            self.table_bytes = self.table.allocation_size();
        }
    }

    /// Forgets what decides nothing any more, and then, if it must be, what is worth least; of those the first to end.
    /// An eighth of the counters goes, and with `elsewhere` an eighth of the bytes that they keep elsewhere. Returns how
    /// many were forgotten that still counted.
    pub(super) fn make_room(&mut self, now: Timestamp, elsewhere: bool) -> u64 {
        let most = self.table.len() - self.table.len().div_ceil(PART);
        let most_elsewhere = if elsewhere { self.elsewhere - self.elsewhere / PART } else { usize::MAX };
        self.retain(|cell| !cell.is_spent(now));
        let mut evicted = 0;
        let too_many = self.table.len().saturating_sub(most);
        if too_many > 0 || self.elsewhere > most_elsewhere {
            let mut ranks: Vec<_> =
                self.table.iter().map(|(_, cell)| (rank(cell), cell.heap_bytes())).collect();
            let first_kept = if self.elsewhere > most_elsewhere {
                ranks.sort_unstable();
                let mut kept = self.elsewhere;
                let enough = |(_, bytes): &(Rank, usize)| {
                    kept -= bytes;
                    kept <= most_elsewhere
                };
                ranks.iter().position(enough).map_or(ranks.len(), |last| last + 1).max(too_many)
            } else {
                ranks.select_nth_unstable(too_many - 1);
                too_many
            };
            let highest = ranks[..first_kept].iter().map(|(rank, _)| *rank).max();
            let mut equal = ranks[..first_kept].iter().filter(|(rank, _)| Some(*rank) == highest).count();
            evicted = first_kept as u64;
            self.retain(|cell| match Some(rank(cell)).cmp(&highest) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal if equal > 0 => {
                    equal -= 1;
                    false
                }
                _ => true,
            });
        }
        // What was removed leaves marks in the table, which would grow for want of free places.
        if self.is_to_grow() {
            let mut table = HashTable::with_capacity(self.table.len() + 1);
            for entry in std::mem::take(&mut self.table) {
                table.insert_unique(hash(&entry.0), entry, |(key, _)| hash(key));
            }
            self.table_bytes = table.allocation_size();
            self.table = table;
        }
        evicted
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
