//! What a refused caller reads: a body and its type.

use crate::response::content_type::ContentType;
use crate::response::error::ShapeError;
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
            return Ok(Self {
                body: Template::body(body, &content_type)?,
                content_type: content_type.into(),
            });
        }
        match Template::body(body, &ContentType::json()) {
            Ok(body) => Ok(Self { content_type: ContentType::json().into(), body }),
            Err(ShapeError::NotJson { .. }) if !body.trim_start().starts_with('{') => Ok(Self {
                body: Template::body(body, &ContentType::plain())?,
                content_type: ContentType::plain().into(),
            }),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_mistake_in_a_placeholder_is_reported_with_or_without_a_type() {
        for content_type in [None, Some("text/plain"), Some("application/json")] {
            let expected = ShapeError::UnknownName { name: "limt".to_owned(), offset: 5 };
            assert_eq!(Denial::parse(content_type, r#"{"a":{{limt}}}"#), Err(expected));
        }
    }
}
