//! The texts that a configuration is compiled from, wherever they come from.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::source::Source;
use super::words::did_you_mean;

/// Finds the text that a policy names.
pub(super) trait Lookup: Debug + Send + Sync {
    /// The text called `name`, or why there is none.
    fn text(&self, name: &str) -> Result<String, Diagnostic>;

    /// The names that were asked for, where they are paths.
    fn asked(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Policies by name, in the order in which they are compiled; the subjects that they may name; and what was found wrong
/// while they were collected. Names are paths with `/`: a policy names its subjects relative to its own name.
#[derive(Clone, Debug)]
pub struct Sources {
    pub(super) policies: Arc<[Arc<Source>]>,
    pub(super) found: Vec<Diagnostic>,
    pub(super) subjects: Arc<dyn Lookup>,
}

impl Sources {
    /// The files that were asked for while they were compiled: subjects, read or not.
    pub fn asked(&self) -> Vec<String> {
        self.subjects.asked()
    }

    /// These, and after them the policies of `others`, which name no subjects.
    #[must_use]
    pub fn and<'s>(&self, others: impl IntoIterator<Item = &'s Self>) -> Self {
        let (mut policies, mut found) = (self.policies.to_vec(), self.found.clone());
        for other in others {
            policies.extend(other.policies.iter().map(Arc::clone));
            found.extend(other.found.iter().cloned());
        }
        Self { policies: policies.into(), found, subjects: Arc::clone(&self.subjects) }
    }

    /// The names of the policies.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| &*policy.file)
    }

    /// Texts in memory, each with its name. `policies` are compiled in this order; `subjects` are read where a policy names
    /// them.
    pub fn in_memory<N: Into<String>, T: Into<String>>(
        policies: impl IntoIterator<Item = (N, T)>,
        subjects: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let policies =
            policies.into_iter().map(|(name, text)| Arc::new(Source::new(&name.into(), text.into())));
        let subjects = subjects.into_iter().map(|(name, text)| (plain(&name.into()), text.into()));
        Self {
            policies: policies.collect(),
            found: Vec::new(),
            subjects: Arc::new(InMemory(subjects.collect())),
        }
    }
}

/// The name of the subjects that `policy` calls `name`.
pub(super) fn beside(policy: &str, name: &str) -> String {
    match policy.rsplit_once('/') {
        Some((directory, _)) if !name.starts_with('/') => format!("{directory}/{name}"),
        _ => name.to_owned(),
    }
}

/// A name without `.` and `..`.
fn plain(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, "" | "..")) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Texts by plain name.
#[derive(Debug)]
struct InMemory(BTreeMap<String, String>);

impl Lookup for InMemory {
    fn text(&self, name: &str) -> Result<String, Diagnostic> {
        let wanted = plain(name);
        if let Some(text) = self.0.get(&wanted) {
            return Ok(text.clone());
        }
        let split = |name: &str| match name.rsplit_once('/') {
            Some((directory, name)) => (directory.to_owned(), name.to_owned()),
            None => (String::new(), name.to_owned()),
        };
        let (directory, file) = split(&wanted);
        let names: Vec<String> = self
            .0
            .keys()
            .map(|name| split(name))
            .filter(|(of, _)| *of == directory)
            .map(|(_, name)| name)
            .collect();
        let hint = did_you_mean(&file, names.iter().map(String::as_str));
        let shown = crate::model::lossy(name.as_bytes());
        Err(Diagnostic::error(format!("cannot read `{shown}`: there is no such file or directory"))
            .hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, compile, load, render};

    type Told = Result<(usize, Vec<String>, String), String>;

    /// What is said of these files when they are read from a directory and when they are texts in memory, by the same names.
    fn both(files: &[(&str, &str)]) -> [Told; 2] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let named = files.iter().map(|(name, text)| (format!("{root}/{name}"), (*text).to_owned()));
        let (subjects, policies): (Vec<_>, Vec<_>) = named.partition(|(name, _)| name.contains(".subjects."));
        let in_memory = compile(&Sources::in_memory(policies, subjects), Options::default());
        [load(&[directory.path()], Options::default()), in_memory].map(|loaded| match loaded {
            Ok(loaded) => Ok((loaded.policy.rules(), loaded.names, render(&loaded.warnings, false))),
            Err(wrong) => Err(render(&wrong, false)),
        })
    }

    #[test]
    fn texts_in_memory_are_compiled_as_files_are() {
        const SUBJECTS: &str =
            "subjects: [{id: a, attributes: {requests: 5}, credentials: [{kind: key, value: k}]}]";
        const POLICY: &str = "domain: d\nsubjects: ../d.subjects.yaml\ndescriptors: [{key: key, subject: key, rate_limit: \
                              {requests_per_unit: {attribute: requests}, per: 1h}}]";
        let misspelt = POLICY.replace("d.subjects", "e.subjects");
        let slip = POLICY.replace("attribute: requests", "attribute: reqests");
        for (files, is_right) in [
            ([("a/d.yaml", POLICY), ("d.subjects.yaml", SUBJECTS)].as_slice(), true),
            (&[("a/d.yaml", POLICY), ("b.yaml", "domain: b"), ("d.subjects.yaml", SUBJECTS)], true),
            (&[("d.yaml", "domain: d")], true),
            (&[("a/d.yaml", &misspelt), ("d.subjects.yaml", SUBJECTS)], false),
            (&[("a/d.yaml", &slip), ("d.subjects.yaml", SUBJECTS)], false),
            (&[("a/d.yaml", POLICY), ("d.subjects.yaml", "subjects: [{idd: a}]")], false),
            (&[("a.yaml", "domain: ["), ("b.yaml", "domain: d\nlimits: 1"), ("c.yaml", "domain: d")], false),
        ] {
            let [on_disk, in_memory] = both(files);
            assert_eq!(on_disk, in_memory, "{files:?}");
            assert_eq!(on_disk.is_ok(), is_right, "{on_disk:?}");
        }
    }

    #[test]
    fn what_only_the_disk_has_is_not_found_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("d.subjects.yaml"), "subjects: []").unwrap();
        let policy = "domain: d\nsubjects: d.subjects.yaml\ndescriptors: []".to_owned();
        let sources =
            Sources::in_memory([(directory.path().join("d.yaml").display().to_string(), policy)], []);
        let wrong = compile(&sources, Options::default()).unwrap_err();
        assert!(wrong[0].message.ends_with("there is no such file or directory"), "{wrong:?}");
        assert!(!wrong[0].unread, "trying again finds it no sooner");
    }
}
