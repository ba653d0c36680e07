//! Which files make up a configuration.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::kind::{FileKind, kind, policies_of, tests_of};
use super::words::did_you_mean;
use super::{Diagnostic, DiagnosticKind, Severity, read};
use crate::model::lossy;
use crate::yaml::BYTE_ORDER_MARK;

/// Directories inside directories, and no further: deep enough for any layout.
const DEEPEST: usize = 16;

/// Files, and what was found beside them that could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeSet<PathBuf>,
    /// An error for what has the name of a file that is wanted: its limits would be missing. A warning for anything
    /// else: a directory that is not ours to read (`lost+found`), a link that leads nowhere.
    pub(super) unreadable: Vec<Diagnostic>,
    /// Files beside them that are not wanted.
    others: BTreeSet<PathBuf>,
    /// Device and inode of each directory, so that none is entered twice, whatever links there are.
    entered: HashSet<(u64, u64)>,
}

impl Found {
    /// Files beside them that are not wanted.
    pub(super) fn others(&self) -> impl Iterator<Item = &Path> {
        self.others.iter().map(PathBuf::as_path)
    }
}

/// How many files that are no policies are looked into, in case they are.
const MOST_LOOKED_INTO: usize = 1000;

/// What the names of policies are, for whoever gave another.
const NAMES: &str = "names of policies end in yaml, yml or json, or have no ending";

/// The tests that `path` stands for: a test itself, those of a policy or of a subjects file, or every `*.test.yaml` in the
/// directory and those below it, by name. With them comes what could not be looked at; where there is no test, that is all.
pub fn test_files(path: &Path) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    let Found { files: found, unreadable, .. } = match files(path, &|name| is_test(name)) {
        Ok(found) => found,
        Err(wrong) => return (Vec::new(), vec![wrong]),
    };
    let mut wrong: Vec<_> = unreadable.into_iter().filter(|one| one.severity == Severity::Error).collect();
    let (tests, why): (Vec<_>, _) = match if path.is_dir() { None } else { kind(path) } {
        Some(FileKind::Policy) => (tests_of(path), ": it is a policy"),
        Some(FileKind::Subjects) => (
            policies_of(path).iter().flat_map(|policy| tests_of(policy)).collect(),
            ": it is a subjects file",
        ),
        Some(FileKind::Test) | None => (found.into_iter().collect(), ""),
    };
    if tests.is_empty() && wrong.is_empty() {
        let (place, hint) = match why {
            "" => ("in", "tests are files named `*.test.yaml`"),
            _ => (
                "for",
                "its tests are the files beside it that are named `NAME.test.yaml` and say `policy: NAME.yaml`",
            ),
        };
        let none = Diagnostic::error(format!("no test found {place} `{}`{why}", shown(path)));
        wrong.push(none.hint(Some(hint.to_owned())));
    }
    (tests, wrong)
}

/// Tells files apart by what they are, however they are named.
#[derive(Debug, Default)]
pub struct Once(HashSet<PathBuf>);

impl Once {
    /// Whether it was not asked for this file before. One that is not there goes by its name.
    pub fn is_new(&mut self, path: &Path) -> bool {
        self.0.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
    }
}

/// Every file in a directory and those below it that is read, or may be named by one that is: policies, and whatever is YAML by
/// its name. `every` as in [`policy_files`].
pub(super) fn followed(directory: &Path, every: bool) -> Result<Found, Diagnostic> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    files(directory, &|name| every || stem(name).is_some() || is_lines(name) || is_policy(name))
}

/// The policy files that `path` stands for: itself, or every file in the directory and those below it whose name ends in
/// `yaml`, `yml` or `json`, in any case, or has no ending, by name. Left out are hidden files and directories (which takes
/// care of Kubernetes' `..data` links and of swap files), editors' backups, tests (`*.test.yaml`) and subjects
/// (`*.subjects.yaml`). Links are followed. What is left out and looks like a policy is warned about.
///
/// `every` is envoyproxy/ratelimit's way: whatever is not hidden is a policy, but tests and subjects, which it has none of.
pub(super) fn policy_files(path: &Path, every: bool) -> Result<Found, Diagnostic> {
    let wanted = |name: &str| {
        if every { !is_test(name) && !is_subjects(name) } else { is_policy(name) }
    };
    let mut found = files(path, &wanted)?;
    let misnamed: Vec<_> =
        found.others.iter().take(MOST_LOOKED_INTO).filter_map(|path| misnamed(path)).collect();
    if found.files.is_empty() && found.unreadable.iter().all(|one| one.severity == Severity::Warning) {
        let none = Diagnostic::error(format!("no policy in `{}`", shown(path)));
        let none = none.kind(DiagnosticKind::UnreadableFile);
        return Err(none.hint(Some(
            misnamed
                .first()
                .map_or_else(|| NAMES.to_owned(), |misnamed| format!("{}; {NAMES}", misnamed.message)),
        )));
    }
    found.unreadable.extend(misnamed);
    Ok(found)
}

