//! How the log tells what is wrong with files.

use crate::config::{Diagnostic, Severity};
use crate::telemetry::{ConfigRefused, ConfigWarned, Metrics, Mistake};

/// The most that is told of files that changed, in a log for programs; `spillway check` tells all.
const MOST: usize = 20;

/// For whom the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// For people: all of it in one event, as `check` prints it.
    #[default]
    Text,
    /// For programs: an event with fields for each.
    Fields,
}

impl Telling {
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

    /// Tells why new files are not put in force; `text` is what `check` prints.
    pub fn refused(self, diagnostics: &[Diagnostic], text: String, metrics: &Metrics) {
        let mistakes = match self {
            Self::Text => Some(text),
            Self::Fields => {
                first(diagnostics);
                None
            }
        };
        ConfigRefused { mistakes }.emit(metrics);
    }

    /// Tells what is probably not meant in files that are put in force; `text` is what `check` prints.
    pub fn warned(self, diagnostics: &[Diagnostic], text: String) {
        match self {
            _ if diagnostics.is_empty() => {}
            Self::Text => ConfigWarned { warnings: text }.emit(),
            Self::Fields => first(diagnostics),
        }
    }
}

/// Mistakes before warnings, and how many more there are.
fn first(diagnostics: &[Diagnostic]) {
    let of = |severity| diagnostics.iter().filter(move |one| one.severity == severity);
    Telling::each(of(Severity::Error).chain(of(Severity::Warning)).take(MOST));
    let more = diagnostics.len().saturating_sub(MOST);
    if more > 0 {
        let message = format!("and {more} more");
        let hint = Some("run `spillway check`");
        Mistake {
            refuses: diagnostics.iter().any(|one| one.severity == Severity::Error),
            message: &message,
            hint,
            place: None,
        }
        .emit();
    }
}
