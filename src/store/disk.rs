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
//! When the file cannot be written, what it has covers the counters as far as it goes, other charges fail, and it is opened anew as soon
//! as that works; see `recovery`. Meanwhile, and where a commit takes longer than a caller waits, charges may be made
//! [without it](Session::apply_alone): they count in memory, in the same counters, or apart where these were not read yet.
//!
//! Beside the counters the file has [`Records`]: what the server has learned about subjects.

mod file;
mod kept;
mod mark;
mod offline;
mod open_error;
mod recorded;
mod records;
mod recovery;
mod table;
#[cfg(test)]
mod tests;
mod threads;
mod unpublished;

use std::path::Path;
use std::sync::Arc;

use parking_lot::{MutexGuard, RwLock};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::file::{File, Reader};
use self::kept::{Asked, Kept, State};
pub use self::offline::{Counter, Offline};
pub use self::open_error::OpenError;
use self::records::DiskRecords;
use self::recovery::Reopen;
use self::table::{Shard, Table};
use self::threads::{Parts, Threads};
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
    reader: Arc<RwLock<Option<Reader>>>,
    threads: Threads,
    secret: [u8; 16],
    /// The file, as messages name it.
    name: String,
    lost_commits: u64,
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
        Self::of(File::open(directory)?, Reopen::renewed(directory), memory, most, bytes)
    }

    /// The same, however many bytes they take.
    ///
    /// # Errors
    ///
    /// As [`holding`](Self::holding).
    pub fn open(directory: &Path, memory: MemoryStore, most: usize) -> Result<Self, OpenError> {
        Self::holding(directory, memory, most, usize::MAX)
    }

    fn of(
        file: File,
        reopen: Reopen,
        memory: MemoryStore,
        most: usize,
        bytes: usize,
    ) -> Result<Self, OpenError> {
        let (name, secret, lost_commits) = (file.name().to_owned(), file.secret(), file.lost_commits());
        let table = Arc::new(Table::new(most, bytes));
        let reader = Arc::new(RwLock::new(Some(file.reader())));
        let parts = Parts { table: Arc::clone(&table), memory: memory.clone(), reader: Arc::clone(&reader) };
        let threads = Threads::start(file, parts, reopen)
            .map_err(|source| OpenError::Io { path: name.clone().into(), source })?;
        Ok(Self(Arc::new(Inner { memory, table, reader, threads, secret, name, lost_commits })))
    }

    /// The secret that counters' keys are made under. It was drawn when the file was made.
    pub fn secret(&self) -> [u8; 16] {
        self.0.secret
    }

    /// How many commits the file had lost when it was opened, though the disk had them: it was damaged, or replaced by an older copy.
    /// Hits that these commits counted can pass once more.
    pub fn lost_commits(&self) -> u64 {
        self.0.lost_commits
    }

    /// The file, as messages name it.
    pub fn name(&self) -> &str {
        &self.0.name
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

/// What is done where an image has to be written, or a counter to be read, before an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Nothing.
    None,
    /// It is asked for, and waited for.
    Waits,
    /// The answer is given all the same, by what is in memory.
    GoesWithout,
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

    /// Makes the charges if no image has to be written before, or the caller goes without it. If one has, asks for it, provided that the
    /// caller waits.
    fn attempt(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        patience: Patience,
    ) -> Result<Tried, StoreError> {
        let goes_without = patience == Patience::GoesWithout;
        let all = keys_of(charges);
        let mut locked = Locked::new(&self.table, &all);
        let is_durable = |key| charges.iter().any(|charge| charge.key == key && charge.is_durable());
        let (mut keys, mut others, mut unread) =
            (Few::<CellKey>::new(), Few::<CellKey>::new(), Few::<CellKey>::new());
        for key in all {
            match (locked.is_known(&key), is_durable(key)) {
                (true, _) => keys.push(key),
                (false, false) => others.push(key),
                (false, true) if !goes_without => keys.push(key),
                // Nobody knows what the file has of it. Whoever goes without the file counts apart from that, and what the file has stays
                // what it is.
                (false, true) => unread.push(key),
            }
        }
        others.extend(unread.iter().map(apart));
        others.sort_unstable();
        let of_others = |key: &CellKey| {
            let key = if unread.binary_search(key).is_ok() { apart(key) } else { *key };
            others.binary_search(&key).unwrap_or_default()
        };
        // Once the last commit has begun nothing changes any more.
        if self.table.is_closed() {
            return Err(self.failed("it is closed".to_owned()));
        }
        let unknown = self.load(&mut locked, &keys, now, patience == Patience::Waits)?;
        if let Some(unknown) = unknown {
            return Ok(Tried::Waits(unknown));
        }
        let numbered: Few<Share> = charges
            .iter()
            .map(|charge| {
                let cell =
                    keys.binary_search(&charge.key).unwrap_or_else(|_| keys.len() + of_others(&charge.key));
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
                if !goes_without && !locked.kept(key).covers(&cells[at]) {
                    let asked = Asked::of(*key, charges, &outcomes, now);
                    if asked.waits() {
                        uncovered.push((asked, cells[at].clone()));
                    }
                }
            }
            if !uncovered.is_empty() {
                return self.wait(&mut locked, uncovered, patience == Patience::Waits);
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
            // A file that cannot be written can mostly be read.
            if let Some(reason) = self.table.failure().filter(|_| !self.is_readable()) {
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
    /// Whether the file is open, or no more can be said without waiting.
    fn is_readable(&self) -> bool {
        self.reader.try_read().is_some_and(|reader| reader.is_some())
    }

    /// Makes the charges in memory if none of their counters is in the table. One that was durable until the policy changed goes on
    /// there; and while calls of the policy before go on, it may come there at any time and take along what memory has of it. So it
    /// is locked until the charges are made: what was counted in memory after that would count no more.
    fn apply_in_memory(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        if charges.iter().any(Charge::is_durable) {
            return None;
        }
        let keys = keys_of(charges);
        let mut locked = Locked::new(&self.table, &keys);
        if keys.iter().any(|key| locked.is_known(key)) {
            return None;
        }
        self.memory.apply_now(mode, charges, now)
    }
}

/// Where in memory hits are counted of a counter of which nobody knows what the file has.
fn apart(key: &CellKey) -> CellKey {
    CellKey { high: !key.high, low: key.low }
}

/// The counters of `charges`, in order.
fn keys_of(charges: &[Charge]) -> Few<CellKey> {
    let mut keys: Few<CellKey> = charges.iter().map(|charge| charge.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
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

    /// Whether a counter is in the table, and not only on its way there.
    fn is_known(&mut self, key: &CellKey) -> bool {
        self.shard(key).get(key).is_some_and(Kept::is_known)
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

    /// What the disk has after a failed commit is known only when the file is opened anew, which is tried again and again.
    fn failure(&self) -> Option<String> {
        self.0.table.failure()
    }

    fn records(&self) -> Option<Arc<dyn Records>> {
        Some(Arc::new(DiskRecords::of(Arc::clone(&self.0))))
    }

    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        self.0.threads.sweep(now);
        self.0.memory.sweep(now).chain(self.0.table.sweep(now))
    }
}

impl Session for DiskStore {
    const ANSWERS: Answers = Answers::MostlyNow;

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        self.0.apply_in_memory(mode, charges, now).or_else(|| {
            match self.0.attempt(mode, charges, now, Patience::None) {
                Ok(Tried::Settled(outcomes)) => Some(outcomes),
                Ok(Tried::Waits(_)) | Err(_) => None,
            }
        })
    }

    fn is_alone(&self) -> bool {
        true
    }

    /// Counters that could not be read are counted apart, from 0.
    fn apply_alone(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        match self.0.attempt(mode, charges, now, Patience::GoesWithout) {
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
            let waits = match self.0.attempt(mode, charges, now, Patience::Waits)? {
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
