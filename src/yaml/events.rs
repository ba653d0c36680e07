//! The parser's events with their places. This is the one module that knows the parser.

use std::borrow::Cow;

use saphyr_parser::{Event as Parsed, Marker, Parser, ScalarStyle, StrInput};

/// A stretch of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
    /// In characters; at least 1 when shown.
    pub(crate) length: usize,
}

impl Span {
    /// Where a file begins, for what is missing from it.
    pub(crate) const START: Self = Self { line: 1, column: 1, length: 1 };
}

/// Why a text is not YAML, or more of it than is read, and where that showed.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl SyntaxError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }
}

/// A piece of a document. Anchors are numbers; 0 is none.
pub(super) enum Event<'t> {
    /// A document begins.
    Document,
    Scalar {
        text: Cow<'t, str>,
        /// Without quotes.
        plain: bool,
        /// Without quotes, but said to be text by `!!str`.
        tagged_text: bool,
        anchor: usize,
    },
    Sequence {
        anchor: usize,
    },
    Mapping {
        anchor: usize,
    },
    /// The end of a sequence or of a mapping.
    End,
    Alias {
        anchor: usize,
    },
    /// The text ends.
    Finish,
}

/// The byte order mark that some editors write before a text. It is in no column.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

pub(super) struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
}

impl<'t> Events<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        Self { parser: Parser::new_from_str(text) }
    }

    /// The next event; [`Event::Finish`] for ever once the text has ended.
    pub(super) fn next(&mut self) -> Result<(Event<'t>, Span), SyntaxError> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok((Event::Finish, Span::START)) };
            let (parsed, stretch) =
                next.map_err(|error| SyntaxError::new(span(error.marker(), 1), error.info()))?;
            let one_line = stretch.start.line() == stretch.end.line();
            let whole = span(&stretch.start, if one_line { stretch.len() } else { 1 });
            let start = Span { length: 1, ..whole };
            return Ok(match parsed {
                Parsed::DocumentStart(_) => (Event::Document, whole),
                Parsed::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain;
                    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                    (Event::Scalar { text, plain, tagged_text: is_text, anchor }, whole)
                }
                Parsed::SequenceStart(anchor, _) => (Event::Sequence { anchor }, start),
                Parsed::MappingStart(anchor, _) => (Event::Mapping { anchor }, start),
                Parsed::SequenceEnd | Parsed::MappingEnd => (Event::End, whole),
                Parsed::Alias(anchor) => (Event::Alias { anchor }, whole),
                Parsed::StreamEnd => (Event::Finish, whole),
                Parsed::Nothing | Parsed::StreamStart | Parsed::DocumentEnd => continue,
            });
        }
    }
}

fn span(start: &Marker, length: usize) -> Span {
    Span { line: start.line().max(1), column: start.col() + 1, length }
}

pub(super) const ALIAS_INSIDE_ITSELF: &str = "an alias inside what it stands for";
