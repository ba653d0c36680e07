//! Cells in this process's memory.

mod shard;

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use self::shard::{Freed, Shard};
use super::{Answers, Session, Statistics, Store, StoreError};
use crate::algorithm::{Cell, Charge, Mode, Outcomes, Share, settle_together, wait_together};
use crate::model::{CellKey, Few, Outcome, Timestamp};

/// Many more shards than cores, so that two requests seldom want the same one, and sweeping one (which holds it for longer
/// than a request does) holds few cells.
const SHARDS: usize = 1024;
/// Counters of a shard that may be full. Smaller shards fill too unevenly.
const SMALLEST: usize = 64;
/// Shards that are swept in one step.
const SWEPT: usize = 16;

/// Counters in sharded hash tables. They are gone when the process ends.
///
/// When there are too many, or they take too much memory, those make room that are worth least ([`Worth`]), and of those
/// the first to end: the keys that a client invents go first, and a client that is over its limit is not let off by a
/// flood of them. A client that fills as much memory with counters that are over *their* limits, each of which has cost
/// more than one refused request then, makes the oldest of those go.
///
/// [`Worth`]: crate::algorithm::Worth
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Table>);

/// What all sessions share.
#[derive(Debug)]
struct Table {
    /// A power of two.
    shards: Box<[Padded]>,
    /// The most counters of one shard.
    most: usize,
    /// The most bytes of all counters.
    most_bytes: usize,
    /// Bytes of all counters, and the room that is kept for more.
    bytes: AtomicUsize,
    evicted: AtomicU64,
    expired: AtomicU64,
}

/// Two locks in one cache line would be taken from each other by two cores that want none in common.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded(Mutex<Shard>);

impl Default for MemoryStore {
    fn default() -> Self {
        Self::holding(usize::MAX, usize::MAX)
    }
}

impl MemoryStore {
    /// A store of at most `most` counters, and of at least 128, which take `most_bytes` bytes at most, as their tables and
    /// logs are allocated. What the allocator needs beside that is not counted.
    pub fn holding(most: usize, most_bytes: usize) -> Self {
        let shards = (most / SMALLEST).clamp(2, SHARDS);
        let shards = 1 << shards.ilog2();
        Self(Arc::new(Table {
            shards: (0..shards).map(|_| Padded::default()).collect(),
            most: (most / shards).max(SMALLEST),
            most_bytes,
            bytes: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }))
    }

    /// How many counters are kept.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.0.lock().len()).sum()
    }

    /// Whether no counter is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the counters take.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// How many counters made room for others while they still counted.
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    /// Lends the cells of `keys`, which are sorted and differ, for one step of all of them.
    pub(super) fn lend<T>(&self, keys: &[CellKey], now: Timestamp, step: impl FnOnce(&mut [Cell]) -> T) -> T {
        self.0.lend(keys, now, step)
    }
}

impl Table {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Which shard a counter is in.
    fn place(&self, key: &CellKey) -> usize {
        // The other half of the key says where in the shard.
        usize::try_from(key.high % self.shards.len() as u64).unwrap_or_default()
    }

