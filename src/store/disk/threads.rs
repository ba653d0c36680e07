//! The two threads that may block: one reads counters, and one writes.

use std::io;
use std::iter::once;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::file::{Changes, File, Reader};
use super::table::Table;
use super::{CellKey, MemoryStore, Timestamp};
use crate::store::codec;
use crate::store::records::Record;

/// Counters that one commit writes, or one transaction reads.
const BATCH: usize = 16 * 1024;
/// Counters of the file that are looked at when it is swept: so few that nobody who waits for a commit notices.
const SWEPT: usize = 2 * 1024;
/// Where a sweep of the file begins.
const FIRST: CellKey = CellKey { high: 0, low: 0 };

/// The ways to the threads. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Threads {
    reads: Mutex<Option<Sender<CellKey>>>,
    writes: Mutex<Option<Sender<Task>>>,
    running: Mutex<Option<JoinHandle<Result<(), String>>>>,
}

/// What the thread that writes is asked for.
#[derive(Debug)]
pub(super) enum Task {
    /// The image that a counter asks for.
    Write(CellKey),
    /// To forget some counters that decide nothing any more.
    Sweep(Timestamp),
    /// To write records, and to say so.
    Records(Vec<Record>, SyncSender<()>),
}

impl Threads {
    pub(super) fn start(file: File, table: Arc<Table>, memory: MemoryStore) -> io::Result<Self> {
        let (reads, to_read) = mpsc::channel();
        let (writes, to_write) = mpsc::channel();
        let (reader, of_reader) = (file.reader(), Arc::clone(&table));
        let reads_thread = thread::Builder::new()
            .name("disk-reads".into())
            .spawn(move || read(&reader, &to_read, &of_reader, &memory))?;
        let writing = move || {
            let written = write(&file, &to_write, &table);
            // The file can be closed when nobody reads it.
            let read = reads_thread.join().map_err(|_| "the thread that reads it panicked".to_owned());
            let closed = file.close().map_err(|error| error.to_string());
            written.and(read).and(closed)
        };
        let writes_thread = thread::Builder::new().name("disk-writes".into()).spawn(writing)?;
        let (reads, writes) = (Mutex::new(Some(reads)), Mutex::new(Some(writes)));
        Ok(Self { reads, writes, running: Mutex::new(Some(writes_thread)) })
    }

    /// Has a counter read.
    pub(super) fn load(&self, key: CellKey) {
        if let Some(reads) = &*self.reads.lock() {
            // A thread that has ended has told everybody that it failed.
            let _ = reads.send(key);
        }
    }

    /// Has a counter written that asks for it.
    pub(super) fn write(&self, key: CellKey) {
        self.send(Task::Write(key));
    }

    /// Has the file swept.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.send(Task::Sweep(now));
    }

    /// Whether there is a thread that takes it. It may fail all the same.
    pub(super) fn send(&self, task: Task) -> bool {
        self.writes.lock().as_ref().is_some_and(|writes| writes.send(task).is_ok())
    }

    /// Waits until all is written, and the file is closed.
    pub(super) fn close(&self) -> Result<(), String> {
        drop(self.reads.lock().take());
        drop(self.writes.lock().take());
        let Some(running) = self.running.lock().take() else { return Ok(()) };
        running.join().unwrap_or_else(|_| Err("the thread that writes it panicked".to_owned()))
    }
}

/// Tells who waits that the store has failed, should the thread panic: redb does when a file makes no sense.
struct Guard<'a>(&'a Table);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("a thread panicked, as it does when the file is damaged".to_owned());
        }
    }
}

/// Reads counters until nobody is left who may ask for one.
fn read(reader: &Reader, asked: &Receiver<CellKey>, table: &Table, memory: &MemoryStore) {
    let _guard = Guard(table);
    while let Ok(first) = asked.recv() {
        let keys: Vec<CellKey> = once(first).chain(asked.try_iter().take(BATCH)).collect();
        match reader.read(&keys) {
            Ok(cells) => {
                for (key, read) in keys.iter().zip(cells) {
                    // A limit that was not kept on the disk before has its counter in memory.
                    let in_memory =
                        || memory.lend(&[*key], Timestamp::EPOCH, |cells| std::mem::take(&mut cells[0]));
                    table.with(key, |kept| kept.loaded(read, in_memory));
                }
            }
            Err(error) => table.fail(error.to_string()),
        }
    }
}

/// Writes what is asked for until nobody is left who may ask, and then all counters as they are.
fn write(file: &File, asked: &Receiver<Task>, table: &Table) -> Result<(), String> {
    let _guard = Guard(table);
    let mut next = FIRST;
    while let Ok(first) = asked.recv() {
        let mut changes = Changes::default();
        let (mut keys, mut told) = (Vec::new(), Vec::new());
        for task in once(first).chain(asked.try_iter().take(BATCH)) {
            match task {
                Task::Write(key) => keys.push(key),
                Task::Records(records, done) => {
                    changes.records.extend(records);
                    told.push(done);
                }
                Task::Sweep(now) => match file.spent(next, SWEPT, now) {
                    Ok((spent, rest)) => {
                        changes.removed.extend(spent);
                        next = rest.unwrap_or(FIRST);
                    }
                    Err(error) => return fail(table, &error),
                },
            }
        }
        // What is in memory may be about to count again.
        changes.removed.retain(|key| table.with(key, |_| ()).is_none());
        // In the order of the file, neighbours are written together.
        keys.sort_unstable();
        for key in &keys {
            let mut image = Vec::new();
            if table
                .with(key, |kept| kept.begin().map(|cell| codec::encode(cell, &mut image)))
                .flatten()
                .is_some()
            {
                changes.put.push((*key, image));
            }
        }
        if changes.put.is_empty() && changes.removed.is_empty() && changes.records.is_empty() {
            continue;
        }
        if let Err(error) = file.commit(&changes) {
            return fail(table, &error);
        }
        for (key, _) in &changes.put {
            table.with(key, super::Kept::written);
        }
        for done in told {
            // There is room for one.
            let _ = done.try_send(());
        }
    }
    finish(file, table)
}

/// Writes all counters as they are.
fn finish(file: &File, table: &Table) -> Result<(), String> {
    table.close();
    let mut changes = Changes::default();
    table.each(|key, kept| {
        if let Some(cell) = kept.unwritten() {
            let mut image = Vec::new();
            codec::encode(cell, &mut image);
            changes.put.push((*key, image));
        }
    });
    changes.put.sort_unstable();
    let committed = if changes.put.is_empty() { Ok(()) } else { file.commit(&changes) };
    if let Err(error) = committed {
        return fail(table, &error);
    }
    table.each(|_, kept| kept.forget_waiting());
    Ok(())
}

fn fail(table: &Table, error: &redb::Error) -> Result<(), String> {
    table.fail(error.to_string());
    Err(error.to_string())
}