/// A warning, if the file is left out but looks like a policy.
fn misnamed(path: &Path) -> Option<Diagnostic> {
    let name = path.file_name()?.to_string_lossy();
    let text = read::start(path).ok()?;
    let begins = |words: &[&str]| {
        let line = |line: &str| {
            let line = line.trim_start_matches(BYTE_ORDER_MARK);
            words.iter().any(|word| line.starts_with(word))
        };
        text.lines().any(line)
    };
    let is_domain = [
        "domain:",
        "domain :",
        "'domain'",
        "\"domain\"",
        "  \"domain\"",
        "{\"domain\"",
        "{ \"domain\"",
        "{domain:",
    ];
    // A test may name the domain that it is of.
    let own: &[&str] = match () {
        () if is_test(&name) => &["policy:", "steps:"],
        () if is_subjects(&name) => &["subjects:"],
        () => &[],
    };
    if !begins(&is_domain) || begins(own) {
        return None;
    }
    let taken_for = match () {
        () if is_test(&name) => "is taken for a policy's test by its name",
        () if is_subjects(&name) => "is taken for a file of subjects by its name",
        () => "is not read",
    };
    let message = format!("`{}` {taken_for}, but has a line that begins with `domain:`", shown(path));
    let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message) };
    Some(warning.hint(Some(format!("rename it if it is a policy: {NAMES}"))))
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
    let mut entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    // In one order at each start; and a directory is known by its own name, whatever links lead to it.
    entries.sort_by_cached_key(|entry| {
        (entry.file_type().is_ok_and(|kind| kind.is_symlink()), entry.file_name())
    });
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        let looked = fs::metadata(&path).and_then(|metadata| {
            if metadata.is_dir() {
                // Whatever it is called: one that links back to where it stands is entered already.
                if !found.entered.insert((metadata.dev(), metadata.ino())) {
                    return Ok(());
                }
                if deeper > 0 {
                    return list(&path, deeper - 1, wanted, found);
                }
                let message =
                    format!("`{}` is more than {DEEPEST} directories deep, and is not read", shown(&path));
                found
                    .unreadable
                    .push(Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message) });
                return Ok(());
            }
            // What is no regular file is refused by name when it is read.
            if wanted(&name) {
                found.files.insert(path.clone());
            } else if !is_backup(&name) && !is_prose(&name) {
                found.others.insert(path.clone());
            }
            Ok(())
        });
        if let Err(error) = looked {
            // What has no ending may be a directory.
            let severity =
                if name.contains('.') && wanted(&name) { Severity::Error } else { Severity::Warning };
            found.unreadable.push(Diagnostic { severity, ..cannot_read(&path, &error) });
        }
    }
    Ok(())
}

pub(super) fn is_policy(name: &str) -> bool {
    let named = stem(name).is_some() || !name.contains('.');
    named && !is_backup(name) && !is_test(name) && !is_subjects(name)
}

/// Whether an editor left it there. `#name#` and `.#name` are Emacs's.
fn is_backup(name: &str) -> bool {
    name.starts_with('#') || name.ends_with('~')
}

/// Whether it is Markdown, which shows policies to readers and is none.
fn is_prose(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("md"))
}

/// Whether this stands before the ending: `test` in `mega.test.yaml`.
fn is_kind(name: &str, kind: &str) -> bool {
    let found = stem(name).and_then(|stem| stem.rsplit_once('.'));
    found.is_some_and(|(_, found)| found.eq_ignore_ascii_case(kind))
}

/// Whether it is the test of a policy, by its name.
pub(super) fn is_test(name: &str) -> bool {
    is_kind(name, "test")
}

/// Whether it is a file of subjects, by its name.
pub(super) fn is_subjects(name: &str) -> bool {
    is_kind(name, "subjects") || is_lines(name)
}

/// Whether it is a file of JSON Lines, which only subjects are.
pub(super) fn is_lines(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("jsonl"))
}

/// The name of a YAML file without its ending. All JSON is YAML.
fn stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known)).then_some(stem)
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
        _ => error.to_string(),
    };
    let hint = (error.kind() == io::ErrorKind::NotFound).then(|| neighbour(path, |_| true)).flatten();
    let wrong = Diagnostic::error(format!("cannot read `{}`: {reason}", shown(path))).hint(hint);
    Diagnostic { unread: true, ..wrong.kind(DiagnosticKind::UnreadableFile) }
}