    fn lock(&self, place: usize) -> Locked<'_> {
        let shard = self.shards[place].0.lock();
        Locked { before: shard.bytes(), shard, table: self }
    }

    /// One charge: the shard's guard is the lock, held for one step.
    fn step(&self, charge: &Charge, now: Timestamp) -> Outcome {
        let mut locked = self.lock(self.place(&charge.key));
        let outcome =
            locked.shard.lend(&charge.key, |cell| charge.share.step(cell, now)).unwrap_or_else(|| {
                let mut cell = Cell::Empty;
                let outcome = charge.share.step(&mut cell, now);
                locked.keep(charge.key, cell, now);
                outcome
            });
        locked.stay_within_bytes(now);
        outcome
    }

    /// Charges that stand or fall together.
    fn settle(&self, stage: &[Charge], now: Timestamp, outcomes: &mut Outcomes) {
        let mut keys: Few<CellKey> = stage.iter().map(|charge| charge.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let cell = |charge: &Charge| keys.binary_search(&charge.key).unwrap_or_default();
        let numbered: Few<_> =
            stage.iter().map(|charge| Share { cell: cell(charge), ..charge.share }).collect();
        self.lend(&keys, now, |cells| settle_together(&numbered, cells, now, outcomes));
    }

    /// Lends the cells of `keys`, which are sorted and differ: every shard that holds one of them is locked, in the order of
    /// shards, so that two requests can never wait for each other.
    fn lend<T>(&self, keys: &[CellKey], now: Timestamp, step: impl FnOnce(&mut [Cell]) -> T) -> T {
        let mut places: Few<usize> = keys.iter().map(|key| self.place(key)).collect();
        places.sort_unstable();
        places.dedup();
        let mut locked: Few<Locked<'_>> = places.iter().map(|&place| self.lock(place)).collect();

        let at = |key: &CellKey| places.binary_search(&self.place(key)).unwrap_or_default();
        let mut cells: Few<Cell> = keys
            .iter()
            .map(|key| locked[at(key)].shard.lend(key, std::mem::take).unwrap_or_default())
            .collect();
        let told = step(&mut cells);

        for (key, cell) in keys.iter().zip(cells) {
            let mut cell = Some(cell);
            let locked = &mut locked[at(key)];
            locked.shard.lend(key, |kept| *kept = cell.take().unwrap_or_default());
            if let Some(cell) = cell {
                locked.keep(*key, cell, now);
            }
        }
        locked.iter_mut().for_each(|locked| locked.stay_within_bytes(now));
        told
    }

    /// Tells of counters that several stages ask for when all of them pass.
    fn wait_together(&self, charges: &[Charge], now: Timestamp, outcomes: &mut [Option<Outcome>]) {
        let mut keys: Few<CellKey> = charges.iter().map(|charge| charge.key).collect();
        keys.sort_unstable();
        let mut shared: Few<CellKey> =
            keys.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        shared.dedup();
        if shared.is_empty() {
            return;
        }
        let kept = |key| self.lock(self.place(key)).shard.lend(key, |cell| cell.clone()).unwrap_or_default();
        let mut cells: Few<Cell> = shared.iter().map(kept).collect();
        let (mut numbered, mut of_shared): (Few<Share>, Few<Option<Outcome>>) = (Few::new(), Few::new());
        let mut places: Few<usize> = Few::new();
        for (at, charge) in charges.iter().enumerate() {
            if let Ok(cell) = shared.binary_search(&charge.key) {
                numbered.push(Share { cell, ..charge.share });
                of_shared.push(outcomes[at]);
                places.push(at);
            }
        }
        wait_together(&numbered, &mut cells, now, &mut of_shared);
        for (at, outcome) in places.into_iter().zip(of_shared) {
            outcomes[at] = outcome;
        }
    }
}

/// A shard that is locked. Bytes that it takes more or less are accounted for when it is left.
struct Locked<'a> {
    shard: MutexGuard<'a, Shard>,
    before: usize,
    table: &'a Table,
}

impl Locked<'_> {
    /// Keeps a counter that was not kept before.
    fn keep(&mut self, key: CellKey, cell: Cell, now: Timestamp) {
        if cell == Cell::Empty {
            return;
        }
        let full = self.shard.len() >= self.table.most;
        if full || (self.shard.is_to_grow() && self.are_too_many_bytes(self.shard.table_bytes())) {
            let freed = self.shard.make_places(now);
            self.count(freed);
        }
        self.shard.insert(key, cell);
    }

    /// Makes room if the shard has grown, and all counters together take too many bytes now.
    fn stay_within_bytes(&mut self, now: Timestamp) {
        if self.shard.bytes() > self.before && self.are_too_many_bytes(0) {
            let freed = self.shard.make_bytes(now);
            self.count(freed);
        }
    }

    /// Whether all counters would take too many bytes with so many more.
    fn are_too_many_bytes(&self, more: usize) -> bool {
        let others = self.table.bytes().saturating_sub(self.before);
        others.saturating_add(self.shard.bytes()).saturating_add(more) > self.table.most_bytes
    }

    fn count(&self, freed: Freed) {
        self.table.evicted.fetch_add(freed.evicted, Ordering::Relaxed);
        self.table.expired.fetch_add(freed.expired, Ordering::Relaxed);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let after = self.shard.bytes();
        // Most requests change counts and no sizes, and leave what all cores share alone.
        if after > self.before {
            self.table.bytes.fetch_add(after - self.before, Ordering::Relaxed);
        } else if after < self.before {
            self.table.bytes.fetch_sub(self.before - after, Ordering::Relaxed);
        }
    }
}

