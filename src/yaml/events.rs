//! The parser's events with their places. This is the one module that knows the parser, libyaml's: what
//! envoyproxy/ratelimit loads was read by a translation of the same, so whatever loads there is read alike here.

mod input;
mod spaced;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Error, ErrorKind, Event as Parsed, EventData, Mark, Parser, ScalarStyle};

use self::input::{END, Pieces, end, parser, position};
use self::spaced::Spaced;
use super::hint::hint;
use super::invisible::invisible;
use super::tags;

pub(crate) use self::input::is_break;

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
    /// What to write instead.
    pub(crate) hint: Option<String>,
}

impl SyntaxError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A piece of a document. Anchors are numbers; 0 is none.
pub(super) enum Event {
    /// A document begins.
    Document,
    Scalar {
        text: String,
        /// Without quotes, or with a tag that says that it means what it would without: `!!int "5"`. What has the tag
        /// `!!str`, or one that nobody knows, is text.
        plain: bool,
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

/// The parser compares each `%TAG` line with those before it, so many of them would take time in proportion to their
/// square. Nobody writes more than a few.
const MOST_TAG_DIRECTIVES: usize = 64;

pub(super) struct Events<'t> {
    text: &'t str,
    /// The text as the parser is given it.
    spaced: Spaced<'t>,
    parser: Parser<Pieces<'t>>,
    /// What each anchor of the document stands for now: a name may be given again.
    anchors: HashMap<String, usize>,
    /// How many anchors there were so far.
    known: usize,
    /// Why nothing is read, until it was said.
    refused: Option<SyntaxError>,
    /// Where the last event was.
    last: Mark,
}

impl<'t> Events<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let refused = too_many_tag_directives(text);
        // What is refused is not looked at.
        let spaced = if refused.is_some() { Spaced::unchanged(text) } else { Spaced::new(text) };
        Self {
            text,
            parser: parser(spaced.text.clone()),
            spaced,
            anchors: HashMap::new(),
            known: 0,
            refused,
            last: Mark::default(),
        }
    }

    /// The next event; [`Event::Finish`] for ever once the text has ended.
    pub(super) fn next(&mut self) -> Result<(Event, Span), SyntaxError> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        loop {
            let Parsed { data, start_mark, end_mark, .. } = self.parse()?;
            let [start_mark, end_mark] = [start_mark, end_mark].map(|mark| self.spaced.written(mark));
            self.last = end_mark;
            let one_line = start_mark.line == end_mark.line;
            let length = if one_line { end_mark.column.saturating_sub(start_mark.column) } else { 1 };
            let whole = Span { length: position(length), ..span(start_mark) };
            return Ok(match data {
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    (Event::Document, whole)
                }
                EventData::Scalar { anchor, tag, mut value, style, .. } => {
                    if position(end_mark.index) > self.text.len() && !end(self.text).is_empty() {
                        value.truncate(value.trim_end_matches(END).len());
                    }
                    let plain = is_plain(tag.as_deref(), &value, style, whole)?;
                    (Event::Scalar { text: value, plain, anchor: self.anchor(anchor) }, whole)
                }
                EventData::SequenceStart { anchor, .. } => {
                    (Event::Sequence { anchor: self.anchor(anchor) }, span(start_mark))
                }
                EventData::MappingStart { anchor, .. } => {
                    (Event::Mapping { anchor: self.anchor(anchor) }, span(start_mark))
                }
                EventData::SequenceEnd | EventData::MappingEnd => (Event::End, whole),
                EventData::Alias { anchor } => match self.anchors.get(&anchor) {
                    Some(&anchor) => (Event::Alias { anchor }, whole),
                    None => return Err(unknown_anchor(whole)),
                },
                EventData::StreamEnd => (Event::Finish, whole),
                _ => continue,
            });
        }
    }

    /// What the parser says next. It was known to panic in one place, which it does not come to any more: where a comma follows a
    /// tag, see [`Spaced`].
    fn parse(&mut self) -> Result<Parsed, SyntaxError> {
        // Nobody asks it again after that.
        match catch_unwind(AssertUnwindSafe(|| self.parser.parse())) {
            Ok(parsed) => parsed.map_err(|error| not_yaml(self.text, &self.spaced, &error)),
            Err(_) => Err(SyntaxError::new(span(self.last), "what follows here cannot be read")
                .hint("put values in quotes, and write one behind each tag: `[!!str \"\", a]`")),
        }
    }

    /// The number of an anchor that is given here; an alias inside what it is given to means it already.
    fn anchor(&mut self, name: Option<String>) -> usize {
        let Some(name) = name else { return 0 };
        self.known += 1;
        self.anchors.insert(name, self.known);
        self.known
    }
}

