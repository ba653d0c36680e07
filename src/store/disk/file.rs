//! The file: three tables of redb.
//!
//! | Table | Key | Value |
//! |---|---|---|
//! | `spillway` | `format` | [`FORMAT`], 4 bytes, little-endian |
//! | | `secret` | the secret of counters' keys, 16 bytes |
//! | | `commit` | which file this is and the number of its last commit, 8 bytes each; see [`mark`](super::mark). Missing in a file of an older version |
//! | | `records` | the version of the table of records, 4 bytes, little-endian; missing as long as there was none |
//! | `counters` | a [`CellKey`], 16 bytes, the upper half first | its image, as [`codec`] writes it |
//! | `records` | the kind, the scope and the id of a [record](crate::store::records) | its value |

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableDefinition, TableError};

use super::mark::{Commit, Mark};
use super::open_error::{FORMAT, OpenError, open_error};
use super::recorded;
use super::unpublished::Unpublished;
use super::{Cell, CellKey, Timestamp};
use crate::model::KeySecret;
use crate::store::codec::{self, DecodeError};
use crate::store::records::{Record, VERSION};

/// The name of the file in its directory.
const NAME: &str = "counters.redb";
/// Bytes of the file that redb keeps in memory.
const CACHE: usize = 16 << 20;

pub(super) const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("spillway");
const COMMIT: &str = "commit";
/// What the version of the table of records is called, which a file gets with its first record.
pub(super) const RECORDS_VERSION: &str = "records";
const COUNTERS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("counters");

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    database: Arc<Database>,
    name: String,
    secret: [u8; 16],
    mark: Mark,
}

/// What is read from it, while it is written.
#[derive(Clone, Debug)]
pub(super) struct Reader(Arc<Database>);

/// What one commit changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Images.
    pub(super) put: Vec<(CellKey, Vec<u8>)>,
    /// Counters that are forgotten.
    pub(super) removed: Vec<CellKey>,
    /// Records that are put or deleted.
    pub(super) records: Vec<Record>,
}

