//! A store that no server has open, as operators look at it, copy it and move it.

use std::path::Path;

use super::file::{Changes, File};
use super::new::New;
use super::{Cell, CellKey, MemoryStore, OpenError, StoreError, Timestamp};
use crate::store::codec::{self, DecodeError};

/// Counters that are written in one commit.
const BATCH: usize = 10_000;

/// A counter, and what it is known by.
pub type Counter = (CellKey, Cell);

/// A store that nobody counts in while this has it.
#[derive(Debug)]
pub struct Offline {
    /// Before `file`, which has its lock.
    new: Option<New>,
    file: File,
}

impl Offline {
    /// Opens the store in `directory`.
    ///
    /// # Errors
    ///
    /// When there is none, and as [`DiskStore::open`](super::DiskStore::open) does.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { new: None, file: File::open_existing(directory)? })
    }

    /// Makes a store in `directory` whose keys are made under `secret`. It is there once it is [closed](Self::close); if this is
    /// dropped before, there is none.
    ///
    /// # Errors
    ///
    /// When there is one already, or it cannot be made.
    pub fn create(directory: &Path, secret: [u8; 16]) -> Result<Self, OpenError> {
        let (file, new) = File::create(directory, &secret)?;
        Ok(Self { new: Some(new), file })
    }

    /// The file.
    pub fn name(&self) -> &str {
        self.file.name()
    }

    /// The secret that counters' keys are made under.
    pub fn secret(&self) -> [u8; 16] {
        self.file.secret()
    }

    /// Shows each counter, until `visit` fails.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and those of `visit`.
    pub fn each<E: From<StoreError>>(
        &self,
        mut visit: impl FnMut(CellKey, Result<Cell, DecodeError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut first = Some(CellKey { high: 0, low: 0 });
        while let Some(from) = first {
            let (counters, next) = self.file.from(from, BATCH).map_err(|error| self.failed(&error))?;
            for (key, image) in counters {
                visit(key, codec::decode(&image))?;
            }
            first = next;
        }
        Ok(())
    }

    /// Writes counters.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn put(&self, counters: &[Counter]) -> Result<(), StoreError> {
        for counters in counters.chunks(BATCH) {
            let mut changes = Changes::default();
            for (key, cell) in counters {
                let mut image = Vec::new();
                codec::encode(cell, &mut image);
                changes.put.push((*key, image));
            }
            self.file.commit(&changes).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// Copies the counters of `keys` that there are to `memory`, and tells which these are.
    ///
    /// # Errors
    ///
    /// When the file, or one of them, cannot be read.
    pub fn lend(&self, keys: &[CellKey], memory: &MemoryStore) -> Result<Vec<CellKey>, StoreError> {
        let read = self.file.reader().read(keys).map_err(|error| self.failed(&error))?;
        let mut there = Vec::new();
        for (key, cell) in keys.iter().zip(read) {
            let cell = cell.map_err(|source| StoreError::Unreadable { source: Box::new(source) })?;
            if let Some(cell) = cell {
                memory.lend(&[*key], Timestamp::EPOCH, |cells| cells[0] = cell);
                there.push(*key);
            }
        }
        Ok(there)
    }

    /// Forgets counters.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn remove(&self, keys: &[CellKey]) -> Result<(), StoreError> {
        let changes = Changes { removed: keys.to_vec(), ..Changes::default() };
        self.file.commit(&changes).map_err(|error| self.failed(&error))
    }

    /// Gives back what the file has room for beside its counters.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn compact(self) -> Result<(), StoreError> {
        let store = self.name().to_owned();
        let failed =
            |error: redb::Error| StoreError::Failed { store: store.clone(), reason: error.to_string() };
        self.file.compact().map_err(failed)
    }

    /// Puts a store that was made in its place, and closes the file.
    ///
    /// # Errors
    ///
    /// When it could not be written.
    pub fn close(self) -> Result<(), StoreError> {
        let store = self.name().to_owned();
        let failed = |reason: String| StoreError::Failed { store: store.clone(), reason };
        if let Some(new) = self.new {
            new.publish().map_err(|error| failed(error.to_string()))?;
        }
        self.file.close().map_err(|error| failed(error.to_string()))
    }

    fn failed(&self, error: &redb::Error) -> StoreError {
        StoreError::Failed { store: self.name().to_owned(), reason: error.to_string() }
    }
}
