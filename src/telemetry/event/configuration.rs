//! Files that are read, and what is said of them.

use std::sync::atomic::Ordering;

use crate::telemetry::Metrics;

/// One mistake in the files that are to be served, as fields: for logs that machines read.
#[derive(Debug)]
pub struct Mistake<'a> {
    /// Whether the files are refused for it.
    pub refuses: bool,
    /// What is wrong.
    pub message: &'a str,
    /// What to do about it.
    pub hint: Option<&'a str>,
    /// The file, the line and the column, which are counted from 1.
    pub place: Option<(&'a str, usize, usize)>,
}

impl Mistake<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let (hint, file) = (self.hint, self.place.map(|place| place.0));
        let (line, column) = (self.place.map(|place| place.1), self.place.map(|place| place.2));
        if self.refuses {
            tracing::error!(severity = "error", file, line, column, hint, "{}", self.message);
        } else {
            tracing::warn!(severity = "warning", file, line, column, hint, "{}", self.message);
        }
    }
}

/// The configuration was read and is in force.
#[derive(Debug)]
pub struct ConfigLoaded {
    /// From how many files.
    pub files: usize,
    /// How many rules they hold.
    pub rules: usize,
}

impl ConfigLoaded {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.configs_loaded.fetch_add(1, Ordering::Relaxed);
        tracing::info!(files = self.files, rules = self.rules, "configuration loaded");
    }
}

/// A configuration replaced another one.
#[derive(Debug)]
pub struct ConfigReloaded<'a> {
    /// From how many files.
    pub files: usize,
    /// How many rules they hold.
    pub rules: usize,
    /// What that changes.
    pub change: &'a ConfigChange<'a>,
}

impl ConfigReloaded<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.configs_loaded.fetch_add(1, Ordering::Relaxed);
        let Self { files, rules, change } = *self;
        tracing::info!(
            files,
            rules,
            rules_before = change.rules_before,
            domains_added = names(change.added),
            domains_removed = names(change.removed),
            subjects = change.subjects().map(|[_, after]| after),
            subjects_before = change.subjects().map(|[before, _]| before),
            "configuration loaded"
        );
        change.warn(rules);
    }
}

/// What a configuration changes.
#[derive(Debug)]
pub struct ConfigChange<'a> {
    /// How many rules there were.
    pub rules_before: usize,
    /// The domains that came.
    pub added: &'a [String],
    /// The domains that went.
    pub removed: &'a [String],
    /// How many subjects there were, and how many there are.
    pub subjects: [usize; 2],
}

impl ConfigChange<'_> {
    /// The numbers of subjects, where they are not the same.
    pub(super) fn subjects(&self) -> Option<[usize; 2]> {
        let [before, after] = self.subjects;
        (before != after).then_some(self.subjects)
    }

    /// Warns where all `rules` or subjects have gone: a file that was still being written is what that looks like.
    pub(super) fn warn(&self, rules: usize) {
        let Self { rules_before, subjects: [subjects_before, subjects], .. } = *self;
        if rules == 0 && rules_before > 0 {
            tracing::warn!(rules_before, "the new configuration has no limits, so everything passes");
        }
        if subjects == 0 && subjects_before > 0 {
            tracing::warn!(
                subjects_before,
                "the new configuration has no subjects, so limits of theirs limit nobody"
            );
        }
    }
}

/// The first of some names, and how many more there are; nothing where there are none.
pub(super) fn names(all: &[String]) -> Option<String> {
    const SHOWN: usize = 10;
    let more = all.len().saturating_sub(SHOWN);
    let first = all[..all.len() - more].join(", ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (_, 0) => Some(first),
        _ => Some(format!("{first} and {more} more")),
    }
}

/// The configuration is in force, but something in it is probably not meant.
#[derive(Debug)]
pub struct ConfigWarned {
    /// All of it, as `check` prints it.
    pub warnings: String,
}

impl ConfigWarned {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!("the configuration has warnings:\n{}", self.warnings);
    }
}

/// The configuration changed into one with mistakes; the one before stays in force.
#[derive(Debug)]
pub struct ConfigRefused {
    /// All of them, as `check` prints them; nothing where each has a line of its own.
    pub mistakes: Option<String>,
    /// Whether it was not told before.
    pub is_new: bool,
    /// Whether nothing is wrong with the files: it is the store that cannot be read.
    pub waits_for_store: bool,
}

impl ConfigRefused {
    /// Logs it, and counts it if it is new.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.configs_refused.fetch_add(u64::from(self.is_new), Ordering::Relaxed);
        let all = self.mistakes.as_ref().map(|all| format!(":\n{all}")).unwrap_or_default();
        if self.waits_for_store {
            tracing::error!(
                "the new configuration waits for the store, the old one stays in force meanwhile{all}"
            );
        } else {
            tracing::error!("the new configuration has mistakes, the old one stays in force{all}");
        }
    }
}

/// Nothing will be refused.
#[derive(Debug)]
pub struct OnlyWatching;

impl OnlyWatching {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!("SHADOW_MODE is on: every rule is counted and reported, and none refuses anything");
    }
}

/// Counts that should survive a restart will not: they are kept in memory.
#[derive(Debug)]
pub struct Forgotten<'a> {
    /// Of which limits: how many there are, and the names of some.
    pub limits: &'a str,
}

impl Forgotten<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!("counters are kept in memory, so a restart forgets the counts of {}", self.limits);
    }
}

/// The environment has variables of envoyproxy/ratelimit that change nothing here.
#[derive(Debug)]
pub struct WithoutEffect<'a> {
    /// Their names.
    pub variables: &'a [String],
}

impl WithoutEffect<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            variables = self.variables.join(" "),
            "set in the environment, and without effect here"
        );
    }
}

/// The environment has a variable whose value is not understood, and which is done without.
#[derive(Debug)]
pub struct IgnoredValue<'a> {
    /// Its name.
    pub variable: &'a str,
    /// Its value, as it may be shown.
    pub value: &'a str,
    /// What was expected.
    pub expected: &'a str,
}

impl IgnoredValue<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { variable, value, expected } = self;
        tracing::warn!("the environment has {variable}={value:?}: expected {expected}; it is ignored");
    }
}
