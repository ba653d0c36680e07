//! What is wrong with a text, and where.

use std::fmt;

use super::index::index;
use crate::model::lossy;
use crate::yaml::Span;

/// More than that nobody reads.
const MOST: usize = 1000;

/// One mistake.
///
/// Neither the message nor the hint holds a credential or its hash. The line it points at may: do not print that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// How many characters of the line it covers, at least 1.
    pub length: usize,
    /// What is wrong: lower case, no full stop, values in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A stretch of one line. Places are compared in the order of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) length: u32,
}

impl Place {
    /// Where a text begins.
    pub(super) const START: Self = Self { line: 1, column: 1, length: 1 };
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self { line: index(span.line), column: index(span.column), length: index(span.length) }
    }
}

impl From<Place> for Span {
    fn from(place: Place) -> Self {
        let (line, column, length) =
            (place.line as usize, place.column as usize, place.length.max(1) as usize);
        Self { line, column, length }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Every mistake found so far.
#[derive(Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
}

impl Problems {
    pub(super) fn add(&mut self, at: Place, message: impl Into<String>, hint: Option<String>) {
        if self.listed.len() < MOST {
            let (line, column, length) = (at.line as usize, at.column as usize, at.length.max(1) as usize);
            self.listed.push(Problem { line, column, length, message: message.into(), hint });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Whether there are so many that more are not worth finding.
    pub(super) fn is_full(&self) -> bool {
        self.listed.len() >= MOST
    }

    /// In the order of the text.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.listed.sort_by_key(|problem| (problem.line, problem.column));
        if self.is_full()
            && let Some(last) = self.listed.last().cloned()
        {
            let message = format!("{MOST} mistakes are listed; there may be more");
            self.listed.push(Problem { message, hint: None, ..last });
        }
        self.listed
    }
}

/// What was written, as a message shows it: in backticks, on one line, and not without end.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("`{}{dots}`", lossy(start.as_bytes()))
}
