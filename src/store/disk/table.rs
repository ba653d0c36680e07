//! All counters that are in memory and on the disk.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::MemoryStore;
use super::kept::Kept;
use crate::model::{CellKey, Timestamp};

const SHARDS: usize = 256;
/// Shards that are swept in one step.
const SWEPT: usize = 4;
/// Bytes that a counter takes in its shard.
const ENTRY: usize = size_of::<(CellKey, Kept)>() + 1;
/// Where a shard that has just grown has places for so many times its counters.
const PLACES: usize = 3;
/// Counters of a shard that are in memory however little of that there is.
const LEAST: usize = 8;

/// The counters of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    counters: HashMap<CellKey, Kept, BuildHasherDefault<Hashed>>,
    /// Bytes that the counters kept elsewhere when that was looked at last.
    elsewhere: usize,
    /// Bytes of this shard that are counted with those of all.
    counted: usize,
}

impl Deref for Shard {
    type Target = HashMap<CellKey, Kept, BuildHasherDefault<Hashed>>;

    fn deref(&self) -> &Self::Target {
        &self.counters
    }
}

impl DerefMut for Shard {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.counters
    }
}

impl Shard {
    fn bytes(&self) -> usize {
        self.counters.capacity() * ENTRY + self.elsewhere
    }

    fn look_elsewhere(&mut self) {
        self.elsewhere = self.counters.values().map(Kept::heap_bytes).sum();
    }
}

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// About how many counters of a shard are in memory.
    most: usize,
    /// The most bytes that those of a shard keep elsewhere.
    most_elsewhere: usize,
    /// Bytes of all.
    bytes: AtomicUsize,
    failure: RwLock<Option<String>>,
    closed: AtomicBool,
}

impl Table {
    /// About `most` counters are in memory, and take about `most_bytes` bytes.
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        let most_bytes = most_bytes / SHARDS;
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most: (most / SHARDS).max(64).min(most_bytes / (PLACES * ENTRY)).max(LEAST),
            most_elsewhere: most_bytes / 2,
            bytes: AtomicUsize::new(0),
            failure: RwLock::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Which shard a counter is in.
    pub(super) fn place(&self, key: &CellKey) -> usize {
        // The other half of the key says where in the shard.
        usize::try_from(key.high % self.shards.len() as u64).unwrap_or_default()
    }

    pub(super) fn lock(&self, place: usize) -> MutexGuard<'_, Shard> {
        self.shards[place].lock()
    }

    /// Whether somebody has the shard of a counter locked.
    #[cfg(test)]
    pub(super) fn is_locked(&self, key: &CellKey) -> bool {
        self.shards[self.place(key)].is_locked()
    }

    /// Does something with a counter, if it is in memory.
    pub(super) fn with<T>(&self, key: &CellKey, step: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        self.lock(self.place(key)).get_mut(key).map(step)
    }

    /// Does something with each counter, one shard after the other.
    pub(super) fn each(&self, mut step: impl FnMut(&CellKey, &mut Kept)) {
        for shard in &self.shards {
            shard.lock().iter_mut().for_each(|(key, kept)| step(key, kept));
        }
    }

    /// How many counters there are, and the bytes that they take.
    pub(super) fn size(&self) -> (u64, u64) {
        let counters: usize = self.shards.iter().map(|shard| shard.lock().len()).sum();
        (counters as u64, self.bytes.load(Ordering::Relaxed) as u64)
    }

    /// Counts the bytes that `shard` takes now.
    pub(super) fn count(&self, shard: &mut Shard) {
        let bytes = shard.bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(std::mem::replace(&mut shard.counted, bytes), Ordering::Relaxed);
    }

    /// Whether it may be that all counters have been written for the last time.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.read().clone()
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Nothing is written any more, until the file is opened anew. Who waits is told so.
    pub(super) fn fail(&self, reason: String) {
        *self.failure.write() = Some(reason);
        self.each(|_, kept| kept.forget_waiting());
    }

    /// The file is open again: counters are read from it when they are asked for, and nothing is known of what it has. What it may not
    /// have goes to `memory`, and of the two the higher one counts.
    pub(super) fn begin_anew(&self, memory: &MemoryStore) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            for (key, kept) in std::mem::take(&mut shard.counters) {
                if kept.is_known() && !kept.covers(&kept.cell) {
                    memory.lend(&[key], Timestamp::EPOCH, |cells| cells[0] = kept.cell);
                }
            }
            shard.look_elsewhere();
            self.count(&mut shard);
        }
        *self.failure.write() = None;
    }

    /// Forgets a counter that was to be read, so that it is asked for again.
    pub(super) fn forget_unread(&self, key: &CellKey) {
        let mut shard = self.lock(self.place(key));
        if shard.get(key).is_some_and(Kept::is_unread) {
            shard.remove(key);
            self.count(&mut shard);
        }
    }

    /// Makes room in a shard that is full: counters that are in the file as they are leave memory. Of the others an eighth is to
    /// be written, whose keys are returned.
    pub(super) fn make_room(&self, shard: &mut Shard, now: Timestamp) -> Vec<CellKey> {
        let is_large = shard.elsewhere > self.most_elsewhere && shard.len() > LEAST;
        if shard.len() < self.most && !is_large {
            return Vec::new();
        }
        let mut too_many = shard.len().min(self.most).div_ceil(8);
        shard.retain(|_, kept| {
            let goes = too_many > 0 && (kept.is_clean() || kept.is_spent(now));
            too_many -= usize::from(goes);
            !goes
        });
        let mut written = Vec::new();
        for (key, kept) in shard.iter_mut().filter(|(_, kept)| kept.is_idle()).take(too_many) {
            if kept.is_known() && kept.ask_as_it_is() {
                written.push(*key);
            }
        }
        shard.look_elsewhere();
        self.count(shard);
        written
    }

    /// Whether a shard has so many counters that are yet to be written that it takes no more.
    pub(super) fn is_overfull(&self, shard: &Shard) -> bool {
        shard.len() >= 2 * self.most
    }

    /// Forgets what decides nothing any more.
    pub(super) fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        self.shards.chunks(SWEPT).map(move |shards| {
            for shard in shards {
                let mut shard = shard.lock();
                shard.retain(|_, kept| !kept.is_spent(now));
                if shard.len() < shard.capacity() / 4 {
                    shard.shrink_to_fit();
                }
                shard.look_elsewhere();
                self.count(&mut shard);
            }
        })
    }
}

/// A key is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}
