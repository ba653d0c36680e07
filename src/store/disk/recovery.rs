//! What follows when the file could not be written: it is opened anew, without a restart, as often as it takes.
//!
//! A handle that has failed says nothing any more of what is on the disk: the last commit is there, or it is not. And after a failed
//! `fsync` a system may take for written what is in its memory alone
//! ([PostgreSQL on that](https://wiki.postgresql.org/wiki/Fsync_Errors)). So the file is checked as at a start, and *another* file is
//! made of what it says, which takes its name ([`renewed`]). Counters go on as after a crash: what requests were answered meanwhile
//! was covered by the image that the file had, and by the one that was being written, whichever it has now.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::time::Instant;

use super::file::{Changes, File, sensible};
use super::threads::{Parts, Task, let_go};
use super::unpublished::Unpublished;
use super::{CellKey, OpenError};

/// How long after a failure the file is opened anew, at first and at most; each time twice as long.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Counters that are copied in one commit.
const BATCH: usize = 10_000;

/// The most tasks that are dropped when it is open, so that this ends where they keep coming.
const LEFT: usize = 1_000_000;

/// Why the file was not opened anew, and the one that there is, if that can be read.
type NotRenewed = Box<(OpenError, Option<File>)>;

/// How the file is opened anew.
pub(super) struct Reopen {
    open: Box<dyn FnMut() -> Result<File, NotRenewed> + Send>,
    /// Opens the file that there is, to be read before the first try.
    read: Box<dyn FnMut() -> Option<File> + Send>,
    /// The pause before the first try.
    pause: Duration,
}

impl Reopen {
    /// Has the file in `directory` checked and copied.
    pub(super) fn renewed(directory: &Path) -> Self {
        let (directory, of_reader) = (directory.to_owned(), directory.to_owned());
        Self {
            open: Box::new(move || renewed(&directory)),
            read: Box::new(move || File::open_existing(&of_reader).ok()),
            pause: PAUSE.0,
        }
    }

    /// Whatever `open` opens, at once.
    #[cfg(test)]
    pub(super) fn at_once(mut open: impl FnMut() -> Result<File, OpenError> + Send + 'static) -> Self {
        let open = Box::new(move || open().map_err(|error| Box::new((error, None))));
        Self { open, read: Box::new(|| None), pause: Duration::from_millis(1) }
    }
}

/// Opens the file anew until that works, and has its counters read again. Meanwhile those who ask for something to be written are
/// refused, and what the file has can mostly be read. None when nobody is left who may ask.
pub(super) fn recover<'a>(
    asked: impl Fn() -> Option<&'a Receiver<Task>>,
    secret: [u8; 16],
    parts: &Parts,
    reopen: &mut Reopen,
) -> Option<File> {
    let mut pause = reopen.pause;
    let mut old = (reopen.read)();
    loop {
        let readable = old.as_ref().filter(|old| old.secret() == secret);
        *parts.reader.write() = readable.map(File::reader);
        let until = Instant::now() + pause;
        loop {
            // Dropped, which tells those who wait.
            match asked()?.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        pause = (pause * 2).min(PAUSE.1);
        // It is open once at a time.
        let_go(parts.reader.write().take());
        let_go(old.take());
        match (reopen.open)() {
            Ok(file) if file.secret() == secret => {
                // What still waits was asked of the file before, or tells that it could not be read.
                if let Some(asked) = asked() {
                    asked.try_iter().take(LEFT).for_each(drop);
                }
                *parts.reader.write() = Some(file.reader());
                parts.table.begin_anew(&parts.memory);
                return Some(file);
            }
            Ok(file) => {
                parts.table.fail(format!("`{}` is another counter store by now", file.name()));
                let_go(file);
            }
            Err(not_renewed) => {
                let (error, readable) = *not_renewed;
                parts.table.fail(error.to_string());
                old = readable;
            }
        }
    }
}

/// The file in `directory`, checked, and written anew under its name.
///
/// # Errors
///
/// When it cannot be opened, or there is no room for another one beside it. It is left as it is.
fn renewed(directory: &Path) -> Result<File, NotRenewed> {
    let old = File::open_existing(directory).map_err(|error| Box::new((error, None)))?;
    let path = Path::new(old.name());
    // They may be what takes the room that there is too little of.
    Unpublished::remove_all(path);
    let copied = || {
        let (new, unpublished) = File::make(directory, path, old.secret())?;
        copy(&old, &new).map_err(|error| new.failed(error))?;
        unpublished.replace()?;
        new.published();
        Ok(new)
    };
    match sensible(path, copied) {
        Ok(new) => {
            // Closing it may read what was not copied.
            let_go(old);
            Ok(new)
        }
        Err(error) => Err(Box::new((error, Some(old)))),
    }
}

fn copy(old: &File, new: &File) -> Result<(), redb::Error> {
    let mut first = Some(CellKey { high: 0, low: 0 });
    while let Some(from) = first {
        let (put, next) = old.from(from, BATCH)?;
        new.commit(&Changes { put, ..Changes::default() })?;
        first = next;
    }
    old.copy_records(new)
}
