//! The two threads that may block: one reads counters, and one writes.

use std::io;
use std::iter::once;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, RwLock};

use super::file::{Changes, File, Reader};
use super::recovery::{Reopen, recover};
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
    /// Whether a sweep is asked for that has not begun: while a commit stands still there is no sense in another one.
    sweep_waits: Arc<AtomicBool>,
    running: Mutex<Option<JoinHandle<Result<(), String>>>>,
}

/// What the thread that writes is asked for.
#[derive(Debug)]
pub(super) enum Task {
    /// The image that a counter asks for.
    Write(CellKey),
    /// To forget some counters that decide nothing any more.
    Sweep(Timestamp),
    /// To write records, and to say what became of that.
    Records(Asked, Told),
    /// To open the file anew: it could not be read.
    Failed(String),
}

/// Records that are to be written, until the thread takes them, or whoever asked takes them back.
pub(super) type Asked = Arc<Mutex<Option<Vec<Record>>>>;

/// Hears that records are on the disk, or why that is not known.
pub(super) type Told = SyncSender<Result<(), String>>;

/// Why nothing more is written to a file.
#[derive(Debug)]
struct Unwritten {
    reason: String,
    /// Those whose records were taken for the commit that failed, or was never begun.
    told: Vec<Told>,
}

/// What both threads work with.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// The counters that are written.
    pub(super) table: Arc<Table>,
    /// Those that are not.
    pub(super) memory: MemoryStore,
    /// What is read from, as long as the file is open and can be written.
    pub(super) reader: Arc<RwLock<Option<Reader>>>,
}

impl Threads {
    /// Writes to `file`, and when that fails, to what `reopen` has opened.
    pub(super) fn start(file: File, parts: Parts, mut reopen: Reopen) -> io::Result<Self> {
        let (reads, to_read) = mpsc::channel();
        let (writes, to_write) = mpsc::channel();
        let (of_reader, to_writer) = (parts.clone(), writes.clone());
        let sweep_waits = Arc::new(AtomicBool::new(false));
        let of_writer = Arc::clone(&sweep_waits);
        let reads_thread = thread::Builder::new()
            .name("disk-reads".into())
            .spawn(move || read(&to_read, &to_writer, &of_reader))?;
        let writing = move || {
            let _guard = Guard(&parts.table);
            let mut file = file;
            while let Err(Unwritten { reason, told }) = whole(&file, &to_write, &of_writer, &parts.table) {
                let secret = file.secret();
                parts.table.fail(reason.clone());
                // Its handle says nothing any more of what is on the disk.
                let_go(parts.reader.write().take());
                // Whoever hears of it and reads again reads what the next handle says.
                for told in &told {
                    tell(told, Err(reason.clone()));
                }
                let_go(file);
                let asked = || (!reads_thread.is_finished()).then_some(&to_write);
                let Some(renewed) = recover(asked, secret, &parts, &mut reopen) else {
                    drop(parts.reader.write().take());
                    return Err(reason);
                };
                file = renewed;
                // One that was asked for meanwhile was dropped.
                of_writer.store(false, Ordering::Release);
            }
            let written = finish(&file, &parts.table);
            // The file can be closed when nobody reads it.
            let read = reads_thread.join().map_err(|_| "the thread that reads it panicked".to_owned());
            drop(parts.reader.write().take());
            let closed = file.close().map_err(|error| error.to_string());
            written.and(read).and(closed)
        };
        let writes_thread = thread::Builder::new().name("disk-writes".into()).spawn(writing)?;
        let (reads, writes) = (Mutex::new(Some(reads)), Mutex::new(Some(writes)));
        Ok(Self { reads, writes, sweep_waits, running: Mutex::new(Some(writes_thread)) })
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

    /// Has the file swept, unless that is asked for already.
    pub(super) fn sweep(&self, now: Timestamp) {
        if !self.sweep_waits.swap(true, Ordering::AcqRel) {
            self.send(Task::Sweep(now));
        }
    }

    /// Whether a sweep is asked for that nobody has made yet.
    #[cfg(test)]
    pub(super) fn waits_for_sweep(&self) -> bool {
        self.sweep_waits.load(Ordering::Acquire)
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

/// What is said of a file at which redb panics: it does so when what it reads makes no sense.
pub(super) const SENSELESS: &str = "it cannot be read to the end, as what it says makes no sense";

/// Writes as [`write()`] does. A panic is an error like others.
fn whole(
    file: &File,
    asked: &Receiver<Task>,
    sweep_waits: &AtomicBool,
    table: &Table,
) -> Result<(), Unwritten> {
    let written = catch_unwind(AssertUnwindSafe(|| write(file, asked, sweep_waits, table)));
    // Whoever waits for records hears that it is not known what became of them: their senders are gone.
    written.unwrap_or_else(|_| Err(Unwritten { reason: SENSELESS.to_owned(), told: Vec::new() }))
}

/// Closes a file, or what reads it. What makes no sense may not be closed in good order either.
pub(super) fn let_go<T>(of_file: T) {
    // The panic has been logged.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(of_file)));
}

/// Tells who waits that the store has failed, should the thread panic all the same.
struct Guard<'a>(&'a Table);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("a thread panicked, which is a bug; nothing is written until a restart".to_owned());
        }
    }
}

