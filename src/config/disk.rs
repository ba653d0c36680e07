//! Sources that are files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
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
        let mut subjects = OnDisk::default();
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
                        if let Some(directory) = file.parent().filter(|parent| parent.to_str().is_none()) {
                            subjects
                                .unreadable_names
                                .insert(shown(directory).into_owned(), directory.to_owned());
                        }
                        match read::text(&file) {
                            Ok(text) => policies.push(Arc::new(Source::new(&shown(&file), text))),
                            Err(error) => found.push(cannot_read(&file, &error)),
                        }
                    }
                }
                Err(diagnostic) => found.push(diagnostic),
            }
        }
        Self { policies: policies.into(), found, subjects: Arc::new(subjects) }
    }

    /// One policy in memory whose subjects are files.
    pub(super) fn text_beside_files(name: &str, text: &str) -> Self {
        let policies = Arc::new([Arc::new(Source::new(name, text.to_owned()))]);
        Self { policies, found: Vec::new(), subjects: Arc::new(OnDisk::default()) }
    }
}

/// Names are paths.
#[derive(Debug, Default)]
struct OnDisk {
    /// Directories of policies whose names are no UTF-8, by how they are shown.
    unreadable_names: HashMap<String, PathBuf>,
    asked: Mutex<Vec<String>>,
}

impl OnDisk {
    /// Where the file is that is called `name`.
    fn path(&self, name: &str) -> PathBuf {
        let path = Path::new(name);
        let is_in = |around: &Path| {
            let directory = self.unreadable_names.get(around.to_str()?)?;
            Some(directory.join(path.strip_prefix(around).ok()?))
        };
        path.ancestors().skip(1).find_map(is_in).unwrap_or_else(|| path.to_owned())
    }
}

impl Lookup for OnDisk {
    fn text(&self, name: &str) -> Result<String, Diagnostic> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let path = self.path(name);
        read::text(&path).map_err(|error| {
            let wrong = cannot_read(&path, &error);
            // A policy or a test with a name that is nearer was not meant.
            let is_subjects = |beside: &str| kind(&path.with_file_name(beside)) == Some(FileKind::Subjects);
            let is_absent = error.kind() == io::ErrorKind::NotFound;
            Diagnostic { hint: is_absent.then(|| neighbour(&path, is_subjects)).flatten(), ..wrong }
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
