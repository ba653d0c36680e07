//! One file's text, and places in it.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::policy::Place;
use crate::yaml::{BYTE_ORDER_MARK, Span, is_break};

/// The most bytes of a line that is shown. To show one takes as long as it is, and a program may have written a whole
/// policy on one line, with the same mistake in it a thousand times.
const LONGEST_SHOWN: usize = 4096;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: Arc<str>,
    pub(crate) text: String,
    /// Its lines hold credentials and are never shown.
    secret: bool,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(file: &str, text: String) -> Self {
        let bytes = text.as_bytes();
        // To YAML a carriage return ends a line as well, be it alone or before a line feed; and so do three characters that
        // few editors take for an end. Their last bytes are told apart by those before.
        let end = |at: usize| match bytes[at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            0x85 => at > 0 && bytes[at - 1] == 0xc2,
            0xa8 | 0xa9 => at > 1 && bytes[at - 2..at] == [0xe2, 0x80],
            _ => false,
        };
        let starts = (0..bytes.len()).filter(|at| end(*at)).map(|at| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { file: file.into(), text, secret: false, lines }
    }

    /// The same for a file whose lines hold credentials.
    pub(super) fn secret(file: &str, text: String) -> Self {
        Self { secret: true, ..Self::new(file, text) }
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place { file: Arc::clone(&self.file), line: span.line, column: span.column }
    }

    /// Its text without a byte order mark before it.
    pub(crate) fn without_mark(&self) -> &str {
        self.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.text)
    }

    fn line(&self, number: usize) -> &str {
        let Some(&start) = self.lines.get(number.saturating_sub(1)) else { return "" };
        let end = self.lines.get(number).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or_default().trim_end_matches(is_break)
    }

    pub(crate) fn diagnose(
        &self,
        severity: Severity,
        span: Span,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        let line = self.line(span.line);
        let excerpt = Excerpt {
            place: self.place(span),
            line: (!self.secret && line.len() <= LONGEST_SHOWN).then(|| line.into()),
            length: span.length.max(1),
        };
        Diagnostic { severity, excerpt: Some(excerpt), ..Diagnostic::error(message) }.hint(hint)
    }
}
