//! Every word of the policy language, and where it may stand.

use std::fmt;

/// A kind of mapping in a policy file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Root,
    Descriptor,
    RateLimit,
    Replaces,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the top of a policy",
            Self::Descriptor => "a descriptor",
            Self::RateLimit => "`rate_limit`",
            Self::Replaces => "an item of `replaces`",
        })
    }
}

/// The words of envoyproxy/ratelimit, which mean here what they mean there.
const WORDS: &[(&str, &[Scope])] = &[
    ("domain", &[Scope::Root]),
    ("descriptors", &[Scope::Root, Scope::Descriptor]),
    ("key", &[Scope::Descriptor]),
    ("value", &[Scope::Descriptor]),
    ("rate_limit", &[Scope::Descriptor]),
    ("shadow_mode", &[Scope::Descriptor]),
    ("quota_mode", &[Scope::Descriptor]),
    ("detailed_metric", &[Scope::Descriptor]),
    ("value_to_metric", &[Scope::Descriptor]),
    ("share_threshold", &[Scope::Descriptor]),
    ("metadata", &[Scope::Descriptor]),
    ("unit", &[Scope::RateLimit]),
    ("requests_per_unit", &[Scope::RateLimit]),
    ("unlimited", &[Scope::RateLimit]),
    ("replaces", &[Scope::RateLimit]),
    ("name", &[Scope::RateLimit, Scope::Replaces]),
];

/// Where `word` may stand, if it is a word of the language.
pub(super) fn scopes(word: &str) -> Option<&'static [Scope]> {
    WORDS.iter().find(|(name, _)| *name == word).map(|(_, scopes)| *scopes)
}

/// The words that may stand in `scope`.
pub(super) fn of(scope: Scope) -> impl Iterator<Item = &'static str> {
    WORDS.iter().filter(move |(_, scopes)| scopes.contains(&scope)).map(|(name, _)| *name)
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