impl File {
    /// Opens the file in `directory`, and makes both where they are not.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        sensible(&path, || Self::open_or_make(directory, &path))
    }

    fn open_or_make(directory: &Path, path: &Path) -> Result<Self, OpenError> {
        if path.try_exists().map_err(|source| OpenError::Io { path: path.to_owned(), source })? {
            let opened = Self::open_made(path)?;
            // It is open once at a time, so nobody is about to replace it.
            Unpublished::remove_all(path);
            return Ok(opened);
        }
        let (made, new) = Self::make(directory, path, random())?;
        match new.publish() {
            Ok(()) => {
                made.published();
                Ok(made)
            }
            // Another process was quicker: it has the file open, or has closed it again.
            Err(OpenError::Exists { .. }) => Self::open_made(path),
            Err(error) => Err(error),
        }
    }

    fn open_made(path: &Path) -> Result<Self, OpenError> {
        let database = builder().open(path).map_err(|error| open_error(path, error.into()))?;
        Self::of(database, path, true)
    }

    /// Opens the file in `directory`, which must be there.
    pub(super) fn open_existing(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        sensible(&path, || Self::open_made(&path))
    }

    /// Makes a file in `directory`, where there must be none. It is there only when it is published.
    pub(super) fn create(directory: &Path, secret: [u8; 16]) -> Result<(Self, Unpublished), OpenError> {
        let path = directory.join(NAME);
        if path.try_exists().unwrap_or(true) {
            return Err(OpenError::Exists { path, directory: directory.to_owned() });
        }
        Self::make(directory, &path, secret)
    }

    /// A new file beside `path`, which is there only when it is [published](Self::publish).
    pub(super) fn make(
        directory: &Path,
        path: &Path,
        secret: [u8; 16],
    ) -> Result<(Self, Unpublished), OpenError> {
        fs::create_dir_all(directory)
            .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        let new = Unpublished::beside(path);
        let failed = |source| OpenError::Io { path: new.unnamed().to_owned(), source };
        let database =
            builder().create(new.unnamed()).map_err(|error| open_error(new.unnamed(), error.into()))?;
        // Whoever knows the secret can look for values whose counters meet.
        fs::set_permissions(new.unnamed(), fs::Permissions::from_mode(0o600)).map_err(failed)?;
        create_tables(&database, secret).map_err(|error| open_error(new.unnamed(), error))?;
        Ok((Self::of(database, path, false)?, new))
    }

    /// A file of some other kind, which is made where there is none.
    #[cfg(test)]
    pub(super) fn with_backend(backend: impl redb::StorageBackend) -> Result<Self, OpenError> {
        let path = Path::new("backend");
        let is_new = backend.len().unwrap() == 0;
        sensible(path, || {
            let database =
                builder().create_with_backend(backend).map_err(|error| open_error(path, error.into()))?;
            if is_new {
                create_tables(&database, random()).map_err(|error| open_error(path, error))?;
            }
            Self::of(database, path, false)
        })
    }

    fn of(database: Database, path: &Path, is_published: bool) -> Result<Self, OpenError> {
        let path = path.to_owned();
        match about(&database) {
            Ok(About { format: FORMAT, secret, commit }) => {
                let name = path.display().to_string();
                let mark = Mark::of(&path, commit.unwrap_or_else(Commit::first), is_published);
                Ok(Self { database: Arc::new(database), name, secret, mark })
            }
            Ok(About { format: found, .. }) => Err(OpenError::Version { path, found }),
            Err(Wrong::NoStore) => Err(OpenError::Foreign { path }),
            Err(Wrong::Records(found)) => Err(OpenError::Records { path, found }),
            Err(Wrong::Read(error)) => Err(open_error(&path, error)),
            Err(Wrong::Value(reason)) => Err(OpenError::Damaged { path, reason }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn secret(&self) -> [u8; 16] {
        self.secret
    }

    /// It has its name from now on.
    pub(super) fn published(&self) {
        self.mark.publish();
    }

    /// How many commits it has lost that the disk had: it was damaged.
    pub(super) fn lost_commits(&self) -> u64 {
        self.mark.lost()
    }

    pub(super) fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.database))
    }

    /// Makes `changes` durable, all of them or none. After an error nothing more is to be written.
    pub(super) fn commit(&self, changes: &Changes) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut counters = transaction.open_table(COUNTERS)?;
            for (key, image) in &changes.put {
                counters.insert(&to_bytes(key), image.as_slice())?;
            }
            for key in &changes.removed {
                counters.remove(&to_bytes(key))?;
            }
        }
        let next = self.mark.next();
        {
            let mut about = transaction.open_table(ABOUT)?;
            about.insert(COMMIT, next.to_bytes().as_slice())?;
            if !changes.records.is_empty() {
                about.insert(RECORDS_VERSION, VERSION.to_le_bytes().as_slice())?;
                recorded::write(&transaction, &changes.records)?;
            }
        }
        transaction.commit()?;
        self.mark.note(next);
        Ok(())
    }

    /// Of the next `most` counters from `first` on, those that decide nothing any more at `now`; and where to go on, if there
    /// are others.
    pub(super) fn spent(
        &self,
        first: CellKey,
        most: usize,
        now: Timestamp,
    ) -> Result<(Vec<CellKey>, Option<CellKey>), redb::Error> {
        let transaction = self.database.begin_read()?;
        let counters = transaction.open_table(COUNTERS)?;
        let mut spent = Vec::new();
        for (at, entry) in counters.range::<&[u8; 16]>(&to_bytes(&first)..)?.enumerate() {
            let (key, image) = entry?;
            let key = from_bytes(key.value());
            if at == most {
                return Ok((spent, Some(key)));
            }
            if codec::decode(image.value()).is_ok_and(|cell| cell.is_spent(now)) {
                spent.push(key);
            }
        }
        Ok((spent, None))
    }

    /// The next `most` counters from `first` on, as they are written; and where to go on, if there are others.
    #[expect(clippy::type_complexity, reason = "counters, and where the next are")]
    pub(super) fn from(
        &self,
        first: CellKey,
        most: usize,
    ) -> Result<(Vec<(CellKey, Vec<u8>)>, Option<CellKey>), redb::Error> {
        let transaction = self.database.begin_read()?;
        let counters = transaction.open_table(COUNTERS)?;
        let mut read = Vec::new();
        for entry in counters.range::<&[u8; 16]>(&to_bytes(&first)..)? {
            let (key, image) = entry?;
            let key = from_bytes(key.value());
            if read.len() == most {
                return Ok((read, Some(key)));
            }
            read.push((key, image.value().to_vec()));
        }
        Ok((read, None))
    }

    /// Writes all records to `other`, which has none, also those of kinds that only later versions know.
    pub(super) fn copy_records(&self, other: &Self) -> Result<(), redb::Error> {
        let (from, to) = (self.database.begin_read()?, other.database.begin_write()?);
        if let Some(version) = from.open_table(ABOUT)?.get(RECORDS_VERSION)? {
            to.open_table(ABOUT)?.insert(RECORDS_VERSION, version.value())?;
            recorded::copy(&from, &to)?;
        }
        to.commit()?;
        Ok(())
    }

    /// Why it is of no use.
    pub(super) fn failed(&self, error: redb::Error) -> OpenError {
        open_error(Path::new(&self.name), error)
    }

    /// Gives back what it has room for beside its counters, and closes it. Readers must be gone.
    pub(super) fn compact(self) -> Result<(), redb::Error> {
        let mut database = Arc::into_inner(self.database).ok_or(DatabaseError::TransactionInProgress)?;
        while database.compact()? {}
        Ok(database.close()?)
    }

    /// Closes it. Readers must be gone.
    pub(super) fn close(self) -> Result<(), DatabaseError> {
        match Arc::into_inner(self.database) {
            Some(database) => database.close(),
            None => Err(DatabaseError::TransactionInProgress),
        }
    }
}

