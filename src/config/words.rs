//! Every word of the policy language: where it may stand, what it takes and what it says.

mod rows;

use std::fmt;

use super::takes::Takes;
pub(super) use crate::hint::did_you_mean;
use rows::WORDS;

/// A kind of mapping in a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Root,
    Descriptor,
    RateLimit,
    Replaces,
    Requests,
    Headers,
    Deny,
    Undeclared,
}

impl Scope {
    /// Every kind, in the order of the reference page.
    pub(super) const ALL: [Self; 8] = [
        Self::Root,
        Self::Descriptor,
        Self::RateLimit,
        Self::Requests,
        Self::Replaces,
        Self::Headers,
        Self::Deny,
        Self::Undeclared,
    ];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the top of a policy",
            Self::Descriptor => "a descriptor",
            Self::RateLimit => "`rate_limit`",
            Self::Replaces => "an item of `replaces`",
            Self::Requests => "`requests_per_unit`",
            Self::Headers => "`headers`",
            Self::Deny => "`deny`",
            Self::Undeclared => "`undeclared`",
        })
    }
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// envoyproxy/ratelimit's; it means here what it means there.
    Compatible,
    /// Spillway's.
    Own,
}

/// A word, with all that the reference page, the schema and the loader's hints say of it.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    pub(super) scopes: &'static [Scope],
    pub(super) takes: Takes,
    /// What holds where the word is absent. Empty: it must be there.
    pub(super) default: &'static str,
    /// What it says, in Markdown.
    pub(super) meaning: &'static str,
    /// How it is written, with what it needs beside it.
    pub(super) example: &'static str,
}

/// Where `word` may stand, if it is a word of the language.
pub(super) fn scopes(word: &str) -> Option<&'static [Scope]> {
    WORDS.iter().find(|row| row.name == word).map(|row| row.scopes)
}

/// Whether `word` is one of Spillway's own.
pub(super) fn is_own(word: &str) -> bool {
    WORDS.iter().any(|row| row.name == word && row.origin == Origin::Own)
}

/// The words that may stand in `scope`.
pub(super) fn of(scope: Scope) -> impl Iterator<Item = &'static str> {
    rows_of(scope).map(|row| row.name)
}

/// The same with all that is said of them.
pub(super) fn rows_of(scope: Scope) -> impl Iterator<Item = &'static Word> {
    WORDS.iter().filter(move |row| row.scopes.contains(&scope))
}

/// «did you mean», or else all there is to choose from.
pub(super) fn choices(typed: &str, what: &str, known: &[&str]) -> String {
    did_you_mean(typed, known.iter().copied()).unwrap_or_else(|| format!("{what} are {}", known.join(", ")))
}
