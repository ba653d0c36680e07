//! What a file is: a policy, the test of one, or its subjects; and which of them belong together.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{is_policy, is_subjects, is_test};
use super::read;
use crate::yaml::{Kind, Tree};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A policy.
    Policy,
    /// The test of a policy.
    Test,
    /// Who has which credentials.
    Subjects,
}

/// What the file at `path` is, by its name or else by the words at its top; nothing for one that is none of them.
pub fn kind(path: &Path) -> Option<FileKind> {
    let name = path.file_name()?.to_string_lossy();
    if is_test(&name) {
        return Some(FileKind::Test);
    }
    if is_subjects(&name) {
        return Some(FileKind::Subjects);
    }
    let words = top(path);
    let has = |known: &str| words.iter().any(|(word, _)| word == known);
    match () {
        () if has("steps") => Some(FileKind::Test),
        () if has("descriptors") || has("domain") => Some(FileKind::Policy),
        () if has("policy") => Some(FileKind::Test),
        () if has("subjects") => Some(FileKind::Subjects),
        () => None,
    }
}

/// The policies in the directory of a subjects file that name it.
pub fn policies_of(subjects: &Path) -> Vec<PathBuf> {
    let mut found = beside(subjects, is_policy);
    found.retain(|policy| names(policy, "subjects", subjects));
    found
}

/// The tests in the directory of a policy that are called like it or name it.
pub(super) fn tests_of(policy: &Path) -> Vec<PathBuf> {
    let stem = policy.file_stem().unwrap_or_default();
    let mut found = beside(policy, is_test);
    found.retain(|test| {
        let own = test.file_stem().and_then(|own| Path::new(own).file_stem());
        own == Some(stem) || names(test, "policy", policy)
    });
    found
}

/// Whether `word` at the top of `file` names `other`.
fn names(file: &Path, word: &str, other: &Path) -> bool {
    let Ok(other) = other.canonicalize() else { return false };
    let beside = file.parent().unwrap_or(Path::new(""));
    top(file).iter().any(|(known, value)| {
        let named = value.as_deref().filter(|_| known == word).map(|name| beside.join(name));
        named.and_then(|named| named.canonicalize().ok()).as_ref() == Some(&other)
    })
}

/// The files in the directory of `path` whose names are `wanted`, by name.
fn beside(path: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = fs::read_dir(listed).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let wanted = names.filter(|name| !name.starts_with('.') && wanted(name));
    let mut found: Vec<_> = wanted.map(|name| directory.join(name)).filter(|path| path.is_file()).collect();
    found.sort();
    found
}

/// The words at the top of every document of a file, with their values where these are single ones. Nothing of a file that
/// cannot be read: whoever reads it for its own sake tells why.
fn top(path: &Path) -> Vec<(String, Option<String>)> {
    let Some(tree) = read::text(path).ok().and_then(|text| Tree::parse(&text).ok()) else {
        return Vec::new();
    };
    let mut words = Vec::new();
    for document in tree.documents() {
        let Kind::Mapping(pairs) = document.kind() else { continue };
        for (key, value) in pairs {
            let Kind::Scalar { text: word, .. } = key.kind() else { continue };
            let value =
                if let Kind::Scalar { text, .. } = value.kind() { Some(text.to_owned()) } else { None };
            words.push((word.to_owned(), value));
        }
    }
    words
}
