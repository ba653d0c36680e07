//! Cells in this process's memory.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::{DashMap, RwLockWriteGuard, SharedValue};
use hashbrown::raw::RawTable;

use super::{Charge, Share, Store, StoreError};
use crate::algorithm::{Cell, Mode, settle};
use crate::model::{CellKey, Few, Outcome, Timestamp};

/// Many more shards than cores, so that two requests seldom want the same one, and sweeping one (which holds it for longer
/// than a request does) holds few cells.
const SHARDS: usize = 1024;
/// Shards smaller than this fill too unevenly.
const SMALLEST: usize = 64;
/// Which part of a full shard makes room at once. One by one, each new counter would look through the whole shard.
const PART: usize = 8;

/// Shards of one map. A map is swept at one go, so there are many.
const SHARDS_OF_A_MAP: usize = 16;

/// Counters in sharded hash maps. They are gone when the process ends.
#[derive(Debug)]
pub struct MemoryStore {
    maps: Box<[Map]>,
    /// The most counters of one shard.
    most: usize,
    evicted: AtomicU64,
}

type Map = DashMap<CellKey, Cell, BuildHasherDefault<KeyIsHash>>;

/// The counters of one shard.
type Shard = RawTable<(CellKey, SharedValue<Cell>)>;

impl Default for MemoryStore {
    fn default() -> Self {
        Self::holding(usize::MAX)
    }
}

impl MemoryStore {
    /// A store of at most `most` counters, and of at least 128. When it is full, those that end soonest make room.
    pub fn holding(most: usize) -> Self {
        let shards = (most / SMALLEST).clamp(2, SHARDS);
        let shards = 1 << shards.ilog2();
        let of_a_map = shards.min(SHARDS_OF_A_MAP);
        let map = || DashMap::with_hasher_and_shard_amount(BuildHasherDefault::default(), of_a_map);
        Self {
            maps: (0..shards / of_a_map).map(|_| map()).collect(),
            most: (most / shards).max(SMALLEST),
            evicted: AtomicU64::new(0),
        }
    }

    /// How many counters are kept.
    pub fn len(&self) -> usize {
        self.maps.iter().map(DashMap::len).sum()
    }

    /// Whether no counter is kept.
    pub fn is_empty(&self) -> bool {
        self.maps.iter().all(DashMap::is_empty)
    }

    /// How many counters made room for others while they still counted.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Forgets the counters that decide nothing any more.
    pub fn sweep(&self, now: Timestamp) {
        self.sweeps(now).for_each(drop);
    }

