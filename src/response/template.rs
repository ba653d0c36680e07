//! Texts with placeholders: bodies of refusals, and request headers for the upstream.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::model::{Entry, Outcome, Timestamp};
use crate::response::content_type::ContentType;
use crate::response::error::ShapeError;
use crate::response::escape::{self, Allowance, Escape};
use crate::response::number::{Number, Reported};
use crate::response::piece::{self, Piece};

/// What a template is filled in from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The limit that is reported; none when no limit was reached.
    pub reported: Option<Reported<'a>>,
    /// The entries that led to it.
    pub entries: &'a [Entry<'a>],
    /// Who is calling, if that is known.
    pub subject: Option<&'a str>,
    /// What the subject has under a name.
    pub attribute: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("reported", &self.reported)
            .field("entries", &self.entries)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Something that may not be there to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'t> {
    /// The value of the entry with this key.
    Entry(&'t str),
    /// Who is calling.
    Subject,
    /// What they have under this name.
    Attribute(&'t str),
}

/// A checked text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    escape: Escape,
}

impl Template {
    /// A body of that type. One that says it is JSON is JSON whatever it is filled in with.
    pub fn body(text: &str, content_type: &ContentType) -> Result<Self, ShapeError> {
        let pieces = piece::parse(text, 0)?.into_iter().map(|(_, piece)| piece).collect();
        let template = Self { pieces, escape: content_type.escape() };
        if template.escape == Escape::Json {
            template.check_json()?;
        }
        Ok(template)
    }

    /// The value of a request header for the upstream.
    pub fn header(text: &str) -> Result<Self, ShapeError> {
        let pieces = piece::parse_header(text, 0)?.into_iter().map(|(_, piece)| piece).collect();
        Ok(Self { pieces, escape: Escape::Percent })
    }

    /// What else than numbers it names, in order.
    pub fn names(&self) -> impl Iterator<Item = Name<'_>> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) | Piece::Number(_) => None,
            Piece::Entry(key) => Some(Name::Entry(key)),
            Piece::Subject => Some(Name::Subject),
            Piece::Attribute(name) => Some(Name::Attribute(name)),
        })
    }

    /// The body. An absent number is `null` in JSON; whatever else is absent leaves its place empty.
    pub fn render_body(&self, context: &Context<'_>) -> String {
        let mut out = String::new();
        self.write_body(context, &mut out);
        out
    }

    /// Appends the body.
    ///
    /// A text that it is filled in with has at most 4 KiB, and all values of entries together have 16 KiB; what is beyond
    /// is cut off.
    pub fn write_body(&self, context: &Context<'_>, out: &mut String) {
        let mut filling = Filling::from(context);
        for piece in &self.pieces {
            let present = self.write(piece, &mut filling, out);
            let is_bare = matches!(piece, Piece::Number(number) if !number.is_text());
            if !present && is_bare && self.escape == Escape::Json {
                out.push_str("null");
            }
        }
    }

    /// The header value: visible ASCII, at most 4 KiB. None when something it names is absent, nothing is left, or it is
    /// longer: what is cut off might be all that distinguishes one caller from another.
    pub fn render_header(&self, context: &Context<'_>) -> Option<String> {
        let mut out = String::new();
        self.write_header(context, &mut out).then_some(out)
    }

    /// Appends the header value; says `false` and appends nothing when there is none.
    pub fn write_header(&self, context: &Context<'_>, out: &mut String) -> bool {
        let start = out.len();
        let mut filling = Filling::from(context);
        let complete = self
            .pieces
            .iter()
            .all(|piece| self.write(piece, &mut filling, out) && out.len() - start <= escape::MAX_BYTES);
        // Space of the policy's own around it; what was filled in has none.
        escape::make_header_value(out, start);
        if !complete {
            out.truncate(start);
        }
        out.len() > start
    }

    /// Appends one piece; an absent one says `false` and appends nothing.
    fn write(&self, piece: &Piece, filling: &mut Filling<'_>, out: &mut String) -> bool {
        let context = filling.context;
        // Who is calling, and what they have, are texts of the operator's and no part of what a client may fill in.
        let mut unmetered = Allowance::whole();
        let (text, allowance): (Option<Cow<'_, [u8]>>, _) = match piece {
            Piece::Literal(text) => {
                out.push_str(text);
                return true;
            }
            Piece::Number(number) => {
                return context.reported.is_some_and(|reported| self.write_number(*number, &reported, out));
            }
            Piece::Entry(key) => (filling.entry(key.as_bytes()).map(Cow::Borrowed), &mut filling.allowance),
            Piece::Subject => (context.subject.map(|subject| subject.as_bytes().into()), &mut unmetered),
            Piece::Attribute(name) => {
                ((context.attribute)(name).map(|text| text.into_bytes().into()), &mut unmetered)
            }
        };
        text.map(|text| self.escape.write(&text, allowance, out)).is_some()
    }

    fn write_number(&self, number: Number, reported: &Reported<'_>, out: &mut String) -> bool {
        if !number.is_text() {
            return number.render(reported, out);
        }
        let mut text = String::new();
        let present = number.render(reported, &mut text);
        self.escape.write(text.as_bytes(), &mut Allowance::whole(), out);
        present
    }

    /// Two samples suffice. Outside quotes `x` is never JSON, and `null` is JSON only where any one value is; inside
    /// quotes neither goes on with an escape sequence that was begun (`\`, `\u00`).
    fn check_json(&self) -> Result<(), ShapeError> {
        for sample in [self.sample(), self.render_body(&NOTHING)] {
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&sample) {
                return Err(ShapeError::NotJson { problem: error.to_string(), sample });
            }
        }
        Ok(())
    }

    /// The body with every text `x`, and with every number there.
    fn sample(&self) -> String {
        const TEXT: &str = "x";
        let time = Duration::from_secs(30);
        let outcome = Outcome {
            admitted: false,
            limit: 60,
            quota: 60,
            used: 60,
            attempted: 60,
            remaining: 0,
            window: time,
            reset_after: time,
            full_after: time,
            retry_after: Some(time),
        };
        let entries: Vec<Entry<'_>> = self
            .pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Entry(key) => Some(Entry { key: key.as_bytes(), value: TEXT.as_bytes() }),
                _ => None,
            })
            .collect();
        self.render_body(&Context {
            reported: Some(Reported::alone(TEXT, &outcome, Timestamp::EPOCH)),
            entries: &entries,
            subject: Some(TEXT),
            attribute: &|_| Some(TEXT.into()),
        })
    }
}

/// A template being filled in.
struct Filling<'a> {
    context: &'a Context<'a>,
    /// The first entry of each key, when there are too many entries to look through them again and again.
    entries: Option<HashMap<&'a [u8], &'a [u8]>>,
    allowance: Allowance,
}

/// How many entries are looked through.
const FEW: usize = 16;

impl<'a> From<&'a Context<'a>> for Filling<'a> {
    fn from(context: &'a Context<'a>) -> Self {
        let entries = (context.entries.len() > FEW)
            // The first of a key is the last to be written.
            .then(|| context.entries.iter().rev().map(|entry| (entry.key, entry.value)).collect());
        Self { context, entries, allowance: Allowance::whole() }
    }
}

impl<'a> Filling<'a> {
    /// The value of the first entry of that key.
    fn entry(&self, key: &[u8]) -> Option<&'a [u8]> {
        match &self.entries {
            Some(entries) => entries.get(key).copied(),
            None => self.context.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value),
        }
    }
}

const NOTHING: Context<'static> =
    Context { reported: None, entries: &[], subject: None, attribute: &|_| None };

#[cfg(test)]
mod tests;
