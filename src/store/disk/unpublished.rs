//! A file that is made, and has its name only when it is complete.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::open_error::OpenError;
use crate::model::KeySecret;

/// What the extension of such a name begins with. A number follows, which no other one has.
const EXTENSION: &str = "new-";

/// The file that is meant by `path`: that which a link leads to.
fn target(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The name of a file that is not complete yet, so that a process which ends meanwhile leaves nothing that looks like a store.
/// Dropped, it removes the file.
#[derive(Debug)]
pub(super) struct Unpublished {
    new: PathBuf,
    path: PathBuf,
}

impl Unpublished {
    /// Of a new file that is to be at `path`. Where that is a link, it is beside the file that this leads to: on the same file system.
    pub(super) fn beside(path: &Path) -> Self {
        let [number, _] = KeySecret::draw();
        let new = target(path).with_extension(format!("{EXTENSION}{number:016x}"));
        Self { new, path: path.to_owned() }
    }

    /// Removes what processes that were killed have left beside the file at `path`.
    pub(super) fn remove_all(path: &Path) {
        let path = target(path);
        let (Some(directory), Some(name)) = (path.parent(), path.file_stem().and_then(OsStr::to_str)) else {
            return;
        };
        let is_left = |file: &OsStr| {
            let rest = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
            let number = rest.and_then(|rest| rest.strip_prefix(EXTENSION));
            number.is_some_and(|number| number.len() == 16 && u64::from_str_radix(number, 16).is_ok())
        };
        let left = fs::read_dir(directory).into_iter().flatten().flatten();
        for file in left.filter(|file| is_left(&file.file_name())) {
            // It only takes room.
            let _ = fs::remove_file(file.path());
        }
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
        let path = target(&self.path);
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
