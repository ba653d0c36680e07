//! Text → `Policy`, or everything that is wrong with the text.

mod compile;
mod diagnostic;
mod files;
mod language;
mod load;
mod read;
mod scalar;
mod schema;
mod source;
mod takes;
mod watch;
mod words;

pub use diagnostic::{Diagnostic, Severity, render};
pub use files::test_files;
pub use language::{Section, WordRow, algorithms, language};
pub use load::{Loaded, Options, load, load_text};
pub use read::text as read_text;
pub use schema::schema;
pub use watch::Fingerprint;
pub use words::did_you_mean;

use std::time::Duration;

use crate::yaml::{Kind, Node, Tree};

/// A length of time as policies and their tests write it: `15m`, `500ms`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    scalar::duration(text).map_err(|wrong| match wrong.hint {
        Some(hint) => format!("{}; {hint}", wrong.message),
        None => wrong.message,
    })
}

/// The line of each item of the list under `key` at the top of a YAML text; empty when there is no such list.
pub fn item_lines(text: &str, key: &str) -> Vec<usize> {
    let Ok(tree) = Tree::parse(text) else { return Vec::new() };
    let Some(Kind::Mapping(mut pairs)) = tree.documents().next().map(Node::kind) else { return Vec::new() };
    match pairs.find(|(name, _)| scalar::text(*name) == Ok(key)).map(|(_, value)| value.kind()) {
        Some(Kind::Sequence(items)) => items.map(|item| item.span().line).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
