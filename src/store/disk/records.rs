//! Records on their way to the file.
//!
//! Counters and records that are asked for at a time are written in one commit.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::threads::Task;
use super::{Inner, StoreError};
use crate::store::records::{Record, RecordKind, Records, Visit};

/// The records of an open store.
#[derive(Debug)]
pub(super) struct DiskRecords(pub(super) Arc<Inner>);

impl Records for DiskRecords {
    fn each(&self, kind: RecordKind, scope: &str, visit: Visit<'_>) -> Result<(), StoreError> {
        // Held while it reads: the file is closed when nobody reads it.
        let reader = self.0.reader.read();
        let reader = reader.as_ref().ok_or_else(|| self.0.failed("it is closed".to_owned()))?;
        let read = reader.records((kind.name(), scope, ""), |(of, within, id), value| {
            if (of, within) != (kind.name(), scope) {
                return ControlFlow::Break(());
            }
            visit(id, value);
            ControlFlow::Continue(())
        });
        read.map_err(|error| self.0.failed(error.to_string()))
    }

    fn apply(&self, changes: Vec<Record>) -> Result<(), StoreError> {
        let why = || self.0.table.failure().unwrap_or_else(|| "it is closed".to_owned());
        if changes.is_empty() {
            return Ok(());
        }
        let (done, wait) = sync_channel(1);
        if self.0.table.failure().is_some() || !self.0.threads.send(Task::Records(changes, done)) {
            return Err(self.0.failed(why()));
        }
        // Dropped without a word when the thread has failed.
        wait.recv().map_err(|_| self.0.failed(why()))
    }
}