impl Reader {
    /// Shows records from `first` on, until `visit` has seen enough.
    pub(super) fn records(
        &self,
        first: (&str, &str, &str),
        visit: impl FnMut((&str, &str, &str), &[u8]) -> ControlFlow<()>,
    ) -> Result<(), redb::Error> {
        recorded::read(&self.0.begin_read()?, first, visit)
    }

    /// The counters of `keys`, in order.
    pub(super) fn read(
        &self,
        keys: &[CellKey],
    ) -> Result<Vec<Result<Option<Cell>, DecodeError>>, redb::Error> {
        let transaction = self.0.begin_read()?;
        let counters = transaction.open_table(COUNTERS)?;
        keys.iter()
            .map(|key| {
                let image = counters.get(&to_bytes(key))?;
                Ok(image.map(|image| codec::decode(image.value())).transpose())
            })
            .collect()
    }
}

/// Opens a file, or reads all of one. redb panics at some that make no sense.
pub(super) fn sensible<T>(path: &Path, open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
        Err(OpenError::Damaged { path: path.to_owned(), reason: "what it says makes no sense".to_owned() })
    })
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Else a page that the disk has changed would be read as if it had no such counter.
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn random() -> [u8; 16] {
    let [high, low] = KeySecret::draw();
    to_bytes(&CellKey { high, low })
}

/// Writes the secret, and what says which file this is.
fn create_tables(database: &Database, secret: [u8; 16]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("format", FORMAT.to_le_bytes().as_slice())?;
        about.insert("secret", secret.as_slice())?;
        transaction.open_table(COUNTERS)?;
    }
    transaction.commit()?;
    Ok(())
}

/// What is wrong with a database.
enum Wrong {
    /// It is none of Spillway's.
    NoStore,
    Read(redb::Error),
    Value(String),
    /// Its records have this version.
    Records(u32),
}

impl<E: Into<redb::Error>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self::Read(error.into())
    }
}

/// What a file says of itself.
struct About {
    format: u32,
    secret: [u8; 16],
    commit: Option<Commit>,
}

fn about(database: &Database) -> Result<About, Wrong> {
    let transaction = database.begin_read()?;
    let about = match transaction.open_table(ABOUT) {
        Err(TableError::TableDoesNotExist(_)) => return Err(Wrong::NoStore),
        opened => opened?,
    };
    let missing = |name| Wrong::Value(format!("it has no {name}"));
    let format = about.get("format")?.and_then(|value| value.value().try_into().ok());
    let format = u32::from_le_bytes(format.ok_or_else(|| missing("format"))?);
    // Another format may have another secret.
    if format != FORMAT {
        return Ok(About { format, secret: [0; 16], commit: None });
    }
    let secret = about.get("secret")?.ok_or_else(|| missing("secret"))?;
    let secret = secret.value();
    let wrong = |_| Wrong::Value(format!("its secret has {} bytes instead of 16", secret.len()));
    let secret = secret.try_into().map_err(wrong)?;
    let commit = about.get(COMMIT)?.and_then(|commit| Commit::from_bytes(commit.value()));
    let records = about.get(RECORDS_VERSION)?;
    let records = records.map(|value| value.value().try_into().map_err(|_| missing("version of records")));
    let records = records.transpose()?.map(u32::from_le_bytes);
    if let Some(version) = records.filter(|version| *version != VERSION) {
        return Err(Wrong::Records(version));
    }
    // Where there are no counters, they were lost.
    transaction.open_table(COUNTERS)?;
    Ok(About { format, secret, commit })
}

fn to_bytes(key: &CellKey) -> [u8; 16] {
    (u128::from(key.high) << 64 | u128::from(key.low)).to_be_bytes()
}

fn from_bytes(bytes: &[u8; 16]) -> CellKey {
    let both = u128::from_be_bytes(*bytes);
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
    CellKey { high: half(both >> 64), low: half(both) }
}
