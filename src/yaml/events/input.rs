//! What the parser is given: a text in pieces, with an end.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use libyaml_safer::Parser;

/// Whether a line ends with this character, or may.
pub(crate) fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A number of the parser's.
pub(super) fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A line's end that is like no other: the parser keeps it as it is.
pub(super) const END: char = '\u{2029}';

/// What to put behind a text. The parser panics when it looks for the end of a block's last line and there is none; with this
/// one it can be taken away again, which `\n` could not.
pub(super) fn end(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with(is_break) { "" } else { "\u{2029}" }
}

/// A parser of `text`.
pub(super) fn parser(text: Cow<'_, str>) -> Parser<Pieces<'_>> {
    let mut parser = Parser::new();
    parser.set_encoding(libyaml_safer::Encoding::Utf8);
    parser.set_input(Pieces { end: end(&text), text, read: 0 });
    parser
}

/// A text in pieces. The parser takes over at once what it is given, at four bytes for each character, so it is given
/// little at a time.
pub(super) struct Pieces<'t> {
    text: Cow<'t, str>,
    /// How many of its bytes were read.
    read: usize,
    /// What is put behind it.
    end: &'static str,
}

impl Pieces<'_> {
    const LONGEST: usize = 4096;

    fn piece(&self) -> &str {
        let rest = match self.text.get(self.read..) {
            None | Some("") => self.end,
            Some(rest) => rest,
        };
        let longest = Self::LONGEST.min(rest.len());
        let end = (0..=longest).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or_default();
        &rest[..end]
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.piece().as_bytes())
    }

    fn consume(&mut self, amount: usize) {
        if self.read < self.text.len() {
            self.read += amount;
        } else {
            self.end = self.end.get(amount..).unwrap_or_default();
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.piece().as_bytes().read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
