//! What was found, each thing once.

use std::collections::HashSet;

use super::value::Value;
use crate::config::{Diagnostic, DiagnosticKind, Excerpt, Related, Severity};
use crate::policy::Place;
use crate::yaml::Span;

/// Diagnostics in the order in which they were found. Many routes may have the same mistake in what they share.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Diagnostic>,
    reported: HashSet<(String, usize, usize, String)>,
}

/// One thing that was found, before its place is known.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) kind: DiagnosticKind,
    /// What is wrong and what follows.
    pub(super) message: String,
    /// What is right.
    pub(super) hint: Option<String>,
    /// A place in the other file.
    pub(super) related: Option<Box<Related>>,
}

impl Finding {
    pub(super) fn error(kind: DiagnosticKind, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, kind, message: message.into(), hint: None, related: None }
    }

    pub(super) fn warning(kind: DiagnosticKind, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(kind, message) }
    }

    pub(super) fn note(kind: DiagnosticKind, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(kind, message) }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn related(self, what: impl Into<String>, place: Place) -> Self {
        Self { related: Some(Box::new(Related { what: what.into(), place })), ..self }
    }
}

impl Findings {
    /// Adds `finding` at the word that `value` stands behind.
    pub(super) fn at(&mut self, value: Value<'_>, finding: Finding) {
        self.add(value, value.span(), finding);
    }

    /// Adds `finding` at `value` itself.
    pub(super) fn at_value(&mut self, value: Value<'_>, finding: Finding) {
        self.add(value, value.value_span(), finding);
    }

    fn add(&mut self, value: Value<'_>, span: Span, finding: Finding) {
        let Finding { severity, kind, message, hint, related } = finding;
        let diagnostic = value.file.source.diagnose(severity, span, message, hint);
        self.push(Diagnostic { kind, related, ..diagnostic });
    }

    /// Adds `finding` at a line of a policy.
    pub(super) fn in_policy(&mut self, place: &Place, finding: Finding) {
        let Finding { severity, kind, message, hint, related } = finding;
        let excerpt = Excerpt { place: place.clone(), line: None, length: 1 };
        let diagnostic =
            Diagnostic { severity, excerpt: Some(excerpt), related, ..Diagnostic::error(message) };
        self.push(diagnostic.kind(kind).hint(hint));
    }

    /// Adds what concerns no line.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let place = diagnostic.excerpt.as_ref().map(|excerpt| &excerpt.place);
        let (file, line, column) =
            place.map_or_else(Default::default, |place| (place.file.to_string(), place.line, place.column));
        if self.reported.insert((file, line, column, diagnostic.message.clone())) {
            self.found.push(diagnostic);
        }
    }

    /// Everything, by file and line.
    pub(super) fn finish(mut self, files: &[&str]) -> Vec<Diagnostic> {
        self.found.sort_by_key(|one| {
            let place = one.excerpt.as_ref().map(|excerpt| &excerpt.place);
            let file = files.iter().position(|file| place.is_some_and(|place| *place.file == **file));
            (
                file.unwrap_or(usize::MAX),
                place.map(|place| (place.file.to_string(), place.line, place.column)),
            )
        });
        self.found
    }
}
