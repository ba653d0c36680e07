//! The policy language as data, for the reference page.

use super::words::{self, Origin, Scope};
use crate::algorithm::ALGORITHMS;

/// One kind of mapping in a policy file, and the words that may stand in it.
#[derive(Debug)]
pub struct Section {
    /// What it is called, as in `rate_limit`.
    pub place: String,
    /// Its words, those of envoyproxy/ratelimit among them.
    pub words: Vec<WordRow>,
}

/// One word where it may stand.
#[derive(Debug)]
pub struct WordRow {
    /// The word.
    pub name: &'static str,
    /// Whether it is envoyproxy/ratelimit's, and means here what it means there.
    pub is_peers: bool,
    /// What it takes, in Markdown.
    pub values: String,
    /// What holds where it is absent, in Markdown. Empty: it must be there.
    pub default: &'static str,
    /// What it says, in Markdown.
    pub meaning: &'static str,
    /// How it is written, with what it needs beside it: the inside of a flow mapping.
    pub example: &'static str,
}

/// Every word of a policy file, by where it may stand.
pub fn language() -> Vec<Section> {
    let section = |scope: Scope| Section {
        place: scope.to_string(),
        words: words::rows_of(scope)
            .map(|word| WordRow {
                name: word.name,
                is_peers: word.origin == Origin::Compatible,
                values: word.takes.for_people(),
                default: word.default,
                meaning: word.meaning,
                example: word.example,
            })
            .collect(),
    };
    Scope::ALL.map(section).into()
}

/// The algorithms by name, each with what it does, in Markdown.
pub fn algorithms() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALGORITHMS.iter().map(|row| (row.name, row.meaning))
}
