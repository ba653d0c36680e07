//! What an attribute says.

use std::borrow::Cow;
use std::sync::Arc;

/// The value of one attribute. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Text, such as the name of a plan.
    Text(Arc<str>),
    /// A whole number, such as a limit or a tier.
    Number(i64),
    /// Yes or no.
    Bool(bool),
}

impl Value {
    /// As a table of a policy names it: text as it is, numbers in decimal, `true` or `false`.
    pub fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
        }
    }

    /// The number, if it is one; text that looks like a number is not.
    pub fn as_number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Bool(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}
