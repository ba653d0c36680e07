//! Records on their way to the file.
//!
//! Counters and records that are asked for at a time are written in one commit. A disk may stand still for as long as it likes, so
//! whoever has records written waits for a while only. Then it takes them back, if no commit has them yet.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::threads::{SENSELESS, Task};
use super::{Inner, StoreError};
use crate::store::records::{Record, RecordKind, Records, Visit};

/// How long the disk is waited for: a thousand times as long as a commit takes, and less than people wait for an answer.
const WITHIN: Duration = Duration::from_secs(5);

/// The records of an open store.
#[derive(Debug)]
pub(super) struct DiskRecords {
    store: Arc<Inner>,
    within: Duration,
}

impl DiskRecords {
    pub(super) fn of(store: Arc<Inner>) -> Self {
        Self { store, within: WITHIN }
    }

    /// The same, with another time to wait for the disk.
    #[cfg(test)]
    pub(super) fn waiting(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

impl Records for DiskRecords {
    fn each(&self, kind: RecordKind, scope: &str, visit: Visit<'_>) -> Result<(), StoreError> {
        // Held while it reads: the file is closed when nobody reads it.
        let reader = self.store.reader.read();
        let open = reader.as_ref().ok_or_else(|| self.store.failed("it is closed".to_owned()))?;
        let mut found = Vec::new();
        let read = catch_unwind(AssertUnwindSafe(|| {
            open.records((kind.name(), scope, ""), |(of, within, id), value| {
                if (of, within) != (kind.name(), scope) {
                    return ControlFlow::Break(());
                }
                found.push((id.to_owned(), value.to_owned()));
                ControlFlow::Continue(())
            })
        }));
        let read = read.map_err(|_| SENSELESS.to_owned());
        read.and_then(|read| read.map_err(|error| error.to_string())).map_err(|reason| {
            // The file is opened anew, as where a counter of it cannot be read.
            self.store.table.fail(reason.clone());
            self.store.threads.send(Task::Failed(reason.clone()));
            self.store.failed(reason)
        })?;
        drop(reader);
        // Here, for a panic of whoever looks at them says nothing of the file, and a look that takes its time does not keep it open.
        for (id, value) in &found {
            visit(id, value);
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Record>) -> Result<(), StoreError> {
        if changes.is_empty() { Ok(()) } else { self.wait_for(changes) }
    }

    fn flush(&self) -> Result<(), StoreError> {
        // What was asked for before is in the same commit, or in an earlier one.
        self.wait_for(Vec::new())
    }
}

impl DiskRecords {
    fn wait_for(&self, changes: Vec<Record>) -> Result<(), StoreError> {
        let why = || match self.store.table.failure() {
            Some(reason) => reason,
            None if self.store.table.is_closed() => "it is closed".to_owned(),
            None => "it was opened anew meanwhile".to_owned(),
        };
        let (done, wait) = sync_channel(1);
        let asked = Arc::new(Mutex::new(Some(changes)));
        let task = Task::Records(Arc::clone(&asked), done);
        if self.store.table.failure().is_some() || !self.store.threads.send(task) {
            return Err(self.store.failed(why()));
        }
        let stands_still =
            || format!("the disk of `{}` has stood still for {:?}", self.store.name, self.within);
        // Taken back, they are in no commit. Else they are in one that did not end well, or may still do so.
        let taken_back = || asked.lock().take().is_some();
        match wait.recv_timeout(self.within) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(self.in_doubt(reason)),
            // Dropped without a word when the thread has failed.
            Err(RecvTimeoutError::Disconnected) if taken_back() => Err(self.store.failed(why())),
            Err(RecvTimeoutError::Disconnected) => Err(self.in_doubt(why())),
            Err(RecvTimeoutError::Timeout) if taken_back() => {
                Err(StoreError::Refused { reason: stands_still() })
            }
            Err(RecvTimeoutError::Timeout) => Err(self.in_doubt(stands_still())),
        }
    }

    fn in_doubt(&self, reason: String) -> StoreError {
        StoreError::InDoubt { store: self.store.name.clone(), reason }
    }
}
