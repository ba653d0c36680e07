//! What can be wrong with headers and bodies as they are written in a policy file.

/// A mistake in a header or a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// No dialect has this name.
    #[error("unknown dialect `{name}`")]
    UnknownDialect {
        /// What was written.
        name: String,
    },
    /// `emit` knows no such word.
    #[error("unknown value `{name}` of `emit`")]
    UnknownEmit {
        /// What was written.
        name: String,
    },
    /// A header's value is a single word and not the name of a number.
    #[error("unknown number `{name}`")]
    UnknownNumber {
        /// What was written.
        name: String,
    },
    /// A `{{…}}` that names nothing.
    #[error("unknown name `{name}` in `{{{{…}}}}`")]
    UnknownName {
        /// What was written.
        name: String,
        /// Where its `{{` stands, in bytes.
        offset: usize,
    },
    /// A `{{` without its `}}`.
    #[error("`{{{{` is never closed")]
    Unclosed {
        /// Where it stands, in bytes.
        offset: usize,
    },
    /// A `{{}}`.
    #[error("`{{{{}}}}` names nothing")]
    EmptyName {
        /// Where it stands, in bytes.
        offset: usize,
    },
    /// A response header shows what only request headers and bodies can.
    #[error("`{name}` cannot stand in a response header")]
    NotInResponseHeader {
        /// What was written.
        name: String,
        /// Where its `{{` stands, in bytes.
        offset: usize,
    },
    /// A header's value is empty.
    #[error("a header value must not be empty")]
    EmptyValue,
    /// A header's literal text holds what no header may.
    #[error("`{}` cannot stand in a header value", character.escape_default())]
    NotVisible {
        /// What was written.
        character: char,
        /// Where it stands, in bytes.
        offset: usize,
    },
    /// A header's name is no token (RFC 9110 §5.6.2).
    #[error("`{}` is not a header name", name.escape_debug())]
    NotAHeaderName {
        /// What was written.
        name: String,
    },
    /// A header that a rate limit server must leave alone.
    #[error("header `{name}` cannot be set here: {reason}")]
    ReservedHeader {
        /// What was written.
        name: String,
        /// What would happen.
        reason: &'static str,
    },
    /// One header twice in one list.
    #[error("header `{name}` is listed twice")]
    DuplicateHeader {
        /// What was written the second time.
        name: String,
    },
    /// A content type that is not `type/subtype; name=value`.
    #[error("`{}` is not a content type", text.escape_debug())]
    NotAContentType {
        /// What was written.
        text: String,
    },
    /// A body that says it is JSON and is not, for the values tried.
    #[error("the body is not JSON: {problem}")]
    NotJson {
        /// What the parser said of `sample`.
        problem: String,
        /// The body with every `{{…}}` filled in.
        sample: String,
    },
}

impl ShapeError {
    /// Where in the text the mistake stands, in bytes, when it is not the whole text.
    pub fn offset(&self) -> Option<usize> {
        match self {
            Self::UnknownName { offset, .. }
            | Self::Unclosed { offset }
            | Self::EmptyName { offset }
            | Self::NotInResponseHeader { offset, .. }
            | Self::NotVisible { offset, .. } => Some(*offset),
            _ => None,
        }
    }
}