/// Whether a single value means what it would mean without quotes and without its tag.
fn is_plain(tag: Option<&str>, value: &str, style: ScalarStyle, at: Span) -> Result<bool, SyntaxError> {
    match tag.map(|tag| tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag)) {
        None => Ok(style == ScalarStyle::Plain),
        // One exclamation mark says no more than that the value is what it is.
        Some("!" | "merge") => Ok(true),
        Some(tag @ ("int" | "float" | "bool" | "null")) => match tags::wanted(tag, value) {
            None => Ok(true),
            // Else `!!null 5` would be a number to some readers, and no limit to others.
            Some(wanted) => {
                Err(SyntaxError::new(at, format!("`!!{tag}`, and what follows it is not {wanted}")).hint(
                    "remove the tag, or write a value that it fits: `!!int 5`, `!!bool true`, `!!null ~`",
                ))
            }
        },
        Some("binary") => Err(SyntaxError::new(at, "`!!binary` values are not read")
            .hint("write the text itself, in quotes where it needs them: `value: \"a b\"`")),
        Some(_) => Ok(false),
    }
}

/// Its name is not told: it may be a credential without its quotes.
fn unknown_anchor(at: Span) -> SyntaxError {
    SyntaxError::new(at, "an alias that stands for nothing")
        .hint("put a value that begins with `*` in quotes: `value: \"*\"`; or name what the alias stands for with `&`")
}

fn too_many_tag_directives(text: &str) -> Option<SyntaxError> {
    let begins_line = |at: usize| text[..at].chars().next_back().is_none_or(is_break);
    let mut directives = text.match_indices("%TAG").filter(|(at, _)| begins_line(*at));
    let (at, _) = directives.nth(MOST_TAG_DIRECTIVES)?;
    Some(SyntaxError::new(place(text, at), format!("more than {MOST_TAG_DIRECTIVES} `%TAG` lines")))
}

/// What the parser says of `text`, with its place and what to do about it.
fn not_yaml(text: &str, spaced: &Spaced<'_>, error: &Error) -> SyntaxError {
    // None of the parser's words are from the text, which may hold credentials.
    let Some(mark) = error.problem_mark() else { return unreadable(text, error) };
    let mark = spaced.written(mark);
    let at = usize::try_from(mark.index).unwrap_or(usize::MAX);
    let context = match (error.context(), error.context_mark()) {
        (None, _) => String::new(),
        (Some(context), Some(begins)) if begins.line < mark.line => {
            format!("{context} that begins in line {}: ", begins.line + 1)
        }
        (Some(context), _) => format!("{context}: "),
    };
    let message = format!("{context}{}", error.problem());
    // The end that was put behind the text is on no line.
    let behind = at > text.len() && error.problem() == "found unexpected end of stream";
    let span = if behind { place(text, text.len()) } else { span(mark) };
    let hint = hint(text, at, error.context().unwrap_or_default(), error.problem()).map(str::to_owned);
    SyntaxError { span, message, hint: unseen(text, at).or(hint) }
}

/// What to do about a character that nobody sees, in the line of the byte `at` or in the one before it.
fn unseen(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at).unwrap_or(text);
    let rest = text.get(at..).unwrap_or_default();
    let above = before.rmatch_indices(is_break).nth(1).map_or(0, |(at, _)| at);
    let here = rest.find(is_break).unwrap_or(rest.len());
    let character = invisible(&before[above..]).or_else(|| invisible(&rest[..here]))?;
    Some(format!("there is {character} in this line or in the one above; type it anew"))
}

/// The parser looks at the characters of a text before it asks what they mean.
fn unreadable(text: &str, error: &Error) -> SyntaxError {
    // Strings are valid UTF-8, so of all that it may say only this is left.
    let found = text.char_indices().find(|(_, c)| !is_allowed(*c));
    let Some((at, character)) = found.filter(|_| error.kind() == ErrorKind::Reader) else {
        return SyntaxError::new(Span::START, error.problem());
    };
    let message = format!("the control character U+{:04X}, which no YAML has", u32::from(character));
    let hint = if character == '\0' {
        "save the file as UTF-8 text"
    } else {
        "remove it, or write it in double quotes as `\\xNN`"
    };
    SyntaxError::new(place(text, at), message).hint(hint)
}

/// Whether YAML has this character at all.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Where the byte `at` of a text is.
fn place(text: &str, at: usize) -> Span {
    let before = text.get(..at).unwrap_or(text);
    let ends = |(at, c): (usize, char)| is_break(c) && !(c == '\r' && before[at + 1..].starts_with('\n'));
    let line = before.char_indices().filter(|end| ends(*end)).count() + 1;
    let column = before.chars().rev().take_while(|c| !is_break(*c)).count() + 1;
    Span { line, column, length: 1 }
}

fn span(mark: Mark) -> Span {
    Span {
        line: position(mark.line).saturating_add(1),
        column: position(mark.column).saturating_add(1),
        length: 1,
    }
}

pub(super) const ALIAS_INSIDE_ITSELF: &str = "an alias inside what it stands for";

#[cfg(test)]
mod tests;
