//! Counters that outlive the process, in one file of redb.
//!
//! A counter is in memory. Beside it is known what the file has of it, its *image*, which counts some hits more than there
//! were: as long as the image [covers](Cell::covers) the counter, a request is answered at once. When it soon will not, one
//! thread writes a new image, together with those of all other counters that have asked meanwhile, in one commit. A
//! request that no image covers waits for that commit and is decided after it: what was answered is on the disk, whenever
//! the process ends. Then the image is what the counter was; so nobody is ever granted more, and what was counted ahead is
//! lost.
//!
//! | A charge | waits for a commit | after a crash its counter has |
//! |---|---|---|
//! | of [`Durability::None`] | never | nothing |
//! | of [`Durability::Reserve`] | when it outruns the image | as many hits as it had, and a few more: a thousandth of the limit, from 1 to 64 |
//! | of [`Durability::Exact`] | always | the hits that it had, and those that were being waited for |
//!
//! Nobody waits for hits that are counted though they were refused: they are written soon, and to lose them grants nothing.
//! After a clean stop ([`DiskStore::close`]) all counters are what they were.
//!
//! Beside the counters the file has [`Records`]: what the server has learned about subjects.

mod file;
mod kept;
mod offline;
mod recorded;
mod records;
mod table;
#[cfg(test)]
mod tests;
mod threads;

use std::path::Path;
use std::sync::Arc;

use parking_lot::{MutexGuard, RwLock};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use self::file::OpenError;
use self::file::{File, Reader};
use self::kept::{Asked, Kept, State};
pub use self::offline::{Counter, Offline};
use self::records::DiskRecords;
use self::table::{Shard, Table};
use self::threads::Threads;
use super::{Answers, MemoryStore, Records, Session, Statistics, Store, StoreError};
use crate::algorithm::{Cell, Charge, Commit, Durability, Mode, Outcomes, Share, settle};
use crate::model::{CellKey, Few, Hits, Timestamp};

/// Counters of which those that are to survive a crash are kept in a file. See the [module](self).
#[derive(Clone, Debug)]
pub struct DiskStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The counters that are not written.
    memory: MemoryStore,
    /// Those that are.
    table: Arc<Table>,
    /// For records, until the file is closed.
    reader: RwLock<Option<Reader>>,
    threads: Threads,
    secret: [u8; 16],
    /// The file, as messages name it.
    name: String,
}

impl DiskStore {
    /// Opens the store in `directory`, and makes one where there is none. Counters that are not written are kept in `memory`;
    /// of the others about `most` are in memory at a time, and take about as many `bytes`.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is not a store of this version, or is open already. It is left as it is.
    pub fn holding(
        directory: &Path,
        memory: MemoryStore,
        most: usize,
        bytes: usize,
    ) -> Result<Self, OpenError> {
        Self::of(File::open(directory)?, memory, most, bytes)
    }

    /// The same, however many bytes they take.
    ///
    /// # Errors
    ///
    /// As [`holding`](Self::holding).
    pub fn open(directory: &Path, memory: MemoryStore, most: usize) -> Result<Self, OpenError> {
        Self::holding(directory, memory, most, usize::MAX)
    }

    fn of(file: File, memory: MemoryStore, most: usize, bytes: usize) -> Result<Self, OpenError> {
        let (name, secret) = (file.name().to_owned(), file.secret());
        let table = Arc::new(Table::new(most, bytes));
        let reader = RwLock::new(Some(file.reader()));
        let threads = Threads::start(file, Arc::clone(&table), memory.clone())
            .map_err(|source| OpenError::Io { path: name.clone().into(), source })?;
        Ok(Self(Arc::new(Inner { memory, table, reader, threads, secret, name })))
    }

    /// The secret that counters' keys are made under. It was drawn when the file was made.
    pub fn secret(&self) -> [u8; 16] {
        self.0.secret
    }

