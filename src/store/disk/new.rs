//! A file that is being made: beside its place until it is whole.

use std::fs::{self, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;

/// Others may begin one at the same time. So often it is tried to be the one who does.
const TRIES: usize = 16;
/// Whoever knows the secret can look for values whose counters meet.
const MODE: u32 = 0o600;

/// A file that is not in its place yet, and is removed if it never gets there. It is to be dropped before the lock of the file,
/// which whoever replaces or removes it has to have.
#[derive(Debug)]
pub(super) struct New {
    path: PathBuf,
    beside: PathBuf,
    published: bool,
}

impl New {
    /// An empty file, locked, that is to become `path`; `None` if there is one already.
    pub(super) fn begin(path: &Path) -> Result<Option<(fs::File, Self)>, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let beside = path.with_extension("new");
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(MODE);
            let file = options.open(&beside).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if path.try_exists().map_err(failed)? {
                // Nobody needs a second one any more.
                let _ = fs::remove_file(&beside);
                return Ok(None);
            }
            // Else another one removed it before this one had the lock.
            if is_at(&file, &beside).map_err(failed)? {
                // It may be what a process left that was killed.
                file.set_len(0).map_err(failed)?;
                file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
                return Ok(Some((file, Self { path: path.to_owned(), beside, published: false })));
            }
        }
        Err(OpenError::InUse { path: path.to_owned() })
    }

    /// Puts it in its place, where it stays though the power fails.
    pub(super) fn publish(mut self) -> io::Result<()> {
        if self.path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.beside, &self.path)?;
        self.published = true;
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        fs::File::open(directory)?.sync_all()
    }
}

/// Whether `file` is the one at `path`.
fn is_at(file: &fs::File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.published {
            // The next one who makes a file begins it anew anyway.
            let _ = fs::remove_file(&self.beside);
        }
    }
}
