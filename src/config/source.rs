//! One file's text, and places in it.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Excerpt, Severity};
use crate::policy::Place;
use crate::subjects::is_word;
use crate::yaml::{BYTE_ORDER_MARK, Span, is_break};

/// The most bytes of a line that is shown. To show one takes as long as it is, and a program may have written a whole
/// policy on one line, with the same mistake in it a thousand times.
const LONGEST_SHOWN: usize = 4096;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: Arc<str>,
    pub(crate) text: String,
    /// Its lines hold credentials, and only what cannot be one of them is shown: see [`harmless`].
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
        let (line, length) = match () {
            () if line.len() > LONGEST_SHOWN => (None, None),
            () if self.secret => harmless(line, span, &message).unzip(),
            () => (Some(line.to_owned()), Some(span.length)),
        };
        let excerpt = Excerpt {
            place: self.place(span),
            line: line.map(Into::into),
            length: length.unwrap_or(span.length).max(1),
        };
        Diagnostic { severity, excerpt: Some(excerpt), ..Diagnostic::error(message) }.hint(hint)
    }
}

/// What stands around a text of YAML.
const QUOTES: [char; 3] = [' ', '"', '\''];

/// As much of a line with a mistake as is no credential for certain, and how long the mistake is in it: one word of a subjects file at
/// most before the mistake, and of what is wrong only what the message quotes. None where more stands before it.
fn harmless(line: &str, span: Span, message: &str) -> Option<(String, usize)> {
    let from = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let (begin, end) = (from(span.column - 1), from(span.column - 1 + span.length));
    let (before, wrong, after) = (&line[..begin], &line[begin..end], &line[end..]);
    let key = before.trim_start_matches([' ', '\t', '-', '{', '[', '"', '\'']).trim_end_matches(QUOTES);
    if !key.is_empty() && !is_word(key.strip_suffix(':')?.trim_end_matches(QUOTES)) {
        return None;
    }
    let is_quoted = message.contains(&format!("`{}`", wrong.trim_matches(QUOTES)));
    let (shown, length) = if is_quoted { (wrong, span.length) } else { ("…", 1) };
    let more = if after.trim().is_empty() { "" } else { " …" };
    (!wrong.is_empty()).then(|| (format!("{before}{shown}{more}"), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_that_may_hold_a_credential_only_what_can_be_none_is_shown() {
        let shown = |line: &str, wrong: &str, message: &str| {
            let column = 1 + line[..line.find(wrong).unwrap()].chars().count();
            let span = Span { line: 1, column, length: wrong.chars().count() };
            let source = Source::secret("s.yaml", line.to_owned());
            source.diagnose(Severity::Error, span, message.to_owned(), None).excerpt.unwrap().line
        };
        for (line, wrong, message, expected) in [
            ("    plann: x", "plann", "unknown word `plann`", Some("    plann …")),
            ("  time_zone: 'Mars'", "'Mars'", "`Mars` is no time zone", Some("  time_zone: 'Mars'")),
            ("  - id: a/b", "a/b", "`a/b` cannot be the id", Some("  - id: a/b")),
            // Something else than a mapping, whatever it is.
            ("  - sk_live_1", "sk_live_1", "expected a mapping", Some("  - …")),
            (
                "      value: [sk_live_1]",
                "[",
                "expected a credential, found a list",
                Some("      value: … …"),
            ),
            ("- {value: sk_live_1, enabled: maybe}", "maybe", "`maybe` is neither", None),
            ("{\"sk_live_1\": maybe}", "maybe", "`maybe` is neither", None),
            ("  sk_live_1 enabled: maybe", "maybe", "`maybe` is neither", None),
        ] {
            assert_eq!(shown(line, wrong, message).as_deref(), expected, "{line}");
        }
    }
}