    /// Writes all counters as they are, and closes the file. Charges that need the file fail from now on. This blocks until the
    /// disk has everything.
    ///
    /// # Errors
    ///
    /// When it could not be written. Then the file has what it has after a crash.
    pub fn close(&self) -> Result<(), StoreError> {
        self.0.table.close();
        drop(self.0.reader.write().take());
        self.0.threads.close().map_err(|reason| self.0.failed(reason))
    }
}

/// What became of a try.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum Tried {
    Settled(Outcomes),
    /// Nothing has happened. It is worth another try when all of these are ready.
    Waits(Few<oneshot::Receiver<()>>),
}

impl Inner {
    fn failed(&self, reason: String) -> StoreError {
        StoreError::Failed { store: self.name.clone(), reason }
    }

    /// Makes the charges if no image has to be written before. If one has, asks for it, provided that the caller `waits`.
    fn attempt(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        waits: bool,
    ) -> Result<Tried, StoreError> {
        let mut keys: Few<CellKey> =
            charges.iter().filter(|charge| self.is_kept(charge)).map(|of| of.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut others: Few<CellKey> =
            charges.iter().map(|charge| charge.key).filter(|key| keys.binary_search(key).is_err()).collect();
        others.sort_unstable();
        others.dedup();
        let mut locked = Locked::new(&self.table, &keys);
        // Once the last commit has begun nothing changes any more.
        if self.table.is_closed() {
            return Err(self.failed("it is closed".to_owned()));
        }
        let unknown = self.load(&mut locked, &keys, now, waits)?;
        if let Some(unknown) = unknown {
            return Ok(Tried::Waits(unknown));
        }
        let numbered: Few<Share> = charges
            .iter()
            .map(|charge| {
                let cell = keys
                    .binary_search(&charge.key)
                    .unwrap_or_else(|_| keys.len() + others.binary_search(&charge.key).unwrap_or_default());
                Share { cell, ..charge.share }
            })
            .collect();
        // Shards of this table are locked before those in memory, always.
        self.memory.lend(&others, now, |lent| {
            let own = keys.iter().map(|key| locked.kept(key).cell.clone());
            let mut cells: Few<Cell> = own.chain(lent.iter().cloned()).collect();
            let outcomes = settle(mode, &numbered, &mut cells, now);

            let mut uncovered = Few::<(Asked, Cell)>::new();
            for (at, key) in keys.iter().enumerate() {
                if !locked.kept(key).covers(&cells[at]) {
                    let asked = Asked::of(*key, charges, &outcomes, now);
                    if asked.waits() {
                        uncovered.push((asked, cells[at].clone()));
                    }
                }
            }
            if !uncovered.is_empty() {
                return self.wait(&mut locked, uncovered, waits);
            }
            for (to, from) in lent.iter_mut().zip(cells.drain(keys.len()..)) {
                *to = from;
            }
            for (key, cell) in keys.iter().zip(cells) {
                let kept = locked.kept(key);
                kept.cell = cell;
                let asked = Asked::of(*key, charges, &outcomes, now);
                if kept.is_due(&asked, now) && kept.ask(asked) {
                    self.threads.write(*key);
                }
            }
            Ok(Tried::Settled(outcomes))
        })
    }

    /// What has to be waited for before all of `keys` are in memory, if any is not.
    fn load(
        &self,
        locked: &mut Locked<'_>,
        keys: &[CellKey],
        now: Timestamp,
        waits: bool,
    ) -> Result<Option<Few<oneshot::Receiver<()>>>, StoreError> {
        let mut unknown = Few::new();
        let mut complete = true;
        for key in keys {
            let shard = locked.shard(key);
            match shard.get(key).map(|kept| kept.state) {
                Some(State::Known) => continue,
                Some(State::Unreadable(error)) => {
                    return Err(StoreError::Unreadable { source: Box::new(error) });
                }
                Some(State::Loading) | None => complete = false,
            }
            if !waits {
                continue;
            }
            if let Some(reason) = self.table.failure() {
                return Err(self.failed(reason));
            }
            if !shard.contains_key(key) {
                for key in self.table.make_room(shard, now) {
                    self.threads.write(key);
                }
                if self.table.is_overfull(shard) {
                    let reason = "too many counters wait to be written".to_owned();
                    return Err(StoreError::Refused { reason });
                }
                shard.insert(*key, Kept::loading());
                self.table.count(shard);
                self.threads.load(*key);
            }
            let (ready, waits) = oneshot::channel();
            locked.kept(key).wake_when_loaded(ready);
            unknown.push(waits);
        }
        Ok((!complete).then_some(unknown))
    }

    /// Asks for images.
    fn wait(
        &self,
        locked: &mut Locked<'_>,
        uncovered: Few<(Asked, Cell)>,
        waits: bool,
    ) -> Result<Tried, StoreError> {
        let mut receivers = Few::new();
        if waits {
            if let Some(reason) = self.table.failure() {
                return Err(self.failed(reason));
            }
            for (asked, after) in uncovered {
                let (ready, waits) = oneshot::channel();
                if locked.kept(&asked.key).ask_and_wait(asked, after, ready) {
                    self.threads.write(asked.key);
                }
                receivers.push(waits);
            }
        }
        Ok(Tried::Waits(receivers))
    }
}

impl Inner {
    /// Whether a charge is counted in the table. A counter that was durable until the policy changed goes on there.
    fn is_kept(&self, charge: &Charge) -> bool {
        charge.is_durable() || self.table.with(&charge.key, |kept| kept.is_known()) == Some(true)
    }
}

/// The shards of some keys, locked in their order.
struct Locked<'a> {
    table: &'a Table,
    places: Few<usize>,
    shards: Few<MutexGuard<'a, Shard>>,
}

