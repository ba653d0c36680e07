//! Sources that are files.

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::files::{Once, cannot_read, policy_files, shown};
use super::read;
use super::source::Source;
use super::sources::{Lookup, Sources};
use super::words::did_you_mean;

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
        Self { policies: policies.into(), found, subjects: Arc::new(OnDisk) }
    }

    /// One policy in memory whose subjects are files.
    pub(super) fn text_beside_files(name: &str, text: &str) -> Self {
        let policies = Arc::new([Source::new(name, text.to_owned())]);
        Self { policies, found: Vec::new(), subjects: Arc::new(OnDisk) }
    }
}

/// Names are paths.
#[derive(Debug)]
struct OnDisk;

impl Lookup for OnDisk {
    fn text(&self, name: &str) -> Result<String, Diagnostic> {
        let path = Path::new(name);
        read::text(path).map_err(|error| {
            let wrong = cannot_read(path, &error);
            let hint = wrong.hint.clone().or_else(|| alike(path));
            wrong.hint(hint)
        })
    }
}

/// A file beside `path` that may have been meant.
fn alike(path: &Path) -> Option<String> {
    const LOOKED_AT: usize = 1000;
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(parent).ok()?.take(LOOKED_AT).flatten();
    let names: Vec<String> = beside.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    did_you_mean(name, names.iter().map(String::as_str).filter(|name| name.contains(".subjects.")))
}
