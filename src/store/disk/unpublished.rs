//! A file that is made, and has its name only when it is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::open_error::OpenError;

/// The name of a file that is not complete yet, so that a process which ends meanwhile leaves nothing that looks like a store.
/// Dropped, it removes the file.
#[derive(Debug)]
pub(super) struct Unpublished {
    new: PathBuf,
    path: PathBuf,
}

impl Unpublished {
    /// Of the file `new`, which is to be at `path`.
    pub(super) fn new(new: PathBuf, path: &Path) -> Self {
        Self { new, path: path.to_owned() }
    }

    /// Where the file is until then.
    pub(super) fn unnamed(&self) -> &Path {
        &self.new
    }

    /// Gives the file its name, if no other file has it.
    pub(super) fn publish(self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { path: self.path.clone(), source };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        match fs::hard_link(&self.new, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(OpenError::Exists { path: self.path.clone(), directory: directory.to_owned() });
            }
            // Some file systems have no links. There two that start at the same moment may still both make a file.
            Err(_) if !self.path.exists() => fs::rename(&self.new, &self.path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    /// Gives the file its name, whichever has it now.
    pub(super) fn replace(self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { path: self.path.clone(), source };
        // Where the name is a link, the file that it leads to is replaced.
        let path = self.path.canonicalize().map_err(failed)?;
        fs::rename(&self.new, &path).map_err(failed)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        // Its other name stays. It may be gone already.
        let _ = fs::remove_file(&self.new);
    }
}
