//! The language of `{{…}}`, for header values and bodies alike.

use crate::response::error::ShapeError;
use crate::response::escape;
use crate::response::number::Number;

/// A part of a text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Goes out as it was written.
    Literal(String),
    /// `{{limit}}`: a number of the limit that is reported.
    Number(Number),
    /// `{{entry.KEY}}`: the value of the first matched entry of that key.
    Entry(String),
    /// `{{subject}}`: who is calling.
    Subject,
    /// `{{attribute.NAME}}`: what the subject has under that name.
    Attribute(String),
}

impl Piece {
    fn from_name(name: &str) -> Option<Self> {
        let after =
            |prefix| name.strip_prefix(prefix).filter(|rest: &&str| !rest.is_empty()).map(str::to_owned);
        if name == "subject" {
            return Some(Self::Subject);
        }
        Number::from_name(name)
            .map(Self::Number)
            .or_else(|| after("entry.").map(Self::Entry))
            .or_else(|| after("attribute.").map(Self::Attribute))
    }
}

/// Cuts `text` from byte `from` on into pieces, each with the byte it starts at: a placeholder with its `{{`.
///
/// `{{ limit }}` may have spaces inside. `{{"text"}}` is the text itself, which is how two braces or a word that would
/// be taken for a number are written. The first `}}` closes, so `{"limit":{{limit}}}` is what it looks like.
pub(super) fn parse(text: &str, from: usize) -> Result<Vec<(usize, Piece)>, ShapeError> {
    let mut pieces = Vec::new();
    let mut at = from;
    while let Some(length) = text[at..].find("{{") {
        let open = at + length;
        if length > 0 {
            pieces.push((at, Piece::Literal(text[at..open].to_owned())));
        }
        let inside = &text[open + 2..];
        let unclosed = ShapeError::Unclosed { offset: open };
        if let Some(quoted) = inside.strip_prefix('"') {
            let length = quoted.find("\"}}").ok_or(unclosed)?;
            pieces.push((open + 3, Piece::Literal(quoted[..length].to_owned())));
            at = open + 3 + length + 3;
        } else {
            let length = inside.find("}}").ok_or(unclosed)?;
            pieces.push((open, placeholder(inside[..length].trim(), open)?));
            at = open + 2 + length + 2;
        }
    }
    if at < text.len() {
        pieces.push((at, Piece::Literal(text[at..].to_owned())));
    }
    Ok(pieces)
}

/// The same for a header's value, whose own text must be fit for a header. What is filled in is made fit each time.
pub(super) fn parse_header(text: &str, from: usize) -> Result<Vec<(usize, Piece)>, ShapeError> {
    if text[from..].trim().is_empty() {
        return Err(ShapeError::EmptyValue);
    }
    let pieces = parse(text, from)?;
    for (at, piece) in &pieces {
        let Piece::Literal(literal) = piece else { continue };
        let is_bad = |c: char| !u8::try_from(c).is_ok_and(escape::is_visible);
        if let Some((offset, character)) = literal.char_indices().find(|(_, c)| is_bad(*c)) {
            return Err(ShapeError::NotVisible { character, offset: at + offset });
        }
    }
    Ok(pieces)
}

fn placeholder(name: &str, offset: usize) -> Result<Piece, ShapeError> {
    if name.is_empty() {
        return Err(ShapeError::EmptyName { offset });
    }
    Piece::from_name(name).ok_or_else(|| ShapeError::UnknownName { name: name.to_owned(), offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.to_owned())
    }

    #[test]
    fn a_text_is_cut_where_its_braces_say() {
        for (text, expected) in [
            ("", vec![]),
            ("no braces } here {", vec![(0, literal("no braces } here {"))]),
            ("{{limit}}", vec![(0, Piece::Number(Number::Limit))]),
            ("{{limit}}}", vec![(0, Piece::Number(Number::Limit)), (9, literal("}"))]),
            (
                r#"{"a":{"b":{{ used }}}}"#,
                vec![(0, literal(r#"{"a":{"b":"#)), (10, Piece::Number(Number::Used)), (20, literal("}}"))],
            ),
            ("{{limit}}{{used}}", vec![(0, Piece::Number(Number::Limit)), (9, Piece::Number(Number::Used))]),
            ("{{entry.remote_address}}", vec![(0, Piece::Entry("remote_address".to_owned()))]),
            ("{{entry.a.b}}", vec![(0, Piece::Entry("a.b".to_owned()))]),
            ("{{subject}}", vec![(0, Piece::Subject)]),
            ("é{{attribute.plan}}", vec![(0, literal("é")), (2, Piece::Attribute("plan".to_owned()))]),
            (r#"{{"{{limit}}"}}"#, vec![(3, literal("{{limit}}"))]),
            (r#"{{"user"}}!"#, vec![(3, literal("user")), (10, literal("!"))]),
        ] {
            assert_eq!(parse(text, 0).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_reported_with_its_place() {
        let unknown = |name: &str, offset| ShapeError::UnknownName { name: name.to_owned(), offset };
        for (text, expected) in [
            ("a {{limit", ShapeError::Unclosed { offset: 2 }),
            ("{{limit}", ShapeError::Unclosed { offset: 0 }),
            ("é{{}}", ShapeError::EmptyName { offset: 2 }),
            ("{{  }}", ShapeError::EmptyName { offset: 0 }),
            ("{{limit}} {{limits}}", unknown("limits", 10)),
            ("{{entry.}}", unknown("entry.", 0)),
            ("{{entry}}", unknown("entry", 0)),
            ("{{attribute.}}", unknown("attribute.", 0)),
            ("{{LIMIT}}", unknown("LIMIT", 0)),
            ("{{{limit}}", unknown("{limit", 0)),
            (r#"{{"user}}"#, ShapeError::Unclosed { offset: 0 }),
        ] {
            assert_eq!(parse(text, 0), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut_or_refused_at_a_place_inside_it(text in "[{}\"a é]{0,12}(limit|subject)?[{}\"a é]{0,12}") {
            match parse(&text, 0) {
                Ok(pieces) => prop_assert!(pieces.is_sorted_by_key(|(at, _)| *at)),
                Err(error) => prop_assert!(text[error.offset().unwrap()..].starts_with("{{")),
            }
        }
    }
}