/// Reads counters until nobody is left who may ask for one.
fn read(asked: &Receiver<CellKey>, writer: &Sender<Task>, parts: &Parts) {
    let Parts { table, memory, reader } = parts;
    let _guard = Guard(table);
    while let Ok(first) = asked.recv() {
        let keys: Vec<CellKey> = once(first).chain(asked.try_iter().take(BATCH)).collect();
        // Held until they are in memory: nothing of a file comes there when the next one is open.
        let reader = reader.read();
        // There was one when they were asked for, and the file is opened anew by now.
        let Some(open) = &*reader else {
            for key in &keys {
                table.forget_unread(key);
            }
            continue;
        };
        let read = catch_unwind(AssertUnwindSafe(|| open.read(&keys)));
        let read = read.map_err(|_| SENSELESS.to_owned());
        match read.and_then(|read| read.map_err(|error| error.to_string())) {
            Ok(cells) => {
                for (key, read) in keys.iter().zip(cells) {
                    // A limit that was not kept on the disk before has its counter in memory.
                    let in_memory =
                        || memory.lend(&[*key], Timestamp::EPOCH, |cells| std::mem::take(&mut cells[0]));
                    table.with(key, |kept| kept.loaded(read, in_memory));
                }
            }
            Err(error) => {
                table.fail(error.clone());
                for key in &keys {
                    table.forget_unread(key);
                }
                // One that has ended opens no other file.
                let _ = writer.send(Task::Failed(error));
            }
        }
    }
}

/// Says what became of records, to who may have gone.
fn tell(told: &Told, became: Result<(), String>) {
    // There is room for one.
    let _ = told.try_send(became);
}

/// Writes what is asked for until nobody is left who may ask, and then all counters as they are.
fn write(
    file: &File,
    asked: &Receiver<Task>,
    sweep_waits: &AtomicBool,
    table: &Table,
) -> Result<(), Unwritten> {
    let mut next = FIRST;
    while let Ok(first) = asked.recv() {
        let mut changes = Changes::default();
        let (mut keys, mut told) = (Vec::new(), Vec::new());
        for task in once(first).chain(asked.try_iter().take(BATCH)) {
            match task {
                Task::Write(key) => keys.push(key),
                Task::Records(records, done) => {
                    // What was taken back is written by nobody.
                    if let Some(records) = records.lock().take() {
                        changes.records.extend(records);
                        told.push(done);
                    }
                }
                Task::Sweep(now) => {
                    sweep_waits.store(false, Ordering::Release);
                    match file.spent(next, SWEPT, now) {
                        Ok((spent, rest)) => {
                            changes.removed.extend(spent);
                            next = rest.unwrap_or(FIRST);
                        }
                        Err(error) => return Err(Unwritten { reason: error.to_string(), told }),
                    }
                }
                Task::Failed(reason) => return Err(Unwritten { reason, told }),
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
        let is_any = !(changes.put.is_empty() && changes.removed.is_empty() && changes.records.is_empty());
        if is_any && let Err(error) = file.commit(&changes) {
            return Err(Unwritten { reason: error.to_string(), told });
        }
        for (key, _) in &changes.put {
            table.with(key, super::Kept::written);
        }
        for told in &told {
            tell(told, Ok(()));
        }
    }
    Ok(())
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
        table.fail(error.to_string());
        return Err(error.to_string());
    }
    table.each(|_, kept| kept.forget_waiting());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sweep_waits_however_often_it_is_asked_for_while_a_commit_stands_still() {
        let (writes, asked) = mpsc::channel();
        let threads = Threads {
            reads: Mutex::default(),
            writes: Mutex::new(Some(writes)),
            sweep_waits: Arc::default(),
            running: Mutex::default(),
        };
        for _ in 0..1_000 {
            threads.sweep(Timestamp::EPOCH);
        }
        assert_eq!(asked.try_iter().count(), 1);
        // Once it has begun, the next one is asked for.
        threads.sweep_waits.store(false, Ordering::Release);
        threads.sweep(Timestamp::EPOCH);
        assert_eq!(asked.try_iter().count(), 1);
    }
}
