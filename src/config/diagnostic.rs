//! What is wrong with a file, and where, as a person reads it.

mod kind;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

pub use self::kind::DiagnosticKind;
use crate::policy::Place;

/// Whether a file can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The whole set of files is refused.
    Error,
    /// The set is used, but probably does not do what was meant.
    Warning,
    /// Nothing is wrong; it is a choice that its reader should know of.
    Note,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What sort of mistake it is.
    pub kind: DiagnosticKind,
    /// What is wrong: lower case, no full stop, values in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it is; none for what concerns no line, such as a file that cannot be read.
    pub excerpt: Option<Excerpt>,
    /// Another place that it has to do with.
    pub related: Option<Box<Related>>,
    /// Whether a file could not be read, which may end without its changing.
    pub unread: bool,
}

/// Another place that a mistake has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// What is there, in a few words.
    pub what: String,
    /// Where it is.
    pub place: Place,
}

/// The offending piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Where it begins.
    pub place: Place,
    /// The whole line it is on; none when nobody could read it for its length, nor in a file whose lines must not be
    /// shown, because credentials are among them.
    pub line: Option<Box<str>>,
    /// How many characters of the line it covers, at least 1.
    pub length: usize,
}

impl Diagnostic {
    /// An error that concerns no line of a file.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            kind: DiagnosticKind::Other,
            message: message.into(),
            hint: None,
            excerpt: None,
            related: None,
            unread: false,
        }
    }

    /// The same of this kind.
    #[must_use]
    pub fn kind(mut self, kind: DiagnosticKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// `diagnostics` with `file:line:column`, the offending line and the hint, in colour for a terminal.
pub fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let each = diagnostics.iter().map(|diagnostic| {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let title = level.primary_title(diagnostic.message.as_str());
        let mut report =
            match &diagnostic.excerpt {
                None => title.elements(None::<Origin<'_>>),
                Some(Excerpt { place, line: None, .. }) => title
                    .element(Origin::path(place.file.as_ref()).line(place.line).char_column(place.column)),
                Some(Excerpt { place, line: Some(line), length }) => title.element(
                    Snippet::source(&**line).path(place.file.as_ref()).line_start(place.line).annotation(
                        AnnotationKind::Primary.span(byte_range(line, place.column - 1, *length)),
                    ),
                ),
            };
        if let Some(hint) = &diagnostic.hint {
            report = report.element(Level::HELP.message(hint.as_str()));
        }
        let related = diagnostic.related.iter().map(|related| {
            let Related { what, place } = &**related;
            let origin = Origin::path(place.file.as_ref()).line(place.line).char_column(place.column);
            Level::NOTE.secondary_title(what.as_str()).element(origin)
        });
        let groups: Vec<_> = std::iter::once(report).chain(related).collect();
        renderer.render(&groups) + "\n"
    });
    each.collect::<Vec<_>>().join("\n")
}

fn byte_range(line: &str, first: usize, length: usize) -> std::ops::Range<usize> {
    let byte = |character: usize| line.char_indices().nth(character).map_or(line.len(), |(at, _)| at);
    byte(first)..byte(first + length)
}
