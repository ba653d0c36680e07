//! Whether files have changed since they were read.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::files::policy_files;

/// What files looked like at one moment: which there were, how long, and when they were written. Links are followed, so
/// the exchange of a Kubernetes `..data` link shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of the policy files that `path` stands for, and of `files`.
    pub fn of(path: &Path, files: &[PathBuf]) -> Self {
        let mut hasher = DefaultHasher::new();
        let listed = policy_files(path).unwrap_or_default();
        for file in listed.iter().chain(files) {
            file.hash(&mut hasher);
            if let Ok(metadata) = fs::metadata(file) {
                metadata.len().hash(&mut hasher);
                metadata.modified().ok().hash(&mut hasher);
            }
        }
        Self(hasher.finish())
    }
}