/// A question about the file beside `path` that was meant, of those whose names `could` be it; or that a link leads nowhere.
pub(super) fn neighbour(path: &Path, could: impl Fn(&str) -> bool) -> Option<String> {
    const MOST: usize = 1000;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| !name.starts_with('.')).take(MOST).collect();
    let wanted = path.file_name()?.to_str()?;
    // A link that leads nowhere has the right name.
    if names.iter().any(|name| name == wanted) {
        return Some("the link leads nowhere".to_owned());
    }
    // Few are near, so few are looked into.
    let near = names.iter().map(String::as_str).filter(|name| did_you_mean(wanted, [*name]).is_some());
    did_you_mean(wanted, near.filter(|name| could(name)))
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

        let found = policy_files(root, false).unwrap();
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
        let found = policy_files(root, false).unwrap();
        assert_eq!(found.files.len(), 1, "{found:?}");
        let told = |found: Found| found.unreadable.into_iter().map(|one| one.severity).collect::<Vec<_>>();
        assert_eq!(told(found), [Severity::Warning, Severity::Warning]);

        // Its limits would be missing.
        symlink("nowhere", root.join("b.yaml")).unwrap();
        assert_eq!(
            told(policy_files(root, false).unwrap()).iter().filter(|one| **one == Severity::Error).count(),
            1
        );
    }

    #[test]
    fn what_lies_too_deep_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let deep = (0..=DEEPEST).fold(directory.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("a.yaml"), "domain: a").unwrap();
        fs::write(directory.path().join("b.yaml"), "domain: b").unwrap();
        let found = policy_files(directory.path(), false).unwrap();
        assert_eq!((found.files.len(), found.unreadable.len()), (1, 1), "{found:?}");
        assert!(found.unreadable[0].message.contains("is more than 16 directories deep"), "{found:?}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_missing_policy_where_every_file_is_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), "domain: a").unwrap();
        symlink("nowhere", directory.path().join("limits.conf")).unwrap();
        let severity = |every| policy_files(directory.path(), every).unwrap().unreadable[0].severity;
        assert_eq!([severity(false), severity(true)], [Severity::Warning, Severity::Error]);
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_name_that_was_meant() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("campaigns.yaml"), "").unwrap();
        let error = policy_files(&directory.path().join("campaing.yaml"), false).unwrap_err();
        assert!(error.message.ends_with("there is no such file or directory"), "{}", error.message);
        assert_eq!(error.hint.as_deref(), Some("did you mean `campaigns.yaml`?"));
    }

    /// What is read of a directory of these files, and what is warned about.
    fn read(files: &[(&str, &str)], every: bool) -> (Vec<String>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let found = policy_files(directory.path(), every).unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let root = format!("{}/", directory.path().display());
        let warned = found.unreadable.iter().map(|one| one.message.replace(&root, "")).collect();
        (found.files.iter().map(name).collect(), warned)
    }

    #[test]
    fn every_policy_is_read_or_named_whatever_its_name_is() {
        let domain = "domain: d\n";
        let (files, warned) = read(
            &[
                ("a.yaml", domain),
                ("limits", domain),
                ("limits.YAML", domain),
                ("limits.Yml", domain),
                ("limits.json", "{\"domain\": \"d\"}"),
                ("limits.conf", domain),
                ("api.test.yaml", domain),
                ("api.Subjects.yml", domain),
                ("a.yaml.bak", "# ours\n\u{feff}domain: d\n"),
                ("b.txt", "{\n  \"domain\": \"d\"\n}"),
                ("b.yaml~", domain),
                ("README.md", "```yaml\ndomain: shown\n```\n"),
                ("own.test.yaml", "policy: a.yaml\ndomain: d\n"),
                ("own.subjects.yaml", "subjects: []\n"),
            ],
            false,
        );
        assert_eq!(files, ["a.yaml", "limits", "limits.YAML", "limits.Yml", "limits.json"]);
        let left_out =
            |name: &str, why: &str| format!("`{name}` {why}, but has a line that begins with `domain:`");
        assert_eq!(
            warned,
            [
                left_out("a.yaml.bak", "is not read"),
                left_out("api.Subjects.yml", "is taken for a file of subjects by its name"),
                left_out("api.test.yaml", "is taken for a policy's test by its name"),
                left_out("b.txt", "is not read"),
                left_out("limits.conf", "is not read"),
            ]
        );
    }

    #[test]
    fn in_envoyproxy_ratelimits_directory_whatever_is_not_hidden_is_a_policy() {
        let domain = "domain: d\n";
        let names = [".hidden.yaml", "a.yaml", "b.conf", "c", "d.yaml.bak", "e.test.yaml"];
        let (files, warned) = read(&names.map(|name| (name, domain)), true);
        assert_eq!(files, ["a.yaml", "b.conf", "c", "d.yaml.bak"]);
        assert_eq!(warned.len(), 1, "{warned:?}");
    }

    #[test]
    fn where_there_is_no_policy_the_file_that_may_be_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("limits.conf"), "domain: d\n").unwrap();
        let error = policy_files(directory.path(), false).unwrap_err();
        assert!(
            error.hint.as_ref().is_some_and(|hint| hint.contains("limits.conf` is not read")),
            "{error:?}"
        );
    }
}
