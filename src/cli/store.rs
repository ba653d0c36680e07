//! `spillway store`

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Store, StoreAction};
use super::compatibility::Environment;
use super::counter::{self, Action};
use super::{FAILED, WRONG_COMMAND, WRONG_INPUT, complain, print};
use crate::clock::{Clock, SystemClock};
use crate::model::CellKey;
use crate::store::codec;
use crate::store::disk::{Counter, Offline, OpenError};
use crate::store::{Record, RecordKind, StoreError};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    /// The policy has mistakes, which are written for people.
    #[error("{0}")]
    Policy(String),
    /// A descriptor is not written as one.
    #[error("{0}")]
    Typed(String),
    #[error("{0}")]
    Descriptor(String),
    #[error("say whose counters, as in `spillway store {0} DIR --domain NAME 'key=value'`")]
    Nobody(&'static str),
    #[error("no tier of subject `{subject}` of domain `{domain}` is remembered")]
    NoTier { domain: String, subject: String },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    #[error(
        "`{0}://…` is a server, whose counters are looked at and copied with its own tools. `spillway store` takes the directory of a store on a disk, as in `spillway store inspect /var/lib/spillway`"
    )]
    Server(String),
    #[error("`{}` is a file, and a store is named by its directory, as in `spillway store inspect {}`", .file.display(), .directory.display())]
    File { file: PathBuf, directory: PathBuf },
    #[error("standard input, line {line}: {reason}")]
    Line { line: usize, reason: String },
}

impl Wrong {
    /// What the command exits with.
    fn code(&self) -> u8 {
        match self {
            Self::Nobody(_) | Self::Typed(_) => WRONG_COMMAND,
            Self::Output(_) | Self::Store(StoreError::Failed { .. }) => FAILED,
            _ => WRONG_INPUT,
        }
    }
}

/// The first line of an export.
#[derive(Debug, Deserialize, Serialize)]
struct Head {
    spillway_store: u32,
    secret: String,
}

/// A line of what is known of a subject.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Known {
    record: String,
    domain: String,
    subject: String,
    value: Box<RawValue>,
}

/// The last line of an export, without which some may be missing: the text was cut off. Earlier versions wrote none.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    counters: usize,
    records: usize,
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
    write_errors_are_told();
    let done = match &args.action {
        StoreAction::Inspect { store, whose } => directory(store).and_then(|store| {
            if whose.descriptors.is_empty() && whose.domain.is_none() {
                return inspect(&store);
            }
            if whose.descriptors.is_empty() {
                return Err(Wrong::Nobody("inspect"));
            }
            counter::run(&store, whose, Action::Show, environment)
        }),
        StoreAction::Reset { store, whose, tier_of: Some(subject) } => directory(store)
            .and_then(|store| forget_tier(&store, whose.domain.as_deref().unwrap_or_default(), subject)),
        StoreAction::Reset { store, whose, tier_of: None } => directory(store).and_then(|store| {
            if whose.descriptors.is_empty() {
                return Err(Wrong::Nobody("reset"));
            }
            counter::run(&store, whose, Action::Reset, environment)
        }),
        StoreAction::Backup { store, to } => {
            directory(store).and_then(|store| backup(&store, &directory(to)?))
        }
        StoreAction::Compact { store } => directory(store).and_then(|store| compact(&store)),
        StoreAction::Export { store } => return ended(directory(store).and_then(|store| export(&store))),
        StoreAction::Import { store } => directory(store).and_then(|store| import(&store)),
    };
    match done {
        Ok(said) => print(&said),
        Err(wrong) => ended(Err(wrong)),
    }
}

/// Has a file that grows beyond what `ulimit -f` allows fail as one does on a full disk: what was begun is removed then, and a sentence
/// says why. Else the system ends the process.
fn write_errors_are_told() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let _inside = runtime.enter();
    // The handler stays when nobody listens any more.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
}

