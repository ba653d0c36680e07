//! Whether files have changed since they were read.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::files::yaml_files;

/// What files looked like at one moment: which there were, how long, and when they were written. Links are followed, so
/// the exchange of a Kubernetes `..data` link shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of every YAML file in the directory `path`, or beside the file `path`: policies, and subjects whether they could be
    /// read or not.
    pub fn of(path: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        let directory = if path.is_dir() { Some(path) } else { path.parent() };
        let beside = directory.and_then(|directory| yaml_files(directory).ok()).unwrap_or_default();
        for file in beside.iter().map(PathBuf::as_path).chain([path]) {
            file.hash(&mut hasher);
            if let Ok(metadata) = fs::metadata(file) {
                metadata.len().hash(&mut hasher);
                metadata.modified().ok().hash(&mut hasher);
            }
        }
        Self(hasher.finish())
    }
}