impl<'a> Locked<'a> {
    fn new(table: &'a Table, keys: &[CellKey]) -> Self {
        let mut places: Few<usize> = keys.iter().map(|key| table.place(key)).collect();
        places.sort_unstable();
        places.dedup();
        let shards = places.iter().map(|&place| table.lock(place)).collect();
        Self { table, places, shards }
    }

    fn shard(&mut self, key: &CellKey) -> &mut Shard {
        let at = self.places.binary_search(&self.table.place(key)).unwrap_or_default();
        &mut self.shards[at]
    }

    /// A counter that is in memory.
    fn kept(&mut self, key: &CellKey) -> &mut Kept {
        self.shard(key).entry(*key).or_insert_with(Kept::loading)
    }
}

impl Store for DiskStore {
    type Session = Self;

    fn session(&self) -> Self {
        self.clone()
    }

    fn statistics(&self) -> Statistics {
        let (memory, (counters, bytes)) = (self.0.memory.statistics(), self.0.table.size());
        Statistics { counters: memory.counters + counters, bytes: memory.bytes + bytes, ..memory }
    }

    /// What the disk has after a failed commit is known only when the file is opened anew.
    fn failure(&self) -> Option<String> {
        self.0.table.failure()
    }

    fn records(&self) -> Option<Arc<dyn Records>> {
        Some(Arc::new(DiskRecords(Arc::clone(&self.0))))
    }

    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        self.0.threads.sweep(now);
        self.0.memory.sweep(now).chain(self.0.table.sweep(now))
    }
}

impl Session for DiskStore {
    const ANSWERS: Answers = Answers::MostlyNow;

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        if !charges.iter().any(|charge| self.0.is_kept(charge)) {
            return self.0.memory.apply_now(mode, charges, now);
        }
        match self.0.attempt(mode, charges, now, false) {
            Ok(Tried::Settled(outcomes)) => Some(outcomes),
            Ok(Tried::Waits(_)) | Err(_) => None,
        }
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        let begun = Instant::now();
        loop {
            let waits = match self.0.attempt(mode, charges, now, true)? {
                Tried::Settled(outcomes) => return Ok(outcomes),
                Tried::Waits(waits) => waits,
            };
            for ready in waits {
                // Whether it was written, or nothing is written any more, the next try says.
                if timeout_at(deadline, ready).await.is_err() {
                    return Err(StoreError::TimedOut { after: begun.elapsed() });
                }
            }
        }
    }
}
