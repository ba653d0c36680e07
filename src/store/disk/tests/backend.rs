//! A disk that loses power.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use redb::StorageBackend;

/// How much of a write is on the disk, or is not.
const SECTOR: usize = 512;

/// A disk in memory, which knows what it was told to keep.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    content: Arc<Mutex<Content>>,
    full: Arc<AtomicBool>,
    senseless: Arc<AtomicBool>,
    /// Held while it stands still.
    still: Arc<Mutex<()>>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What is read.
    seen: Vec<u8>,
    /// What a loss of power leaves for certain.
    synced: Vec<u8>,
    /// What was written since, of which it leaves some.
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    At(usize, Vec<u8>),
}

impl Write {
    fn make(&self, bytes: &mut Vec<u8>, is_kept: &mut impl FnMut() -> bool) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::At(start, written) => {
                for (number, sector) in written.chunks(SECTOR).enumerate() {
                    let start = start + number * SECTOR;
                    if is_kept() && start + sector.len() <= bytes.len() {
                        bytes[start..start + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }
}

impl Disk {
    /// The disk as a loss of power at this moment leaves it: of what was not synced, the sectors that `is_kept` picks.
    pub(super) fn after_power_loss(&self, mut is_kept: impl FnMut() -> bool) -> Self {
        let content = self.content.lock().clone();
        let mut left = content.synced;
        for write in &content.unsynced {
            write.make(&mut left, &mut is_kept);
        }
        let content = Content { seen: left.clone(), synced: left, unsynced: Vec::new() };
        Self { content: Arc::new(Mutex::new(content)), ..Self::default() }
    }

    /// From now on each sync fails.
    pub(super) fn fill(&self) {
        self.full.store(true, Ordering::Release);
    }

    /// From now on each sync succeeds.
    pub(super) fn make_room(&self) {
        self.full.store(false, Ordering::Release);
    }

    /// From now on each access panics, as redb does at what makes no sense.
    pub(super) fn make_no_sense(&self) {
        self.senseless.store(true, Ordering::Release);
    }

    /// The disk stands still as long as this is locked: a sync neither ends nor fails.
    pub(super) fn still(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.still)
    }

    /// Changes a byte, as a broken disk does.
    pub(super) fn flip(&self, at: usize) {
        let mut content = self.content.lock();
        content.seen[at] ^= 0x41;
        content.synced = content.seen.clone();
    }

    pub(super) fn size(&self) -> usize {
        self.content.lock().seen.len()
    }
}

/// As long as a disk takes, or nothing would ever happen meanwhile.
#[expect(clippy::disallowed_methods, reason = "a part of the disk, on the thread that writes")]
fn wait() {
    thread::sleep(Duration::from_micros(300));
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.content.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        assert!(!self.senseless.load(Ordering::Acquire), "it makes no sense");
        let content = self.content.lock();
        let start = usize::try_from(offset).unwrap();
        let read = content.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut content = self.content.lock();
        let length = usize::try_from(len).unwrap();
        content.seen.resize(length, 0);
        content.unsynced.push(Write::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        assert!(!self.senseless.load(Ordering::Acquire), "it makes no sense");
        if self.full.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        drop(self.still.lock());
        wait();
        let mut content = self.content.lock();
        let unsynced = std::mem::take(&mut content.unsynced);
        for write in unsynced {
            write.make(&mut content.synced, &mut || true);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut content = self.content.lock();
        let write = Write::At(usize::try_from(offset).unwrap(), data.to_vec());
        write.make(&mut content.seen, &mut || true);
        content.unsynced.push(write);
        Ok(())
    }
}
