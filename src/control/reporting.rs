//! How the log reports what is wrong with files.

use crate::config::{self, Diagnostic, DiagnosticKind, Severity};
use crate::telemetry::{ConfigRefused, ConfigWarned, Metrics, Mistake};

/// The most that is reported about files; `spillway check` reports all.
const MOST: usize = 20;

/// For whom the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reporting {
    /// For people: all of it in one event, as `check` prints it.
    #[default]
    Text,
    /// For programs: an event with fields for each.
    Fields,
}

impl Reporting {
    /// An event for each of `diagnostics`.
    pub fn each<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>) {
        for one in diagnostics {
            let place = one.excerpt.as_ref().map(|excerpt| &excerpt.place);
            Mistake {
                refuses: one.severity == Severity::Error,
                message: &one.message,
                hint: one.hint.as_deref(),
                place: place.map(|place| (&*place.file, place.line, place.column)),
            }
            .emit();
        }
    }

    /// Tells why new files are not put in force. What `is_new` is counted.
    pub fn refused(self, diagnostics: &[Diagnostic], is_new: bool, metrics: &Metrics) {
        let mistakes = match self {
            Self::Text => Some(text(diagnostics)),
            Self::Fields => {
                fields(diagnostics);
                None
            }
        };
        let waits_for_store = waits_for_store(diagnostics);
        ConfigRefused { mistakes, is_new, waits_for_store }.emit(metrics);
    }

    /// Tells what is probably not meant in files that are put in force.
    pub fn warned(self, diagnostics: &[Diagnostic]) {
        match self {
            _ if diagnostics.is_empty() => {}
            Self::Text => ConfigWarned { warnings: text(diagnostics) }.emit(),
            Self::Fields => fields(diagnostics),
        }
    }
}

/// Whether all that is wrong is that the store cannot be read.
pub fn waits_for_store(diagnostics: &[Diagnostic]) -> bool {
    let mut errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).peekable();
    errors.peek().is_some() && errors.all(|one| one.kind == DiagnosticKind::UnreadableStore)
}

/// Mistakes before warnings, and how many more there are.
fn first(diagnostics: &[Diagnostic]) -> (impl Iterator<Item = &Diagnostic>, usize) {
    let of = |severity| diagnostics.iter().filter(move |one| one.severity == severity);
    let first = of(Severity::Error).chain(of(Severity::Warning)).take(MOST);
    (first, diagnostics.len().saturating_sub(MOST))
}

fn fields(diagnostics: &[Diagnostic]) {
    let (first, more) = first(diagnostics);
    Reporting::each(first);
    if more > 0 {
        let refuses = diagnostics.iter().any(|one| one.severity == Severity::Error);
        let message = format!("`spillway check` reports {more} more");
        Mistake { refuses, message: &message, hint: None, place: None }.emit();
    }
}

/// As `check` prints them.
pub(super) fn text(diagnostics: &[Diagnostic]) -> String {
    let (first, more) = first(diagnostics);
    let mut text = config::render(&first.cloned().collect::<Vec<_>>(), false);
    if more > 0 {
        text.push_str(&format!("\n`spillway check` reports {more} more\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_diagnostics_the_first_mistakes_are_reported_and_the_rest_counted() {
        let warning = |n| Diagnostic { severity: Severity::Warning, ..Diagnostic::error(format!("w{n}")) };
        let error = |n| Diagnostic::error(format!("e{n}"));
        let reported = text(&(0..60_000).map(warning).chain((0..19).map(error)).collect::<Vec<_>>());
        let lines: Vec<_> = reported.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!((lines[0], lines[18], lines[19]), ("error: e0", "error: e18", "warning: w0"));
        assert_eq!(lines[20..], ["`spillway check` reports 59999 more"]);
        assert!(!text(&(0..20).map(error).collect::<Vec<_>>()).contains("more"));
    }
}
