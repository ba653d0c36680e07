//! Why a store is not opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::records::VERSION;

/// The version of the tables that this version of Spillway reads and writes.
pub(super) const FORMAT: u32 = 1;

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
    #[error("the counter store `{}` is open in another process. Stop that process first, ask its admin port about its counters, or give a second server a directory of its own, as in `--store disk:/var/lib/spillway-2`", .path.display())]
    InUse {
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
    /// There is one where a new one was to be made.
    #[error("there is a counter store in `{}` already. Name a directory without one, or move `{}` away", .directory.display(), .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
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
    /// Another version of Spillway wrote what it knows of subjects.
    #[error("the counter store `{}` has records of version {found}, and this version of Spillway reads version {VERSION}. Start the version that wrote them", .path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Their version.
        found: u32,
    },
}

impl OpenError {
    /// Whether it may be opened a moment later: another process has it still.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}

/// What redb says of the file at `path`, for people.
pub(super) fn open_error(path: &Path, error: redb::Error) -> OpenError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => OpenError::InUse { path },
        redb::Error::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
            OpenError::Damaged { path, reason: "it ends too early".to_owned() }
        }
        redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io { path, source }
        }
        error => OpenError::Damaged { path, reason: error.to_string() },
    }
}
