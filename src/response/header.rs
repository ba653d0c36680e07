//! Response headers: which numbers under which names, and when.

use crate::response::error::ShapeError;
use crate::response::escape;
use crate::response::headers::Headers;
use crate::response::number::{Number, Reported};
use crate::response::piece::{self, Piece};

/// A header's name: a token (RFC 9110 §5.6.2), and none that a rate limit server must leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName {
    text: String,
    lower_case: String,
}

/// Headers that do harm in Envoy's hands, and why. All in lower case.
const RESERVED: &[(&str, &str)] = &[
    ("connection", "it belongs to the connection"),
    ("content-length", "it comes from the body"),
    ("content-type", "it goes with the body, in `deny`"),
    ("host", "Envoy would append to it"),
    ("keep-alive", "it belongs to the connection"),
    ("proxy-connection", "it belongs to the connection"),
    ("te", "it belongs to the connection"),
    ("trailer", "it belongs to the connection"),
    ("transfer-encoding", "it belongs to the connection"),
    ("upgrade", "it belongs to the connection"),
];

impl HeaderName {
    /// The name that `text` spells, kept to the byte. Envoy makes it lower case.
    pub fn parse(text: &str) -> Result<Self, ShapeError> {
        let reserved = |reason| Err(ShapeError::ReservedHeader { name: text.to_owned(), reason });
        let lower = text.to_ascii_lowercase();
        if lower.starts_with(':') {
            return reserved("pseudo-headers are Envoy's");
        }
        if !is_token(text) {
            return Err(ShapeError::NotAHeaderName { name: text.to_owned() });
        }
        if lower.starts_with("x-envoy") {
            return reserved("Envoy uses these itself");
        }
        match RESERVED.iter().find(|(name, _)| *name == lower) {
            Some((_, reason)) => reserved(reason),
            None => Ok(Self { text: text.to_owned(), lower_case: lower }),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

pub(super) fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// One header and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    name: HeaderName,
    /// Whether it shows every limit of the answer, joined by `, `, or only the first.
    each: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Number(Number),
}

/// Starts a value that is reported once for each limit of the answer.
const EACH: &str = "{{each}}";

impl HeaderLine {
    /// `value` is the name of a number, or a text with `{{number}}` in it. After a leading `{{each}}` it is reported once
    /// for each limit of the answer, each with its own time to retry. A single word that is no number's name is taken for a
    /// mistake.
    pub fn parse(name: &str, value: &str) -> Result<Self, ShapeError> {
        let name = HeaderName::parse(name)?;
        let from = if value.starts_with(EACH) { EACH.len() } else { 0 };
        let word = value[from..].trim();
        let parts = if is_word(word) {
            let unknown = || ShapeError::UnknownNumber { name: word.to_owned() };
            vec![Part::Number(Number::from_name(word).ok_or_else(unknown)?)]
        } else {
            piece::parse_header(value, from)?.into_iter().map(part).collect::<Result<_, _>>()?
        };
        Ok(Self { name, each: from > 0, parts })
    }

    /// Its name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Appends its value; says `false` and appends nothing when a number it shows is absent.
    fn write(&self, reported: &[Reported<'_>], limited: bool, out: &mut String) -> bool {
        if !self.each {
            return reported.first().is_some_and(|reported| self.report(reported, limited, out));
        }
        let start = out.len();
        for reported in reported.iter().map(|reported| reported.by_itself()) {
            let before = out.len();
            if before > start {
                out.push_str(", ");
            }
            let is_reported = self.report(&reported, limited, out);
            // A long list is cut between members, or it would no longer parse.
            let too_long = before > start && out.len() - start > escape::MAX_BYTES;
            if !is_reported || too_long {
                out.truncate(before);
            }
            if is_reported && too_long {
                break;
            }
        }
        out.len() > start
    }

    fn report(&self, reported: &Reported<'_>, limited: bool, out: &mut String) -> bool {
        let start = out.len();
        let complete = self.parts.iter().all(|part| match part {
            Part::Literal(text) => {
                out.push_str(text);
                true
            }
            // A request that passes has nothing to retry, even when a limit in shadow mode would have refused it.
            Part::Number(number) => (limited || !number.is_retry_after()) && number.render(reported, out),
        });
        escape::make_header_value(out, start);
        if !complete {
            out.truncate(start);
        }
        out.len() > start
    }
}

fn part((offset, piece): (usize, Piece)) -> Result<Part, ShapeError> {
    let name = match piece {
        Piece::Literal(text) => return Ok(Part::Literal(text)),
        Piece::Number(number) => return Ok(Part::Number(number)),
        Piece::Entry(key) => format!("entry.{key}"),
        Piece::Subject => "subject".to_owned(),
        Piece::Attribute(name) => format!("attribute.{name}"),
    };
    Err(ShapeError::NotInResponseHeader { name, offset })
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// On which answers headers are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// On every answer.
    #[default]
    Always,
    /// On refusals only.
    OnLimited,
    /// Not at all.
    Never,
}

const EMITS: &[(&str, Emit)] =
    &[("always", Emit::Always), ("on_limited", Emit::OnLimited), ("never", Emit::Never)];

impl Emit {
    /// What `emit: NAME` means.
    pub fn parse(name: &str) -> Result<Self, ShapeError> {
        let row = EMITS.iter().find(|(known, _)| *known == name);
        row.map(|(_, emit)| *emit).ok_or_else(|| ShapeError::UnknownEmit { name: name.to_owned() })
    }

    /// Every name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMITS.iter().map(|(name, _)| *name)
    }
}

/// The headers that report one limit, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderSet {
    lines: Vec<HeaderLine>,
    emit: Emit,
}

impl HeaderSet {
    /// `lines` on the answers that `emit` names. No header may be there twice.
    pub fn new(lines: Vec<HeaderLine>, emit: Emit) -> Result<Self, ShapeError> {
        for (at, line) in lines.iter().enumerate() {
            let name = line.name.as_str();
            if lines[..at].iter().any(|earlier| earlier.name.as_str().eq_ignore_ascii_case(name)) {
                return Err(ShapeError::DuplicateHeader { name: name.to_owned() });
            }
        }
        Ok(Self { lines, emit })
    }

    /// Whether it is sent where its limits refuse the request, or where they do not.
    pub fn is_sent(&self, refuses: bool) -> bool {
        match self.emit {
            Emit::Always => true,
            Emit::OnLimited => refuses,
            Emit::Never => false,
        }
    }

    /// The names of its headers.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.lines.iter().map(HeaderLine::name)
    }

    /// Whether it names counters apart that have one name.
    pub fn names_counters(&self) -> bool {
        self.lines.iter().any(|line| line.parts.contains(&Part::Number(Number::PartitionKey)))
    }

    /// Appends the headers that report `reported`, of which the first is the limit to report; the others appear in
    /// `{{each}}` headers only. `limited`: whether the request is refused.
    ///
    /// A header that already stands in `out` is left as it is, so that one answer never says two things.
    pub fn render<'a>(&'a self, reported: &[Reported<'_>], limited: bool, out: &mut Headers<'a>) {
        if !self.is_sent(limited) {
            return;
        }
        for line in &self.lines {
            out.add_once(&line.name.text, &line.name.lower_case, |value| {
                line.write(reported, limited, value)
            });
        }
    }
}

#[cfg(test)]
mod tests;
