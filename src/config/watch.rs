//! Whether files have changed since they were read.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{Found, all_files};

/// What files looked like at one moment: which there were, which inodes, how long, who may read them, and when they were
/// written or anything about them changed. Links are followed, so the exchange of a Kubernetes `..data` link shows; and
/// so does a `chmod` of a file that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of the file `path`, or every file in the directory `path` that is not hidden (policies, and subjects whether they could be
    /// read or not), and of `others`, wherever they are.
    pub fn of(path: &Path, others: &[PathBuf]) -> Self {
        let mut hasher = DefaultHasher::new();
        let beside = if path.is_dir() { all_files(path).unwrap_or_default() } else { Found::default() };
        beside.unreadable.len().hash(&mut hasher);
        let others = others.iter().map(PathBuf::as_path);
        for file in beside.files.iter().map(PathBuf::as_path).chain([path]).chain(others) {
            file.hash(&mut hasher);
            if let Ok(metadata) = fs::metadata(file) {
                (metadata.dev(), metadata.ino(), metadata.mode(), metadata.len()).hash(&mut hasher);
                (metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
                (metadata.ctime(), metadata.ctime_nsec()).hash(&mut hasher);
            }
        }
        Self(hasher.finish())
    }
}
