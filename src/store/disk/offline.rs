//! A store that no server has open, as operators look at it, copy it and move it.

use std::ops::ControlFlow;
use std::path::Path;

use super::file::{Changes, File};
use super::unpublished::Unpublished;
use super::{Cell, CellKey, MemoryStore, OpenError, StoreError, Timestamp};
use crate::store::codec::{self, DecodeError};
use crate::store::records::{Record, RecordKind};

/// Counters that are written in one commit.
const BATCH: usize = 10_000;

/// A counter, and what it is known by.
pub type Counter = (CellKey, Cell);

/// A store that nobody counts in while this has it. A new one is in its place when it is [closed](Self::close), and not before.
#[derive(Debug)]
pub struct Offline(File, Option<Unpublished>);

impl Offline {
    /// Opens the store in `directory`.
    ///
    /// # Errors
    ///
    /// When there is none, and as [`DiskStore::open`](super::DiskStore::open) does.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        File::open_existing(directory).map(|file| Self(file, None))
    }

    /// Makes a store in `directory` whose keys are made under `secret`.
    ///
    /// # Errors
    ///
    /// When there is one already, or it cannot be made.
    pub fn create(directory: &Path, secret: [u8; 16]) -> Result<Self, OpenError> {
        File::create(directory, secret).map(|(file, new)| Self(file, Some(new)))
    }

    /// The file.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The secret that counters' keys are made under.
    pub fn secret(&self) -> [u8; 16] {
        self.0.secret()
    }

    /// Copies those of some counters that there are into `memory`, and tells how many.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn copy_to(&self, keys: &[CellKey], memory: &MemoryStore) -> Result<usize, StoreError> {
        let cells = self.0.reader().read(keys).map_err(|error| self.failed(&error))?;
        let mut copied = 0;
        for (key, cell) in keys.iter().zip(cells) {
            let cell = cell.map_err(|source| StoreError::Unreadable { source: Box::new(source) })?;
            if let Some(cell) = cell {
                copied += 1;
                memory.lend(&[*key], Timestamp::EPOCH, |cells| cells[0] = cell);
            }
        }
        Ok(copied)
    }

    /// Forgets counters.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub fn remove(&self, keys: &[CellKey]) -> Result<(), StoreError> {
        let changes = Changes { removed: keys.to_vec(), ..Changes::default() };
        self.0.commit(&changes).map_err(|error| self.failed(&error))
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
            let (counters, next) = self.0.from(from, BATCH).map_err(|error| self.failed(&error))?;
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
            self.0.commit(&changes).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// What it knows of subjects.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a later version wrote records of a kind that this one does not know.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let (mut records, mut unknown) = (Vec::new(), None);
        let read = self.0.reader().records(("", "", ""), |(name, scope, id), value| {
            let Some(kind) = RecordKind::named(name) else {
                unknown = Some(name.to_owned());
                return ControlFlow::Break(());
            };
            let (scope, id, value) = (scope.to_owned(), id.to_owned(), Some(value.to_owned()));
            records.push(Record { kind, scope, id, value });
            ControlFlow::Continue(())
        });
        read.map_err(|error| self.failed(&error))?;
        unknown.map_or(Ok(records), |kind| {
            let reason =
                format!("it has a record of the kind `{kind}`, which this version of Spillway does not know");
            Err(StoreError::Failed { store: self.name().to_owned(), reason })
        })
    }

    /// Puts and deletes records.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn put_records(&self, records: &[Record]) -> Result<(), StoreError> {
        for records in records.chunks(BATCH) {
            let changes = Changes { records: records.to_vec(), ..Changes::default() };
            self.0.commit(&changes).map_err(|error| self.failed(&error))?;
        }
        Ok(())
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
        self.0.compact().map_err(failed)
    }

    /// Closes the file, and gives it its name if it is new.
    ///
    /// # Errors
    ///
    /// When it could not be written, or another has its name by now.
    pub fn close(self) -> Result<(), StoreError> {
        let store = self.name().to_owned();
        let failed = |reason| StoreError::Failed { store, reason };
        let closed = self.0.close().map_err(|error| error.to_string());
        let published = closed
            .and_then(|()| self.1.map_or(Ok(()), |new| new.publish().map_err(|error| error.to_string())));
        published.map_err(failed)
    }

    fn failed(&self, error: &redb::Error) -> StoreError {
        StoreError::Failed { store: self.name().to_owned(), reason: error.to_string() }
    }
}
