//! Where log lines go: to standard error, through a bounded queue and a thread of its own.
//!
//! Whoever logs never waits and never fails. When nobody reads, when the disk is full or the reader has gone, lines are
//! dropped and counted, and the server goes on.

use std::io::{self, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::throttle::Throttle;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// How many lines wait for their reader.
const WAITING: usize = 1_024;
/// How long the last lines are waited for when the process ends.
const LAST_LINES: Duration = Duration::from_millis(1_500);

/// How many log lines were dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    queue_full: ErrorCounter,
    failed: Arc<AtomicU64>,
}

impl Dropped {
    /// Since the start.
    pub fn lines(&self) -> u64 {
        self.queue_full.dropped_lines() as u64 + self.failed.load(Ordering::Relaxed)
    }
}

/// The log, until the process ends.
#[derive(Debug)]
pub struct Log {
    writer: NonBlocking,
    failed: Arc<AtomicU64>,
    guard: WorkerGuard,
}

impl Log {
    /// A log to `output`.
    pub fn to(output: impl Write + Send + 'static) -> Self {
        let failed = Arc::new(AtomicU64::new(0));
        let output = Unfailing { output, failed: Arc::clone(&failed) };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING);
        let (writer, guard) = builder.thread_name("log").finish(output);
        Self { writer, failed, guard }
    }

    /// What lines are written with.
    pub fn writer(&self) -> NonBlocking {
        self.writer.clone()
    }

    /// How many lines are dropped.
    pub fn dropped(&self) -> Dropped {
        Dropped { queue_full: self.writer.error_counter(), failed: Arc::clone(&self.failed) }
    }

    /// Has panics logged as lines of this log. The standard hook writes to standard error itself, and would wait for a
    /// reader that does not read.
    pub fn take_panics(&self) {
        let throttle = Throttle::default();
        panic::set_hook(Box::new(move |panic| {
            // A client may have found out how to cause one.
            let Some(held_back) = throttle.admit() else { return };
            let thread = thread::current();
            tracing::error!(thread = thread.name(), held_back, "internal error (bug): {panic}");
        }));
    }

    /// Writes what is waiting and then `last`, for as long as that may take when nobody reads.
    pub fn finish(self, last: String) {
        let (done, ended) = sync_channel(1);
        // On a thread of its own, which the end of the process ends: both may wait for a reader, the guard also because
        // it prints when the queue stays full.
        let finisher = thread::Builder::new().name("log-end".to_owned()).spawn(move || {
            drop(self.guard);
            let _ = io::stderr().lock().write_all(last.as_bytes());
            let _ = done.send(());
        });
        if finisher.is_ok() {
            let _ = ended.recv_timeout(LAST_LINES);
        }
    }
}

/// Counts what cannot be written, and goes on.
struct Unfailing<W> {
    output: W,
    failed: Arc<AtomicU64>,
}

impl<W: Write> Write for Unfailing<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.output.write_all(line).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Whatever was not written is counted already.
        let _ = self.output.flush();
        Ok(())
    }
}
