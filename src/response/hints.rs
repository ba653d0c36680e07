//! What to do about a mistake in headers and bodies: the names that there are, and how it is written.

use crate::response::dialect::DIALECTS;
use crate::response::error::ShapeError;
use crate::response::header::Emit;
use crate::response::number::Number;

impl ShapeError {
    /// For «did you mean»: the unknown name, and every name it could have been.
    pub fn candidates(&self) -> Option<(&str, Vec<&'static str>)> {
        match self {
            Self::UnknownDialect { name } => Some((name, DIALECTS.iter().map(|(name, _)| *name).collect())),
            Self::UnknownEmit { name } => Some((name, Emit::names().collect())),
            Self::UnknownNumber { name } => Some((name, Number::names().collect())),
            Self::UnknownName { name, .. } => {
                Some((name, Number::names().chain(["subject", "entry.KEY", "attribute.NAME"]).collect()))
            }
            _ => None,
        }
    }

    /// What to do about it, where that is always the same.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownEmit { .. } => "`emit` is always, on_limited or never".to_owned(),
            Self::UnknownDialect { .. } => {
                let names: Vec<_> = DIALECTS.iter().map(|(name, _)| *name).collect();
                format!("dialects are {}", names.join(", "))
            }
            Self::UnknownName { .. } => {
                let names: Vec<_> = Number::names().collect();
                format!("write `subject`, `entry.KEY`, `attribute.NAME` or a number: {}", names.join(", "))
            }
            Self::UnknownNumber { name } => format!("to send the word itself, write `{{{{\"{name}\"}}}}`"),
            Self::Unclosed { .. } => "for two braces as they are, write `{{\"{{\"}}`".to_owned(),
            Self::NotInResponseHeader { .. } => "response headers show numbers and `name` only".to_owned(),
            Self::NotVisible { .. } => "use visible ASCII characters and spaces".to_owned(),
            Self::NotAContentType { .. } => "write it as in `application/problem+json`".to_owned(),
            Self::NotJson { sample, .. } => format!(
                "with its values filled in, the body reads `{sample}`; texts must stand inside quotes, and a body \
                 that is not meant to be JSON needs `content_type: text/plain`"
            ),
            _ => return None,
        })
    }
}