impl Table {
    fn apply(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Outcomes {
        let mut outcomes = Few::with_capacity(charges.len());
        if let [only] = charges {
            outcomes.push(Some(self.step(only, now)));
            return outcomes;
        }
        if mode.joins_all(charges) {
            self.settle(charges, now, &mut outcomes);
            return outcomes;
        }
        // Stages know nothing of each other's counters but who refused, and how long all of them wait for one that they share: no
        // two are locked together.
        for stage in charges.chunk_by(|a, b| a.share.stage == b.share.stage) {
            let first = outcomes.len();
            match stage {
                [only] => outcomes.push(Some(self.step(only, now))),
                _ => self.settle(stage, now, &mut outcomes),
            }
            let mut decided = stage.iter().zip(outcomes[first..].iter().flatten());
            if mode == Mode::InOrder && decided.any(|(charge, outcome)| charge.share.refuses(outcome)) {
                outcomes.resize(charges.len(), None);
                break;
            }
        }
        if outcomes.iter().flatten().any(|outcome| !outcome.admitted) {
            self.wait_together(charges, now, &mut outcomes);
        }
        outcomes
    }
}

impl Store for MemoryStore {
    type Session = Self;

    fn session(&self) -> Self {
        self.clone()
    }

    fn statistics(&self) -> Statistics {
        Statistics {
            counters: self.len() as u64,
            bytes: self.bytes() as u64,
            evicted: self.evicted(),
            expired: self.0.expired.load(Ordering::Relaxed),
        }
    }

    /// Returns memory, too, once a part has become mostly empty.
    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        let shards = self.0.shards.len();
        (0..shards).step_by(SWEPT).map(move |first| {
            for shard in first..shards.min(first + SWEPT) {
                let mut locked = self.0.lock(shard);
                let expired = locked.shard.sweep(now);
                locked.count(Freed { expired, evicted: 0 });
            }
        })
    }
}

