//! `spillway store`

mod one;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::args::{Store, StoreAction};
use super::compatibility::Environment;
use super::{WRONG_INPUT, complain, print};
use crate::clock::{Clock, SystemClock};
use crate::model::CellKey;
use crate::store::StoreError;
use crate::store::codec;
use crate::store::disk::{Counter, Offline, OpenError};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// No store has this name.
    #[error("{0}")]
    Name(String),
    /// What is wrong was told already.
    #[error("")]
    Told(ExitCode),
    #[error("standard input, line {line}: {reason}")]
    Line { line: usize, reason: String },
}

/// The first line of an export.
#[derive(Debug, Deserialize, Serialize)]
struct Head {
    spillway_store: u32,
    secret: String,
}

/// Each of the others.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    key: String,
    /// Seconds since 1970. For the reader: the counter says it, too.
    #[serde(default)]
    until: u64,
    /// As it is in the file.
    counter: String,
}

/// Does what was asked for.
pub(super) fn run(args: &Store, environment: &Environment) -> ExitCode {
    let done = match &args.action {
        StoreAction::Inspect { store, of } if of.descriptors.is_empty() => {
            directory(store).and_then(|at| inspect(&at))
        }
        StoreAction::Inspect { store, of } => {
            directory(store).and_then(|at| one::run(&at, of, environment, false))
        }
        StoreAction::Reset { store, of } => {
            directory(store).and_then(|at| one::run(&at, of, environment, true))
        }
        StoreAction::Backup { store, to } => {
            directory(store).and_then(|at| directory(to).and_then(|to| backup(&at, &to)))
        }
        StoreAction::Compact { store } => directory(store).and_then(|at| compact(&at)),
        StoreAction::Export { store } => return ended(directory(store).and_then(|at| export(&at))),
        StoreAction::Import { store } => directory(store).and_then(|at| import(&at)),
    };
    match done {
        Ok(said) => print(&said),
        Err(wrong) => ended(Err(wrong)),
    }
}

fn ended(done: Result<(), Wrong>) -> ExitCode {
    match done {
        // A reader that has gone away has read enough.
        Err(Wrong::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Wrong::Told(code)) => code,
        Err(wrong) => {
            complain(&format!("error: {wrong}\n"));
            ExitCode::from(WRONG_INPUT)
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// A store may be named as `--store` names it.
fn directory(store: &Path) -> Result<PathBuf, Wrong> {
    const EXAMPLE: &str = "Name the directory of a store on a disk, as in `disk:/var/lib/spillway`";
    let name = store.to_str().unwrap_or_default();
    if name == "memory" {
        return Err(Wrong::Name(format!("counters in memory end with their server. {EXAMPLE}")));
    }
    // What follows may be a password.
    if let Some((scheme, _)) = name.split_once("://") {
        let what = format!("`{scheme}://…` is a server, which this command cannot look into");
        return Err(Wrong::Name(format!("{what}. {EXAMPLE}")));
    }
    let path = name.strip_prefix("disk:").map_or_else(|| store.to_owned(), PathBuf::from);
    if path.is_file() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let what = format!("`{}` is a file. Name its directory: `{}`", path.display(), parent.display());
        return Err(Wrong::Name(what));
    }
    Ok(path)
}

fn inspect(directory: &Path) -> Result<String, Wrong> {
    let store = Offline::open(directory)?;
    let now = SystemClock::new().now();
    let (mut counters, mut ended, mut unreadable) = (0_u64, 0_u64, 0_u64);
    store.each(|_, cell| {
        counters += 1;
        match cell {
            Ok(cell) => ended += u64::from(cell.is_spent(now)),
            Err(_) => unreadable += 1,
        }
        Ok::<_, Wrong>(())
    })?;
    let bytes = std::fs::metadata(store.name()).map(|file| file.len())?;
    let said = format!(
        "{}: {bytes} bytes\n{counters} counters, of which {ended} have ended and {unreadable} cannot be read\n",
        store.name()
    );
    store.close()?;
    Ok(said)
}

/// The counters of a store, of which none may be unreadable: the copy would begin it anew.
fn all(store: &Offline) -> Result<Vec<Counter>, Wrong> {
    let mut counters = Vec::new();
    store.each(|key, cell| {
        let cell = cell.map_err(|source| StoreError::Unreadable { source: Box::new(source) })?;
        counters.push((key, cell));
        Ok::<_, Wrong>(())
    })?;
    Ok(counters)
}

fn backup(directory: &Path, to: &Path) -> Result<String, Wrong> {
    let store = Offline::open(directory)?;
    let counters = all(&store)?;
    let copy = Offline::create(to, store.secret())?;
    copy.put(&counters)?;
    let said = format!("{}: {} counters\n", copy.name(), counters.len());
    copy.close()?;
    store.close()?;
    Ok(said)
}

fn compact(directory: &Path) -> Result<String, Wrong> {
    let store = Offline::open(directory)?;
    let name = store.name().to_owned();
    let before = std::fs::metadata(&name)?.len();
    store.compact()?;
    Ok(format!("{name}: {} bytes, {before} before\n", std::fs::metadata(&name)?.len()))
}

fn export(directory: &Path) -> Result<(), Wrong> {
    let store = Offline::open(directory)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let head = Head { spillway_store: 1, secret: hex(&store.secret()) };
    writeln!(out, "{}", serde_json::to_string(&head).map_err(io::Error::from)?)?;
    store.each(|key, cell| {
        let cell = cell.map_err(|source| StoreError::Unreadable { source: Box::new(source) })?;
        let mut counter = Vec::new();
        codec::encode(&cell, &mut counter);
        let line = Line {
            key: format!("{:016x}{:016x}", key.high, key.low),
            until: cell.until().as_nanos() / 1_000_000_000,
            counter: hex(&counter),
        };
        writeln!(out, "{}", serde_json::to_string(&line).map_err(io::Error::from)?)?;
        Ok::<_, Wrong>(())
    })?;
    out.flush()?;
    drop(out);
    Ok(store.close()?)
}

fn import(directory: &Path) -> Result<String, Wrong> {
    let (mut secret, mut counters) = (None, Vec::new());
    for (line, text) in io::stdin().lock().lines().enumerate() {
        let wrong = |reason: String| Wrong::Line { line: line + 1, reason };
        let text = text.map_err(|error| wrong(error.to_string()))?;
        if secret.is_none() {
            let head: Head = serde_json::from_str(&text)
                .map_err(|_| wrong("it is not the first line of an export".to_owned()))?;
            if head.spillway_store != 1 {
                return Err(wrong(format!("format {} is not known", head.spillway_store)));
            }
            let bytes = unhex(&head.secret).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            secret = Some(bytes.ok_or_else(|| wrong("the secret is not 32 hexadecimal digits".to_owned()))?);
            continue;
        }
        let of: Line = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let key = unhex(&of.key).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let key = key.ok_or_else(|| wrong("the key is not 32 hexadecimal digits".to_owned()))?;
        let [high, low] =
            [0, 8].map(|at| key[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        let counter =
            unhex(&of.counter).ok_or_else(|| wrong("the counter is not in hexadecimal digits".to_owned()))?;
        let cell = codec::decode(&counter).map_err(|error| wrong(format!("the counter: {error}")))?;
        counters.push((CellKey { high, low }, cell));
    }
    let secret = secret.ok_or_else(|| Wrong::Line { line: 1, reason: "there is none".to_owned() })?;
    let store = Offline::create(directory, secret)?;
    store.put(&counters)?;
    let said = format!("{}: {} counters\n", store.name(), counters.len());
    store.close()?;
    Ok(said)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
