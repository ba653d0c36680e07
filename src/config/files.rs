//! Which files make up a configuration.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Diagnostic;
use super::words::did_you_mean;

/// Directories inside directories, and no further: deep enough for any layout, and an end to any loop of links.
const DEEPEST: usize = 16;

/// The tests that `path` stands for: itself, or every `*.test.yaml` in the directory and those below it, by name.
pub fn test_files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let is_test = |name: &str| stem(name).and_then(kind) == Some("test");
    let found = files(path, &is_test)?;
    if found.is_empty() {
        return Err(Diagnostic::error(format!("no test in `{}`", path.display()))
            .hint(Some("tests are files named `*.test.yaml`".to_owned())));
    }
    Ok(found)
}

/// Every YAML file in a directory and those below it: policies, tests and subjects.
pub(super) fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    files(directory, &|name| stem(name).is_some())
}

/// The policy files that `path` stands for: itself, or every `*.yaml` and `*.yml` in the directory and those below it,
/// by name. Left out are hidden files and directories (which takes care of Kubernetes' `..data` links and of swap
/// files), editors' backups, tests (`*.test.yaml`) and subjects (`*.subjects.yaml`). Links are followed.
pub(super) fn policy_files(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let found = files(path, &is_policy)?;
    if found.is_empty() {
        return Err(Diagnostic::error(format!("no policy in `{}`", path.display()))
            .hint(Some("policies are files named `*.yaml` or `*.yml`".to_owned())));
    }
    Ok(found)
}

/// A file stands for itself; a directory for every file in it whose name is `wanted`.
fn files(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, Diagnostic> {
    let metadata = fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = BTreeSet::new();
    list(path, DEEPEST, wanted, &mut found)?;
    Ok(found.into_iter().collect())
}

fn list(
    directory: &Path,
    deeper: usize,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut BTreeSet<PathBuf>,
) -> Result<(), Diagnostic> {
    let entries = fs::read_dir(directory).map_err(|error| cannot_read(directory, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| cannot_read(directory, &error))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|error| cannot_read(&path, &error))?;
        if metadata.is_dir() && deeper > 0 {
            list(&path, deeper - 1, wanted, found)?;
        } else if metadata.is_file() && wanted(&name) {
            found.insert(path);
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

/// An error that names the file, and the file that was meant if there is one with almost that name.
pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Diagnostic {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    let hint = (error.kind() == io::ErrorKind::NotFound).then(|| neighbour(path)).flatten();
    Diagnostic::error(format!("cannot read `{}`: {reason}", path.display())).hint(hint)
}

fn neighbour(path: &Path) -> Option<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    did_you_mean(path.file_name()?.to_str()?, names.iter().map(String::as_str))
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

        assert_eq!(policy_files(root).unwrap(), [root.join("demo.yaml"), root.join("team/b.yml")]);
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
