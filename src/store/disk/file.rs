//! The file: two tables of redb.
//!
//! | Table | Key | Value |
//! |---|---|---|
//! | `spillway` | `format` | [`FORMAT`], 4 bytes, little-endian |
//! | | `secret` | the secret of counters' keys, 16 bytes |
//! | `counters` | a [`CellKey`], 16 bytes, the upper half first | its image, as [`codec`] writes it |

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableDefinition, TableError};

use super::new::New;
use super::{Cell, CellKey, Timestamp};
use crate::model::draw_secret;
use crate::store::codec::{self, DecodeError};

/// The version of the tables.
const FORMAT: u32 = 1;
/// The name of the file in its directory.
const NAME: &str = "counters.redb";
/// Bytes of the file that redb keeps in memory.
const CACHE: usize = 16 << 20;

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("spillway");
const COUNTERS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("counters");

/// Why a store was not opened. The file was left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its directory cannot be made, or the file cannot be read or written.
    #[error("the counter store `{}` cannot be opened: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the counter store `{}` is open in another process. Stop that process first, or give this one a directory of its own, as in `--store disk:/var/lib/spillway-2`", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// One is to be made where there is one.
    #[error("there is a counter store at `{}` already, and it is left as it is. Name another directory, or move this file away first", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged, or was never a store.
    #[error("the counter store `{}` is damaged, or is no counter store: {reason}. Put a backup in its place, or move it away to begin with no counts", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program made it.
    #[error("`{}` is a database, but no counter store. Give Spillway a directory of its own, as in `--store disk:/var/lib/spillway`", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another version of Spillway made it.
    #[error("the counter store `{}` has format {found}, and this version of Spillway reads format {FORMAT}. Start the version that wrote it", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    database: Arc<Database>,
    name: String,
    secret: [u8; 16],
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
}

impl File {
    /// Opens the file in `directory`, and makes both where they are not.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        sensible(&path, || Self::open_or_make(directory, &path))
    }

    fn open_or_make(directory: &Path, path: &Path) -> Result<Self, OpenError> {
        if !path.try_exists().map_err(|source| OpenError::Io { path: path.to_owned(), source })?
            && let Some((file, new)) = Self::make(directory, path, &draw_secret())?
        {
            new.publish().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
            return Ok(file);
        }
        Self::open_made(path)
    }

    fn open_made(path: &Path) -> Result<Self, OpenError> {
        let database = builder().open(path).map_err(|error| open_error(path, error.into()))?;
        Self::of(database, path)
    }

    /// Opens the file in `directory`, which must be there.
    pub(super) fn open_existing(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        sensible(&path, || Self::open_made(&path))
    }

    /// Makes the file in `directory`, where there must be none. It is there once it is [published](New::publish).
    pub(super) fn create(directory: &Path, secret: &[u8; 16]) -> Result<(Self, New), OpenError> {
        let path = directory.join(NAME);
        let exists = || OpenError::Exists { path: path.clone() };
        if path.try_exists().unwrap_or(true) {
            return Err(exists());
        }
        Self::make(directory, &path, secret)?.ok_or_else(exists)
    }

    /// Makes the file beside its place; `None` if there is one already.
    fn make(directory: &Path, path: &Path, secret: &[u8; 16]) -> Result<Option<(Self, New)>, OpenError> {
        fs::create_dir_all(directory)
            .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        let Some((file, new)) = New::begin(path)? else { return Ok(None) };
        let database = FileBackend::new(file).and_then(|file| builder().create_with_backend(file));
        let database = database.map_err(|error| open_error(path, error.into()))?;
        create_tables(&database, secret).map_err(|error| open_error(path, error))?;
        Ok(Some((Self::of(database, path)?, new)))
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
                create_tables(&database, &draw_secret()).map_err(|error| open_error(path, error))?;
            }
            Self::of(database, path)
        })
    }

    fn of(database: Database, path: &Path) -> Result<Self, OpenError> {
        let path = path.to_owned();
        match about(&database) {
            Ok((FORMAT, secret)) => {
                let name = path.display().to_string();
                Ok(Self { database: Arc::new(database), name, secret })
            }
            Ok((found, _)) => Err(OpenError::Version { path, found }),
            Err(Wrong::NoStore) => Err(OpenError::Foreign { path }),
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
        transaction.commit()?;
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

/// Opens a file. redb panics at some that make no sense.
fn sensible(path: &Path, open: impl FnOnce() -> Result<File, OpenError>) -> Result<File, OpenError> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
        Err(OpenError::Damaged {
            path: path.to_owned(),
            reason: "what it says of itself makes no sense".to_owned(),
        })
    })
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Else a page that the disk has changed would be read as if it had no such counter.
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// Writes the secret, and what says which file this is.
fn create_tables(database: &Database, secret: &[u8; 16]) -> Result<(), redb::Error> {
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
}

impl<E: Into<redb::Error>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self::Read(error.into())
    }
}

/// The format and the secret.
fn about(database: &Database) -> Result<(u32, [u8; 16]), Wrong> {
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
        return Ok((format, [0; 16]));
    }
    let secret = about.get("secret")?.ok_or_else(|| missing("secret"))?;
    let length = secret.value().len();
    let secret = secret.value().try_into();
    let secret = secret
        .map_err(|_| Wrong::Value(format!("the secret of its keys has {length} bytes instead of 16")))?;
    // Where there are no counters, they were lost.
    transaction.open_table(COUNTERS)?;
    Ok((format, secret))
}

fn open_error(path: &Path, error: redb::Error) -> OpenError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => OpenError::InUse { path },
        redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io { path, source }
        }
        error => OpenError::Damaged { path, reason: error.to_string() },
    }
}

fn to_bytes(key: &CellKey) -> [u8; 16] {
    (u128::from(key.high) << 64 | u128::from(key.low)).to_be_bytes()
}

fn from_bytes(bytes: &[u8; 16]) -> CellKey {
    let both = u128::from_be_bytes(*bytes);
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
    CellKey { high: half(both >> 64), low: half(both) }
}