    /// The same in steps: each item that is taken sweeps a part, one shard of it at a time, and requests on other shards
    /// go on meanwhile. Returns memory, too, once a part has become mostly empty.
    pub fn sweeps(&self, now: Timestamp) -> impl Iterator<Item = ()> + '_ {
        self.maps.iter().map(move |map| {
            map.retain(|_, cell| !cell.is_spent(now));
            if map.len() < map.capacity() / 4 {
                map.shrink_to_fit();
            }
        })
    }

    fn map(&self, key: &CellKey) -> usize {
        // The other half of the key says where in the map.
        usize::try_from(key.high % self.maps.len() as u64).unwrap_or_default()
    }

    /// A [`CellKey`] in a map's terms.
    fn hash(&self, key: &CellKey) -> u64 {
        self.maps[0].hash_usize(key) as u64
    }

    /// Which shard of which map a counter is in.
    fn place(&self, key: &CellKey) -> (usize, usize) {
        (self.map(key), self.maps[0].determine_shard(self.maps[0].hash_usize(key)))
    }

    fn lock(&self, (map, shard): (usize, usize)) -> RwLockWriteGuard<'_, Shard> {
        self.maps[map].shards()[shard].write()
    }

    /// One charge: the shard's guard is the lock, held for one step.
    fn step(&self, charge: &Charge, now: Timestamp) -> Outcome {
        let mut shard = self.lock(self.place(&charge.key));
        if let Some((_, cell)) = shard.get_mut(self.hash(&charge.key), |(key, _)| *key == charge.key) {
            return charge.share.step(cell.get_mut(), now);
        }
        let mut cell = Cell::Empty;
        let outcome = charge.share.step(&mut cell, now);
        self.keep(&mut shard, charge.key, cell, now);
        outcome
    }

    /// Keeps a counter that was not kept before.
    fn keep(&self, shard: &mut Shard, key: CellKey, cell: Cell, now: Timestamp) {
        if cell == Cell::Empty {
            return;
        }
        if shard.len() >= self.most {
            self.make_room(shard, now);
        }
        shard.insert(self.hash(&key), (key, SharedValue::new(cell)), |(key, _)| self.hash(key));
    }

    /// Forgets what counts no more, and then, if it must be, what will count no more soonest.
    fn make_room(&self, shard: &mut Shard, now: Timestamp) {
        let mut kept: Vec<_> = std::mem::take(shard).into_iter().collect();
        kept.retain(|(_, cell)| !cell.get().is_spent(now));
        let most = self.most - self.most.div_ceil(PART);
        if let Some(too_many) = kept.len().checked_sub(most).filter(|&too_many| too_many > 0) {
            kept.select_nth_unstable_by_key(too_many - 1, |(_, cell)| cell.get().until());
            kept.drain(..too_many);
            self.evicted.fetch_add(too_many as u64, Ordering::Relaxed);
        }
        *shard = Shard::with_capacity(self.most.min(kept.len() * 2));
        for (key, cell) in kept {
            shard.insert(self.hash(&key), (key, cell), |(key, _)| self.hash(key));
        }
    }

    /// Several charges that stand or fall together: every shard that holds one of their cells is locked, in the order
    /// of shards, so that two requests can never wait for each other.
    fn settle(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Few<Option<Outcome>> {
        let mut keys: Few<CellKey> = charges.iter().map(|charge| charge.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut places: Few<(usize, usize)> = keys.iter().map(|key| self.place(key)).collect();
        places.sort_unstable();
        places.dedup();
        let mut locked: Few<RwLockWriteGuard<'_, Shard>> =
            places.iter().map(|&place| self.lock(place)).collect();

        let place = |key: &CellKey| places.binary_search(&self.place(key)).ok();
        let mut cells: Few<Cell> = keys
            .iter()
            .map(|key| {
                let found = locked[place(key)?].get_mut(self.hash(key), |(other, _)| other == key)?;
                Some(std::mem::take(found.1.get_mut()))
            })
            .map(Option::unwrap_or_default)
            .collect();
        let cell = |charge: &Charge| keys.binary_search(&charge.key).unwrap_or_default();
        let numbered: Few<_> =
            charges.iter().map(|charge| Share { cell: cell(charge), ..charge.share }).collect();
        let outcomes = settle(mode, &numbered, &mut cells, now);

        for (key, cell) in keys.iter().zip(cells) {
            let Some(shard) = place(key).map(|at| &mut locked[at]) else { continue };
            match shard.get_mut(self.hash(key), |(other, _)| other == key) {
                Some(found) => *found.1.get_mut() = cell,
                None => self.keep(shard, *key, cell, now),
            }
        }
        outcomes
    }
}

impl Store for MemoryStore {
    const AT_ONCE: bool = true;

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

    #[tokio::test]
    async fn a_full_store_makes_room_of_what_ends_soonest() {
        let store = MemoryStore::holding(1_000);
        let now = Timestamp::EPOCH;
        let at = |n: u64| Charge {
            key: CellKey { high: 0, low: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) },
            ..charge(0, 10)
        };
        // A hundred counters of an hour, some of them on each shard, and a flood of short ones.
        let long = |n: u64| {
            let law = Law::Aligned { window: Duration::from_secs(3_600) };
            Charge { share: Share { law, ..at(n).share }, ..at(n) }
        };
        for n in 0..100 {
            store.apply(Mode::Each, &[long(n)], now).await.unwrap();
        }
        for n in 100..100_000 {
            store.apply(Mode::Each, &[at(n)], now).await.unwrap();
            assert!(store.len() <= 1_000, "{}", store.len());
        }
        assert!(store.len() > 800, "{}", store.len());
        assert_eq!(store.evicted(), 100_000 - store.len() as u64);
        for n in 0..100 {
            let again = store.apply(Mode::Each, &[long(n)], now).await.unwrap();
            assert_eq!(again[0].unwrap().used, 2, "{n} is still known");
        }
        // When they are spent, nothing that counts has to go.
        let later = Timestamp::from_secs(10);
        let before = store.evicted();
        for n in 200_000..200_500 {
            store.apply(Mode::Each, &[at(n)], later).await.unwrap();
        }
        assert_eq!(store.evicted(), before);
    }

    #[tokio::test]
    async fn to_look_at_a_counter_does_not_make_one() {
        let store = MemoryStore::default();
        let look = Charge { share: Share { hits: Hits::Look, ..charge(1, 10).share }, ..charge(1, 10) };
        store.apply(Mode::Each, &[look], Timestamp::EPOCH).await.unwrap();
        assert!(store.is_empty());
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