fn ended(done: Result<(), Wrong>) -> ExitCode {
    match done {
        // A reader that has gone away has read enough.
        Err(Wrong::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Wrong::Policy(report)) => {
            complain(&report);
            ExitCode::from(WRONG_INPUT)
        }
        Err(wrong) => {
            complain(&format!("error: {wrong}\n"));
            ExitCode::from(wrong.code())
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// A store may be named as `--store` names it.
fn directory(store: &Path) -> Result<PathBuf, Wrong> {
    let name = store.to_str().unwrap_or_default();
    if let Some(directory) = name.strip_prefix("disk:") {
        return Ok(directory.into());
    }
    if let Some((scheme, _)) = name.split_once("://") {
        // What follows may hold a password.
        return Err(Wrong::Server(scheme.to_owned()));
    }
    if store.is_file() {
        let directory =
            store.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Err(Wrong::File { file: store.to_owned(), directory: directory.to_owned() });
    }
    Ok(store.to_owned())
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
    let mut said = format!(
        "{}: {bytes} bytes\n{counters} counters, of which {ended} have ended and {unreadable} cannot be read\n",
        store.name()
    );
    let records = store.records()?;
    for (_, kind) in RecordKind::NAMES {
        let count = records.iter().filter(|record| record.kind == kind).count();
        match kind {
            RecordKind::ReachedTier => {
                said.push_str(&format!("{count} subjects whose tiers are remembered\n"));
            }
            RecordKind::Subject if count > 0 => {
                said.push_str(&format!("{count} subjects that were changed at run time\n"));
            }
            RecordKind::Change if count > 0 => {
                said.push_str(&format!("{count} changes by operators are remembered\n"));
            }
            RecordKind::Subject | RecordKind::Change => {}
        }
    }
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
    let records = store.records()?;
    copy.put_records(&records)?;
    let said = copied(copy.name(), counters.len(), records.len());
    copy.close()?;
    store.close()?;
    Ok(said)
}

/// Forgets what a subject has reached. A tier that came by mistake goes no other way.
fn forget_tier(directory: &Path, domain: &str, subject: &str) -> Result<String, Wrong> {
    let store = Offline::open(directory)?;
    let is_it = |record: &Record| {
        (record.kind, &*record.scope, &*record.id) == (RecordKind::ReachedTier, domain, subject)
    };
    let Some(record) = store.records()?.into_iter().find(is_it) else {
        return Err(Wrong::NoTier { domain: domain.to_owned(), subject: subject.to_owned() });
    };
    let was = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    store.put_records(&[Record { value: None, ..record }])?;
    store.close()?;
    Ok(format!("forgotten: {was}\n"))
}

/// What was written.
fn copied(name: &str, counters: usize, records: usize) -> String {
    let records =
        if records == 0 { String::new() } else { format!(" and {records} records of subjects and changes") };
    format!("{name}: {counters} counters{records}\n")
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
    let mut tail = Tail { counters: 0, records: 0 };
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
        tail.counters += 1;
        Ok::<_, Wrong>(())
    })?;
    for Record { kind, scope, id, value } in store.records()? {
        let value = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        let value = RawValue::from_string(value).map_err(io::Error::from)?;
        let line = Known { record: kind.name().to_owned(), domain: scope, subject: id, value };
        writeln!(out, "{}", serde_json::to_string(&line).map_err(io::Error::from)?)?;
        tail.records += 1;
    }
    writeln!(out, "{}", serde_json::to_string(&tail).map_err(io::Error::from)?)?;
    out.flush()?;
    drop(out);
    Ok(store.close()?)
}

fn import(directory: &Path) -> Result<String, Wrong> {
    let (mut secret, mut tail) = (None, None);
    // Of a counter or record that is there several times the last line counts, as it does in the file.
    let (mut counters, mut records) = (BTreeMap::new(), BTreeMap::new());
    let mut read = Tail { counters: 0, records: 0 };
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
        if tail.is_some() {
            return Err(wrong("the export ended with the line before".to_owned()));
        }
        if let Ok(said) = serde_json::from_str::<Tail>(&text) {
            if said != read {
                let Tail { counters, records } = read;
                return Err(wrong(format!(
                    "the export had {} counters and {} records, and here are {counters} and {records}: it is not whole",
                    said.counters, said.records
                )));
            }
            tail = Some(said);
            continue;
        }
        if let Ok(Known { record, domain, subject, value }) = serde_json::from_str(&text) {
            let kind = RecordKind::named(&record).ok_or_else(|| {
                wrong(format!("the record: `{record}` is not known to this version of Spillway"))
            })?;
            let value = Some(value.get().as_bytes().to_vec());
            read.records += 1;
            records.insert((kind, domain, subject), value);
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
        read.counters += 1;
        counters.insert(CellKey { high, low }, cell);
    }
    let secret = secret.ok_or_else(|| Wrong::Line { line: 1, reason: "there is none".to_owned() })?;
    if tail.is_none() {
        complain(
            "warning: the export does not end with how many lines it has. It was cut off, or an earlier version wrote it\n",
        );
    }
    let counters: Vec<Counter> = counters.into_iter().collect();
    let record = |((kind, scope, id), value)| Record { kind, scope, id, value };
    let records: Vec<Record> = records.into_iter().map(record).collect();
    let store = Offline::create(directory, secret)?;
    store.put(&counters)?;
    store.put_records(&records)?;
    let said = copied(store.name(), counters.len(), records.len());
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
