//! Cells in this process's memory.

use std::hash::{BuildHasherDefault, Hasher};

use dashmap::DashMap;

use super::{Charge, Store, StoreError};
use crate::algorithm::Cell;
use crate::model::{CellKey, Outcome, Timestamp};

/// Many more shards than cores, so that two requests seldom want the same one, and sweeping one (the only thing that
/// holds a shard for longer than a step) holds few cells.
const SHARDS: usize = 1024;

/// Counters in a sharded hash map. They are gone when the process ends.
#[derive(Debug)]
pub struct MemoryStore {
    cells: DashMap<CellKey, Cell, BuildHasherDefault<KeyIsHash>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { cells: DashMap::with_hasher_and_shard_amount(BuildHasherDefault::default(), SHARDS) }
    }
}

impl MemoryStore {
    /// How many counters are kept.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no counter is kept.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Forgets the counters that decide nothing any more, one shard at a time; requests on other shards go on
    /// meanwhile. Returns memory, too, once a shard has become mostly empty.
    pub fn sweep(&self, now: Timestamp) {
        self.cells.retain(|_, cell| !cell.is_spent(now));
        if self.cells.len() < self.cells.capacity() / 4 {
            self.cells.shrink_to_fit();
        }
    }

    fn step(&self, charge: &Charge, now: Timestamp) -> Outcome {
        // The entry's guard is the lock: held for one step, never across an await.
        let mut cell = self.cells.entry(charge.key).or_default();
        charge.algorithm.step(&charge.allowance, &mut cell, charge.hits, now)
    }
}

impl Store for MemoryStore {
    async fn apply(&self, charges: &[Charge], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        Ok(charges.iter().map(|charge| self.step(charge, now)).collect())
    }
}

/// A [`CellKey`] is a hash already; half of it is as good as hashing it again.
#[derive(Debug, Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a `CellKey` hashes as two u64");
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::algorithm::{Allowance, FixedWindow};
    use crate::model::Hits;

    fn charge(low: u64, window: u64) -> Charge {
        Charge {
            key: CellKey { high: 0, low },
            algorithm: &FixedWindow,
            allowance: Allowance { limit: 1, window: Duration::from_secs(window) },
            hits: Hits::ONE,
        }
    }

    #[tokio::test]
    async fn a_sweep_forgets_spent_counters_and_only_those() {
        let store = MemoryStore::default();
        let now = Timestamp::EPOCH;
        store.apply(&[charge(1, 10), charge(2, 10), charge(3, 100)], now).await.unwrap();
        assert_eq!(store.len(), 3);

        store.sweep(Timestamp::from_secs(9));
        assert_eq!(store.len(), 3);
        store.sweep(Timestamp::from_secs(10));
        assert_eq!(store.len(), 1);

        let again = store.apply(&[charge(3, 100)], Timestamp::from_secs(10)).await.unwrap();
        assert_eq!(again[0].used, 2, "the living counter kept its count");
    }

    #[tokio::test]
    async fn a_counter_charged_twice_in_one_request_counts_both() {
        let store = MemoryStore::default();
        let outcomes = store.apply(&[charge(1, 10), charge(1, 10)], Timestamp::EPOCH).await.unwrap();
        assert_eq!(
            outcomes.iter().map(|out| (out.used, out.admitted)).collect::<Vec<_>>(),
            [(1, true), (2, false)]
        );
    }

    #[test]
    fn threads_lose_no_hit() {
        let store = MemoryStore::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        store.step(&charge(7, 100), Timestamp::EPOCH);
                    }
                });
            }
        });
        assert_eq!(store.step(&charge(7, 100), Timestamp::EPOCH).used, 80_001);
    }
}
