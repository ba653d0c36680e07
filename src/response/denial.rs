//! What a refused caller reads: a body and its type.

use crate::response::error::ShapeError;
use crate::response::escape::{Escape, is_visible};
use crate::response::header::is_token;
use crate::response::template::Template;

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Its `Content-Type`. To be sent with refusals only: on an admitted request it would corrupt the upstream's.
    pub content_type: String,
    /// Filled in for each refusal.
    pub body: Template,
}

impl Denial {
    /// `body` of `content_type`; without one it is JSON if it can be, else plain text.
    ///
    /// A body that starts with `{` and is not JSON is a mistake, unless its type says otherwise: as plain text it
    /// would go out with its texts unescaped, to callers who expect JSON.
    pub fn parse(content_type: Option<&str>, body: &str) -> Result<Self, ShapeError> {
        if let Some(text) = content_type {
            let content_type = ContentType::parse(text)?;
            return Ok(Self { body: Template::body(body, &content_type)?, content_type: content_type.text });
        }
        match Template::body(body, &ContentType::json()) {
            Ok(body) => Ok(Self { content_type: ContentType::json().text, body }),
            Err(ShapeError::NotJson { .. }) if !body.trim_start().starts_with('{') => Ok(Self {
                body: Template::body(body, &ContentType::plain())?,
                content_type: ContentType::plain().text,
            }),
            Err(error) => Err(error),
        }
    }
}

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

    #[test]
    fn a_body_without_a_type_is_json_if_it_can_be() {
        for (body, expected) in [
            (r#"{"error":"slow down"}"#, "application/json"),
            (r#"{"limit":{{limit}},"retry":{{retry_after_s}}}"#, "application/json"),
            ("[1, 2]", "application/json"),
            ("Slow down, {{subject}}.", "text/plain"),
            ("<p>Slow down</p>", "text/plain"),
            ("", "text/plain"),
        ] {
            assert_eq!(Denial::parse(None, body).unwrap().content_type, expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_looks_like_json_and_is_not_is_refused_unless_its_type_says_so() {
        let body = r#" {"subject": {{subject}}}"#;
        let error = Denial::parse(None, body).unwrap_err();
        assert_eq!(error.to_string(), "the body is not JSON: expected value at line 1 column 14");
        assert_eq!(
            error.hint().unwrap(),
            "with its values filled in, the body reads ` {\"subject\": x}`; texts must stand inside quotes, and a \
             body that is not meant to be JSON needs `content_type: text/plain`"
        );
        assert!(matches!(Denial::parse(Some("a/b+json"), ""), Err(ShapeError::NotJson { .. })));
        assert_eq!(Denial::parse(Some("text/plain"), body).unwrap().content_type, "text/plain");
    }

    #[test]
    fn a_mistake_in_a_placeholder_is_told_with_or_without_a_type() {
        for content_type in [None, Some("text/plain"), Some("application/json")] {
            let expected = ShapeError::UnknownName { name: "limt".to_owned(), offset: 5 };
            assert_eq!(Denial::parse(content_type, r#"{"a":{{limt}}}"#), Err(expected));
        }
    }
}
