//! All counters that are in memory and on the disk.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::kept::{Kept, State};
use crate::model::{CellKey, Timestamp};

const SHARDS: usize = 256;
/// Counters of a shard that may be in memory whatever they take.
const SMALLEST: usize = 64;
/// Shards that are swept in one step.
const SWEPT: usize = 4;

/// The counters of one shard.
pub(super) type Shard = HashMap<CellKey, Kept, BuildHasherDefault<Hashed>>;

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// About how many counters of a shard are in memory.
    most: usize,
    /// About how many bytes they take.
    most_bytes: usize,
    failure: OnceLock<String>,
    closed: AtomicBool,
}

impl Table {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most: (most / SHARDS).max(SMALLEST),
            most_bytes: most_bytes / SHARDS,
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether a shard has as much as it should.
    pub(super) fn is_full(&self, shard: &Shard) -> bool {
        // A shard of fewer is not worth a look at each of its counters.
        shard.len() >= self.most || shard.len() >= SMALLEST && bytes_of(shard) > self.most_bytes
    }

    /// Whether a shard has so much that counters it has no room for are refused.
    pub(super) fn is_overfull(&self, shard: &Shard) -> bool {
        shard.len() >= 2 * self.most
    }

    /// Which shard a counter is in.
    pub(super) fn place(&self, key: &CellKey) -> usize {
        // The other half of the key says where in the shard.
        usize::try_from(key.high % self.shards.len() as u64).unwrap_or_default()
    }

    pub(super) fn lock(&self, place: usize) -> MutexGuard<'_, Shard> {
        self.shards[place].lock()
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
        let (mut counters, mut bytes) = (0, 0);
        for shard in &self.shards {
            let shard = shard.lock();
            counters += shard.len() as u64;
            bytes += bytes_of(&shard) as u64;
        }
        (counters, bytes)
    }

    /// Whether it may be that all counters have been written for the last time.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Nothing is written any more. Who waits is told so.
    pub(super) fn fail(&self, reason: String) {
        // The first reason is the one that matters.
        let _ = self.failure.set(reason);
        self.each(|_, kept| kept.forget_waiting());
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
            }
        })
    }
}

/// Bytes that the counters of a shard take.
fn bytes_of(shard: &Shard) -> usize {
    let logs: usize = shard.values().map(Kept::heap_bytes).sum();
    shard.capacity() * (size_of::<(CellKey, Kept)>() + 1) + logs
}

/// Makes room in a shard that is full: counters that are in the file as they are leave memory. Of the others an eighth is to be
/// written, whose keys are returned.
pub(super) fn make_room(shard: &mut Shard, now: Timestamp) -> Vec<CellKey> {
    let mut too_many = shard.len().div_ceil(8);
    shard.retain(|_, kept| {
        let goes = too_many > 0 && (kept.is_clean() || kept.is_spent(now));
        too_many -= usize::from(goes);
        !goes
    });
    let mut written = Vec::new();
    for (key, kept) in shard.iter_mut().filter(|(_, kept)| kept.is_idle()).take(too_many) {
        if matches!(kept.state, State::Known) && kept.ask_as_it_is() {
            written.push(*key);
        }
    }
    written
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
