//! A store on a disk, whose counters all are kept.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use spillway::algorithm::{Charge, Durability, Mode, Outcomes};
use spillway::model::Timestamp;
use spillway::store::{Answers, DiskStore, MemoryStore, Session, Statistics, Store, StoreError};
use tempfile::TempDir;
use tokio::time::Instant;

/// Counters of one durability in a new directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    store: DiskStore,
    durability: Durability,
    /// Removed with the last of them.
    _directory: Arc<TempDir>,
}

impl Disk {
    pub(super) fn with(durability: Durability) -> Self {
        let directory = directory();
        let store = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
        Self { store, durability, _directory: Arc::new(directory) }
    }
}

/// A new directory, in memory if there is such a file system: the laws are not about the disk's speed.
pub(super) fn directory() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared).unwrap() } else { TempDir::new().unwrap() }
}

impl Store for Disk {
    type Session = Self;

    fn session(&self) -> Self {
        self.clone()
    }

    fn statistics(&self) -> Statistics {
        self.store.statistics()
    }

    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        self.store.sweep(now)
    }
}

impl Session for Disk {
    const ANSWERS: Answers = <DiskStore as Session>::ANSWERS;

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        self.store.apply_now(mode, &kept(charges, self.durability), now)
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        // The time of the laws stands still while a thread is busy for them, as the disk's is.
        let (done, busy) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || busy.recv_timeout(Duration::from_secs(10)));
        let settled = self.store.apply(mode, &kept(charges, self.durability), now, deadline).await;
        drop(done);
        settled
    }
}

fn kept(charges: &[Charge], durability: Durability) -> Vec<Charge> {
    charges.iter().map(|charge| Charge { durability, ..*charge }).collect()
}