impl Session for MemoryStore {
    const ANSWERS: Answers = Answers::Now;

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        Some(self.0.apply(mode, charges, now))
    }

    fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> impl Future<Output = Result<Outcomes, StoreError>> {
        ready(Ok(self.0.apply(mode, charges, now)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::algorithm::{Algorithm, Durability};
    use crate::model::Hits;

    /// The key of the `n`th of many counters.
    fn key(n: u64) -> CellKey {
        let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        CellKey { high: low.rotate_left(32).wrapping_mul(0xbf58_476d_1ce4_e5b9), low }
    }

    fn charge(low: u64, window: u64) -> Charge {
        let share = Share {
            algorithm: Algorithm::aligned(Duration::from_secs(window)),
            limit: 1,
            hits: Hits::ONE,
            count_denied: true,
            settles: false,
            enforced: true,
            stage: 0,
            cell: 0,
        };
        Charge { key: CellKey { high: 0, low }, durability: Durability::None, share }
    }

    #[test]
    fn a_sweep_forgets_spent_counters_and_only_those() {
        let store = MemoryStore::default();
        let now = Timestamp::EPOCH;
        let three = [charge(1, 10), charge(2, 10), charge(3, 100)];
        store.0.apply(Mode::Each, &three, now);
        assert_eq!(store.len(), 3);

        store.sweep(Timestamp::from_secs(9)).for_each(drop);
        assert_eq!(store.len(), 3);
        store.sweep(Timestamp::from_secs(10)).for_each(drop);
        assert_eq!(store.len(), 1);
        assert_eq!((store.statistics().expired, store.evicted()), (2, 0));

        let again = store.0.apply(Mode::Each, &[charge(3, 100)], Timestamp::from_secs(10));
        assert_eq!(again[0].unwrap().used, 2, "the living counter kept its count");
    }

    #[test]
    fn a_counter_charged_twice_in_one_request_counts_both() {
        for mode in [Mode::Each, Mode::AllOrNothing] {
            let store = MemoryStore::default();
            let once = charge(1, 10);
            let twice = [0, 1].map(|stage| Charge { share: Share { limit: 2, stage, ..once.share }, ..once });
            let outcomes = store.0.apply(mode, &twice, Timestamp::EPOCH);
            let told: Vec<_> = outcomes.iter().flatten().map(|out| (out.used, out.admitted)).collect();
            assert_eq!(told, [(1, true), (2, true)], "{mode:?}");
        }
    }

    #[test]
    fn a_refused_request_leaves_no_trace_under_all_or_nothing() {
        let store = MemoryStore::default();
        let free = |low| {
            let charge = charge(low, 10);
            Charge { share: Share { count_denied: false, ..charge.share }, ..charge }
        };
        store.0.apply(Mode::AllOrNothing, &[free(1)], Timestamp::EPOCH);
        let refused = store.0.apply(Mode::AllOrNothing, &[free(1), free(2)], Timestamp::EPOCH);
        assert_eq!(refused.iter().flatten().map(|out| out.admitted).collect::<Vec<_>>(), [false, true]);
        assert_eq!(store.len(), 1, "the counter that would have admitted was not even made");
    }

    #[test]
    fn a_full_store_makes_room_of_what_ends_soonest() {
        let store = MemoryStore::holding(1_000, usize::MAX);
        let now = Timestamp::EPOCH;
        let at = |n: u64| Charge { key: key(n), ..charge(0, 10) };
        // A hundred counters of an hour, some of them on each shard, and a flood of short ones.
        let long = |n: u64| {
            let algorithm = Algorithm::aligned(Duration::from_secs(3_600));
            Charge { share: Share { algorithm, ..at(n).share }, ..at(n) }
        };
        for n in 0..100 {
            store.0.apply(Mode::Each, &[long(n)], now);
        }
        for n in 100..100_000 {
            store.0.apply(Mode::Each, &[at(n)], now);
            assert!(store.len() <= 1_000, "{}", store.len());
        }
        assert!(store.len() > 800, "{}", store.len());
        assert_eq!(store.evicted(), 100_000 - store.len() as u64);
        for n in 0..100 {
            let again = store.0.apply(Mode::Each, &[long(n)], now);
            assert_eq!(again[0].unwrap().used, 2, "{n} is still known");
        }
        // When they are spent, nothing that counts has to go.
        let later = Timestamp::from_secs(10);
        let (before, kept) = (store.evicted(), store.len() as u64);
        assert_eq!(store.statistics().expired, 0);
        for n in 200_000..200_500 {
            store.0.apply(Mode::Each, &[at(n)], later);
        }
        assert_eq!(store.evicted(), before);
        let made = kept + 500 - store.len() as u64;
        assert_eq!(store.statistics().expired, made, "what made room had ended");
    }

    #[test]
    fn to_look_at_a_counter_does_not_make_one() {
        let store = MemoryStore::default();
        let look = Charge { share: Share { hits: Hits::Look, ..charge(1, 10).share }, ..charge(1, 10) };
        store.0.apply(Mode::Each, &[look], Timestamp::EPOCH);
        assert!(store.is_empty());
    }

    #[test]
    fn threads_lose_no_hit() {
        let store = MemoryStore::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        store.0.step(&charge(7, 100), Timestamp::EPOCH);
                    }
                });
            }
        });
        assert_eq!(store.0.step(&charge(7, 100), Timestamp::EPOCH).used, 80_001);
    }
}
