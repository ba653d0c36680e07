//! Sources that are files.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::diagnostic::Diagnostic;
use super::files::{Once, cannot_read, neighbour, policy_files, shown};
use super::kind::{FileKind, kind};
use super::read;
use super::source::Source;
use super::sources::{Lookup, Sources};

impl Sources {
    /// The policies that `paths` stand for, in the order of the paths and by name; subjects are read where a policy names
    /// them. What cannot be read is found wrong when the sources are compiled. `every_file` as in
    /// [`Options`](super::Options::every_file).
    pub fn in_files<P: AsRef<Path>>(paths: &[P], every_file: bool) -> Self {
        let (mut policies, mut found) = (Vec::new(), Vec::new());
        // A file that is named, and lies in a directory that is named, too, would describe its domain twice.
        let mut read_before = Once::default();
        for path in paths {
            match policy_files(path.as_ref(), every_file) {
                Ok(files) => {
                    found.extend(files.unreadable);
                    for file in files.files {
                        if !read_before.is_new(&file) {
                            continue;
                        }
                        match read::text(&file) {
                            Ok(text) => policies.push(Source::new(&shown(&file), text)),
                            Err(error) => found.push(cannot_read(&file, &error)),
                        }
                    }
                }
                Err(diagnostic) => found.push(diagnostic),
            }
        }
        Self { policies: policies.into(), found, subjects: Arc::new(OnDisk::default()) }
    }

    /// One policy in memory whose subjects are files.
    pub(super) fn text_beside_files(name: &str, text: &str) -> Self {
        let policies = Arc::new([Source::new(name, text.to_owned())]);
        Self { policies, found: Vec::new(), subjects: Arc::new(OnDisk::default()) }
    }
}

/// Names are paths.
#[derive(Debug, Default)]
struct OnDisk {
    asked: Mutex<Vec<String>>,
}

impl Lookup for OnDisk {
    fn text(&self, name: &str) -> Result<String, Diagnostic> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let path = Path::new(name);
        read::text(path).map_err(|error| {
            let wrong = cannot_read(path, &error);
            // A policy or a test with a name that is nearer was not meant.
            let is_subjects = |beside: &str| kind(&path.with_file_name(beside)) == Some(FileKind::Subjects);
            let is_absent = error.kind() == io::ErrorKind::NotFound;
            Diagnostic { hint: is_absent.then(|| neighbour(path, is_subjects)).flatten(), ..wrong }
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
