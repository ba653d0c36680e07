//! Content types of bodies, and how texts are escaped for them.

use crate::response::error::ShapeError;
use crate::response::escape::{Escape, is_visible};
use crate::response::header::is_token;

/// A media type with its parameters (RFC 9110 §8.3.1), kept to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    text: String,
    escape: Escape,
}

impl ContentType {
    /// The content type that `text` spells.
    pub fn parse(text: &str) -> Result<Self, ShapeError> {
        let escape = parse(text).ok_or_else(|| ShapeError::NotAContentType { text: text.to_owned() })?;
        Ok(Self { text: text.to_owned(), escape })
    }

    /// `application/json`.
    pub fn json() -> Self {
        Self { text: "application/json".to_owned(), escape: Escape::Json }
    }

    /// `text/plain`.
    pub fn plain() -> Self {
        Self { text: "text/plain".to_owned(), escape: Escape::Plain }
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn escape(&self) -> Escape {
        self.escape
    }
}

impl From<ContentType> for String {
    fn from(content_type: ContentType) -> Self {
        content_type.text
    }
}

fn parse(text: &str) -> Option<Escape> {
    let (media, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let (kind, subtype) = media.trim_end_matches(' ').split_once('/')?;
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    while let Some(parameter) = rest.strip_prefix(';') {
        let (name, value) = parameter.trim_start_matches(' ').split_once('=')?;
        let length = value_length(value)?;
        if !is_token(name) {
            return None;
        }
        rest = value[length..].trim_start_matches(' ');
    }
    rest.is_empty().then(|| escape(&subtype.to_ascii_lowercase()))
}

/// How many bytes of `text` are a token or a quoted string.
fn value_length(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        let length = text.find([';', ' ']).unwrap_or(text.len());
        return is_token(&text[..length]).then_some(length);
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if !is_visible(byte) => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn escape(subtype: &str) -> Escape {
    let (_, suffix) = subtype.rsplit_once('+').unwrap_or(("", subtype));
    match suffix {
        "json" => Escape::Json,
        "html" | "xml" => Escape::Markup,
        _ => Escape::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_how_texts_are_escaped() {
        for (text, expected) in [
            ("application/json", Escape::Json),
            ("application/problem+json", Escape::Json),
            ("Application/JSON; charset=utf-8", Escape::Json),
            ("application/json ; a=\"x;\\\" y\" ;b=c", Escape::Json),
            ("text/plain", Escape::Plain),
            ("text/plain;charset=utf-8", Escape::Plain),
            ("application/jsonish", Escape::Plain),
            ("text/html; charset=utf-8", Escape::Markup),
            ("image/svg+xml", Escape::Markup),
            ("application/xhtml+xml", Escape::Markup),
        ] {
            let content_type = ContentType::parse(text).unwrap();
            assert_eq!((content_type.as_str(), content_type.escape()), (text, expected));
        }
    }

    #[test]
    fn what_is_no_content_type_is_refused() {
        for text in [
            "",
            "json",
            "/",
            "text/",
            "text/plain; ",
            "text/plain;charset",
            "text/plain;charset=",
            "text/plain;charset=a b",
            "text/plain;charset=\"utf-8",
            "text/plain;charset=\"a\nb\"",
            "text/pl ain",
            " text/plain",
            "text/plain\r\nx-evil: 1",
            "text/plaïn",
        ] {
            let expected = ShapeError::NotAContentType { text: text.to_owned() };
            assert_eq!(ContentType::parse(text), Err(expected), "{text:?}");
        }
    }
}
