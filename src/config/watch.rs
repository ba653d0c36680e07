//! Whether files have changed since they were read.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::{Found, followed};

/// What files looked like at one moment: which there were, which inodes, how long, who may read them, and when they were
/// written or anything about them changed. Links are followed, so the exchange of a Kubernetes `..data` link shows; and
/// so does a `chmod` of a file that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of the file `path`, or of every file in the directory `path` that is read or may become one that is: policies, and whatever
    /// is YAML by its name (subjects, whether they could be read or not). Of others only the names count: a log that grows
    /// beside the policies is no change of them. And of `elsewhere`, wherever these files are. `every` is
    /// [`Options::every_file`](super::Options::every_file).
    pub fn of(path: &Path, every: bool, elsewhere: &[String]) -> Self {
        let mut hasher = DefaultHasher::new();
        let beside = if path.is_dir() { followed(path, every).unwrap_or_default() } else { Found::default() };
        beside.unreadable.len().hash(&mut hasher);
        beside.others().for_each(|other| other.hash(&mut hasher));
        let elsewhere = elsewhere.iter().map(Path::new);
        for file in beside.files.iter().map(std::path::PathBuf::as_path).chain([path]).chain(elsewhere) {
            file.hash(&mut hasher);
            // A directory is written whenever a name in it comes or goes, a hidden one too; the names were looked at.
            if let Some(metadata) = fs::metadata(file).ok().filter(|metadata| !metadata.is_dir()) {
                (metadata.dev(), metadata.ino(), metadata.mode(), metadata.len()).hash(&mut hasher);
                (metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
                (metadata.ctime(), metadata.ctime_nsec()).hash(&mut hasher);
            }
        }
        Self(hasher.finish())
    }

    /// Of each of some files by itself.
    pub fn of_each<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Vec<Self> {
        paths.into_iter().map(|path| Self::of(path, false, &[])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_followed_and_a_log_beside_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let of = |every| Fingerprint::of(directory.path(), every, &[]);
        for name in ["p.yaml", "limits", "p.subjects.yaml", "p.test.yaml", "access.log"] {
            write(name, "");
        }
        for (name, is_followed) in
            [("p.yaml", true), ("limits", true), ("p.subjects.yaml", true), ("access.log", false)]
        {
            let before = of(false);
            write(name, "longer");
            assert_eq!(of(false) != before, is_followed, "{name}");
        }
        let before = of(false);
        write("new.log", "");
        assert_ne!(of(false), before, "a new name may be that of a misnamed policy");
        let before = of(true);
        write("access.log", "longer still");
        assert_ne!(of(true), before, "where every file is a policy");
    }
}
