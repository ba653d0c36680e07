//! Every word of the policy language, and where it may stand.

use std::fmt;

/// A kind of mapping in a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Root,
    Descriptor,
    RateLimit,
    Replaces,
    Requests,
    Deny,
    Undeclared,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the top of a policy",
            Self::Descriptor => "a descriptor",
            Self::RateLimit => "`rate_limit`",
            Self::Replaces => "an item of `replaces`",
            Self::Requests => "`requests_per_unit`",
            Self::Deny => "`deny`",
            Self::Undeclared => "`undeclared`",
        })
    }
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// envoyproxy/ratelimit's; it means here what it means there.
    Peer,
    /// Spillway's.
    Own,
}
use Origin::{Own, Peer};

const WORDS: &[(&str, Origin, &[Scope])] = &[
    ("domain", Peer, &[Scope::Root]),
    ("descriptors", Peer, &[Scope::Root, Scope::Descriptor]),
    ("key", Peer, &[Scope::Descriptor]),
    ("value", Peer, &[Scope::Descriptor]),
    ("rate_limit", Peer, &[Scope::Descriptor]),
    ("shadow_mode", Peer, &[Scope::Descriptor]),
    ("quota_mode", Peer, &[Scope::Descriptor]),
    ("detailed_metric", Peer, &[Scope::Descriptor]),
    ("value_to_metric", Peer, &[Scope::Descriptor]),
    ("share_threshold", Peer, &[Scope::Descriptor]),
    ("metadata", Peer, &[Scope::Descriptor]),
    ("unit", Peer, &[Scope::RateLimit]),
    ("requests_per_unit", Peer, &[Scope::RateLimit]),
    ("unlimited", Peer, &[Scope::RateLimit]),
    ("replaces", Peer, &[Scope::RateLimit]),
    ("name", Peer, &[Scope::RateLimit, Scope::Replaces]),
    ("subjects", Own, &[Scope::Root]),
    ("evaluate", Own, &[Scope::Root]),
    ("endpoints", Own, &[Scope::Root]),
    ("undeclared", Own, &[Scope::Root]),
    ("segments", Own, &[Scope::Undeclared]),
    ("ignore_case", Own, &[Scope::Root]),
    ("request_headers", Own, &[Scope::Root]),
    ("headers", Own, &[Scope::Root, Scope::Descriptor, Scope::RateLimit]),
    ("deny", Own, &[Scope::Root, Scope::Descriptor, Scope::RateLimit]),
    ("count_by", Own, &[Scope::Descriptor, Scope::RateLimit]),
    ("subject", Own, &[Scope::Descriptor]),
    ("strip_scheme", Own, &[Scope::Descriptor]),
    ("exempt", Own, &[Scope::Descriptor]),
    ("empty", Own, &[Scope::Descriptor]),
    ("rate_limits", Own, &[Scope::Descriptor]),
    ("per", Own, &[Scope::RateLimit]),
    ("algorithm", Own, &[Scope::RateLimit]),
    ("anchor", Own, &[Scope::RateLimit]),
    ("burst", Own, &[Scope::RateLimit]),
    ("time_zone", Own, &[Scope::RateLimit]),
    ("override", Own, &[Scope::RateLimit]),
    ("at_most", Own, &[Scope::RateLimit]),
    ("count_denied", Own, &[Scope::RateLimit]),
    ("counter", Own, &[Scope::RateLimit]),
    ("by", Own, &[Scope::Requests]),
    ("values", Own, &[Scope::Requests]),
    ("otherwise", Own, &[Scope::Requests]),
    ("attribute", Own, &[Scope::Requests]),
    ("content_type", Own, &[Scope::Deny]),
    ("body", Own, &[Scope::Deny]),
];

/// Where `word` may stand, if it is a word of the language.
pub(super) fn scopes(word: &str) -> Option<&'static [Scope]> {
    WORDS.iter().find(|(name, ..)| *name == word).map(|(.., scopes)| *scopes)
}

/// Whether `word` is one of Spillway's own.
pub(super) fn is_own(word: &str) -> bool {
    WORDS.iter().any(|(name, origin, _)| *name == word && *origin == Own)
}

/// The words that may stand in `scope`.
pub(super) fn of(scope: Scope) -> impl Iterator<Item = &'static str> {
    WORDS.iter().filter(move |(.., scopes)| scopes.contains(&scope)).map(|(name, ..)| *name)
}

/// «did you mean», when one of `known` is close enough to `typed` to be what was meant.
pub fn did_you_mean<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let likeness = |word: &str| strsim::jaro_winkler(&typed.to_lowercase(), &word.to_lowercase());
    known
        .into_iter()
        .map(|word| (likeness(word), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| format!("did you mean `{word}`?"))
}

/// «did you mean», or else all there is to choose from.
pub(super) fn choices(typed: &str, what: &str, known: &[&str]) -> String {
    did_you_mean(typed, known.iter().copied()).unwrap_or_else(|| format!("{what} are {}", known.join(", ")))
}
