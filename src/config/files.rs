//! Which files make up a configuration.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::words::did_you_mean;
use super::{Diagnostic, Severity};
use crate::model::lossy;

/// Directories inside directories, and no further: deep enough for any layout.
const DEEPEST: usize = 16;

/// Files, and what was found beside them that could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeSet<PathBuf>,
    /// An error for what has the name of a file that is wanted: its limits would be missing. A warning for anything
    /// else: a directory that is not ours to read (`lost+found`), a link that leads nowhere.
    pub(super) unreadable: Vec<Diagnostic>,
    /// Device and inode of each directory, so that none is entered twice, whatever links there are.
    entered: HashSet<(u64, u64)>,
}

/// The tests that `path` stands for: itself, or every `*.test.yaml` in the directory and those below it, by name.
pub fn test_files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let is_test = |name: &str| stem(name).and_then(kind) == Some("test");
    let Found { files: found, unreadable, .. } = files(path, &is_test)?;
    if let Some(error) = unreadable.into_iter().find(|one| one.severity == Severity::Error) {
        return Err(error);
    }
    if found.is_empty() {
        return Err(Diagnostic::error(format!("no test in `{}`", shown(path)))
            .hint(Some("tests are files named `*.test.yaml`".to_owned())));
    }
    Ok(found.into_iter().collect())
}

/// Every YAML file in a directory and those below it: policies, tests and subjects.
pub(super) fn yaml_files(directory: &Path) -> Result<Found, Diagnostic> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    files(directory, &|name| stem(name).is_some())
}

/// The policy files that `path` stands for: itself, or every `*.yaml` and `*.yml` in the directory and those below it,
/// by name. Left out are hidden files and directories (which takes care of Kubernetes' `..data` links and of swap
/// files), editors' backups, tests (`*.test.yaml`) and subjects (`*.subjects.yaml`). Links are followed.
pub(super) fn policy_files(path: &Path) -> Result<Found, Diagnostic> {
    let found = files(path, &is_policy)?;
    if found.files.is_empty() && found.unreadable.iter().all(|one| one.severity == Severity::Warning) {
        return Err(Diagnostic::error(format!("no policy in `{}`", shown(path)))
            .hint(Some("policies are files named `*.yaml` or `*.yml`".to_owned())));
    }
    Ok(found)
}

/// A file stands for itself; a directory for every file in it whose name is `wanted`.
fn files(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Found, Diagnostic> {
    let metadata = fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    let mut found = Found::default();
    if metadata.is_dir() {
        found.entered.insert((metadata.dev(), metadata.ino()));
        list(path, DEEPEST, wanted, &mut found).map_err(|error| cannot_read(path, &error))?;
    } else {
        found.files.insert(path.to_owned());
    }
    Ok(found)
}

fn list(
    directory: &Path,
    deeper: usize,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut Found,
) -> Result<(), io::Error> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        let looked = fs::metadata(&path).and_then(|metadata| {
            if metadata.is_dir() {
                // Whatever it is called: one that links back to where it stands is entered already.
                let is_new = found.entered.insert((metadata.dev(), metadata.ino()));
                return if is_new && deeper > 0 { list(&path, deeper - 1, wanted, found) } else { Ok(()) };
            }
            // What is no regular file is refused by name when it is read.
            if wanted(&name) {
                found.files.insert(path.clone());
            }
            Ok(())
        });
        if let Err(error) = looked {
            let severity = if wanted(&name) { Severity::Error } else { Severity::Warning };
            found.unreadable.push(Diagnostic { severity, ..cannot_read(&path, &error) });
        }
    }
    Ok(())
}

fn is_policy(name: &str) -> bool {
    let Some(stem) = stem(name) else { return false };
    // `#name#` and `.#name` are Emacs's; what other editors leave ends in something else.
    !matches!(kind(stem), Some("test" | "subjects")) && !stem.starts_with('#')
}

/// What stands before the ending: `test` in `mega.test.yaml`.
fn kind(stem: &str) -> Option<&str> {
    stem.rsplit_once('.').map(|(_, kind)| kind)
}

/// The name of a YAML file without its ending.
fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"))
}

/// A path as it is told: whoever names files must not be able to write lines of the log.
pub(super) fn shown(path: &Path) -> Cow<'_, str> {
    lossy(path.as_os_str().as_bytes())
}

/// An error that names the file, and the file that was meant if there is one with almost that name.
pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Diagnostic {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    let hint = (error.kind() == io::ErrorKind::NotFound).then(|| neighbour(path)).flatten();
    let wrong = Diagnostic::error(format!("cannot read `{}`: {reason}", shown(path))).hint(hint);
    Diagnostic { unread: true, ..wrong }
}

fn neighbour(path: &Path) -> Option<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    let wanted = path.file_name()?.to_str()?;
    // A link that leads nowhere has the right name.
    if names.iter().any(|name| name == wanted) {
        return Some("the link leads nowhere".to_owned());
    }
    did_you_mean(wanted, names.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mounted_config_map_is_read_once_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        // As the kubelet lays it out: the data in a hidden directory, a hidden link to it, a link for each file.
        fs::create_dir(root.join("..2026_11_21_22_00_00.123")).unwrap();
        fs::write(root.join("..2026_11_21_22_00_00.123/demo.yaml"), "domain: demo").unwrap();
        symlink("..2026_11_21_22_00_00.123", root.join("..data")).unwrap();
        symlink("..data/demo.yaml", root.join("demo.yaml")).unwrap();
        for other in [
            ".demo.yaml.swp",
            ".hidden.yaml",
            "demo.yaml~",
            "#demo.yaml#",
            "README.md",
            "a.test.yaml",
            "a.subjects.yaml",
        ] {
            fs::write(root.join(other), "not a policy").unwrap();
        }
        fs::create_dir(root.join("team")).unwrap();
        fs::write(root.join("team/b.yml"), "domain: b").unwrap();

        let found = policy_files(root).unwrap();
        assert!(found.files.iter().eq(&[root.join("demo.yaml"), root.join("team/b.yml")]), "{found:?}");
        assert!(found.unreadable.is_empty());
    }

    #[test]
    fn links_that_lead_back_or_nowhere_end_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("team")).unwrap();
        fs::write(root.join("team/a.yaml"), "domain: a").unwrap();
        for (to, link) in
            [(".", "l"), ("..", "team/up"), ("../team", "team/again"), ("nowhere", "gone"), ("loop", "loop")]
        {
            symlink(to, root.join(link)).unwrap();
        }
        let found = policy_files(root).unwrap();
        assert_eq!(found.files.len(), 1, "{found:?}");
        let told = |found: Found| found.unreadable.into_iter().map(|one| one.severity).collect::<Vec<_>>();
        assert_eq!(told(found), [Severity::Warning, Severity::Warning]);

        // Its limits would be missing.
        symlink("nowhere", root.join("b.yaml")).unwrap();
        assert_eq!(
            told(policy_files(root).unwrap()).iter().filter(|one| **one == Severity::Error).count(),
            1
        );
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_name_that_was_meant() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("campaigns.yaml"), "").unwrap();
        let error = policy_files(&directory.path().join("campaing.yaml")).unwrap_err();
        assert!(error.message.ends_with("there is no such file or directory"), "{}", error.message);
        assert_eq!(error.hint.as_deref(), Some("did you mean `campaigns.yaml`?"));
    }
}
