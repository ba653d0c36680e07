//! Cells in this process's memory.

use std::hash::{BuildHasherDefault, Hasher};

use dashmap::{DashMap, SharedValue};

use super::{Charge, Share, Store, StoreError};
use crate::algorithm::{Cell, Mode, settle};
use crate::model::{CellKey, Few, Outcome, Timestamp};

/// Many more shards than cores, so that two requests seldom want the same one, and sweeping one (the only thing that
/// holds a shard for longer than a request) holds few cells.
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
    /// meanwhile. Returns memory, too, once the map has become mostly empty.
    pub fn sweep(&self, now: Timestamp) {
        self.cells.retain(|_, cell| !cell.is_spent(now));
        if self.cells.len() < self.cells.capacity() / 4 {
            self.cells.shrink_to_fit();
        }
    }

    /// One charge: the entry's guard is the lock, held for one step.
    fn step(&self, charge: &Charge, now: Timestamp) -> Outcome {
        let mut cell = self.cells.entry(charge.key).or_default();
        charge.share.step(&mut cell, now)
    }

    /// Several charges that stand or fall together: every shard that holds one of their cells is locked, in the order
    /// of shards, so that two requests can never wait for each other.
    fn settle(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Few<Option<Outcome>> {
        let mut keys: Few<CellKey> = charges.iter().map(|charge| charge.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let hash = |key: &CellKey| self.cells.hash_usize(key);
        let shard = |key: &CellKey| self.cells.determine_shard(hash(key));
        let mut shards: Few<usize> = keys.iter().map(shard).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut locked: Few<_> = shards.iter().map(|&shard| self.cells.shards()[shard].write()).collect();

        let table = |key: &CellKey| shards.binary_search(&shard(key)).ok();
        let mut cells: Few<Cell> = keys
            .iter()
            .map(|key| {
                let found = locked[table(key)?].get_mut(hash(key) as u64, |(other, _)| other == key)?;
                Some(std::mem::take(found.1.get_mut()))
            })
            .map(Option::unwrap_or_default)
            .collect();
        let cell = |charge: &Charge| keys.binary_search(&charge.key).unwrap_or_default();
        let numbered: Few<_> =
            charges.iter().map(|charge| Share { cell: cell(charge), ..charge.share }).collect();
        let outcomes = settle(mode, &numbered, &mut cells, now);

        for (key, cell) in keys.iter().zip(cells) {
            let Some(table) = table(key).map(|at| &mut locked[at]) else { continue };
            match table.get_mut(hash(key) as u64, |(other, _)| other == key) {
                Some(found) => *found.1.get_mut() = cell,
                None if cell == Cell::Empty => {}
                None => {
                    let entry = (*key, SharedValue::new(cell));
                    table.insert(hash(key) as u64, entry, |(key, _)| hash(key) as u64);
                }
            }
        }
        outcomes
    }
}

impl Store for MemoryStore {
    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
    ) -> Result<Few<Option<Outcome>>, StoreError> {
        Ok(match (mode, charges) {
            (_, [only]) => Few::from_iter([Some(self.step(only, now))]),
            (Mode::Each, _) if charges.windows(2).all(|pair| pair[0].share.stage != pair[1].share.stage) => {
                charges.iter().map(|charge| Some(self.step(charge, now))).collect()
            }
            _ => self.settle(mode, charges, now),
        })
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
    use crate::algorithm::Law;
    use crate::model::Hits;

    fn charge(low: u64, window: u64) -> Charge {
        let share = Share {
            law: Law::Aligned { window: Duration::from_secs(window) },
            limit: 1,
            hits: Hits::ONE,
            count_denied: true,
            enforced: true,
            stage: 0,
            cell: 0,
        };
        Charge { key: CellKey { high: 0, low }, share }
    }

    #[tokio::test]
    async fn a_sweep_forgets_spent_counters_and_only_those() {
        let store = MemoryStore::default();
        let now = Timestamp::EPOCH;
        let three = [charge(1, 10), charge(2, 10), charge(3, 100)];
        store.apply(Mode::Each, &three, now).await.unwrap();
        assert_eq!(store.len(), 3);

        store.sweep(Timestamp::from_secs(9));
        assert_eq!(store.len(), 3);
        store.sweep(Timestamp::from_secs(10));
        assert_eq!(store.len(), 1);

        let again = store.apply(Mode::Each, &[charge(3, 100)], Timestamp::from_secs(10)).await.unwrap();
        assert_eq!(again[0].unwrap().used, 2, "the living counter kept its count");
    }

    #[tokio::test]
    async fn a_counter_charged_twice_in_one_request_counts_both() {
        for mode in [Mode::Each, Mode::AllOrNothing] {
            let store = MemoryStore::default();
            let once = charge(1, 10);
            let twice = [0, 1].map(|stage| Charge { share: Share { limit: 2, stage, ..once.share }, ..once });
            let outcomes = store.apply(mode, &twice, Timestamp::EPOCH).await.unwrap();
            let told: Vec<_> = outcomes.iter().flatten().map(|out| (out.used, out.admitted)).collect();
            assert_eq!(told, [(1, true), (2, true)], "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_refused_request_leaves_no_trace_under_all_or_nothing() {
        let store = MemoryStore::default();
        let free = |low| {
            let charge = charge(low, 10);
            Charge { share: Share { count_denied: false, ..charge.share }, ..charge }
        };
        store.apply(Mode::AllOrNothing, &[free(1)], Timestamp::EPOCH).await.unwrap();
        let refused = store.apply(Mode::AllOrNothing, &[free(1), free(2)], Timestamp::EPOCH).await.unwrap();
        assert_eq!(refused.iter().flatten().map(|out| out.admitted).collect::<Vec<_>>(), [false, true]);
        assert_eq!(store.len(), 1, "the counter that would have admitted was not even made");
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
