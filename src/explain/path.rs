//! The path of a descriptor through a policy: what each entry matched, and what the first that matched nothing is close to.

use std::borrow::Cow;
use std::fmt;

use super::{Context, matched};
use crate::engine::Trace;
use crate::hint::{did_you_mean, listed};
use crate::model::{Entry, lossy};
use crate::policy::{Level, MatchResult, MatchedPath, Node, Place, Policy, Scratch};
use crate::subjects::strip_scheme;

/// An entry and the node that it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The entry as rules see it: an endpoint by its name, `…` for a credential.
    pub entry: String,
    /// The node's `key` or `key=value`.
    pub node: String,
    /// Where the node was written.
    pub place: Place,
}

/// The rule that a descriptor matches, or why it matches none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// A rule, by its label.
    Rule(String, Place),
    /// A node without a limit.
    NoLimit(String, Place),
    /// The limit that Envoy sent along counts instead.
    SentByEnvoy,
    /// No policy describes the domain.
    UnknownDomain {
        /// The domain.
        domain: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// The descriptor has no entries.
    NoEntries,
    /// All entries are empty, and count as not sent.
    EmptyEntries,
    /// The value is no enabled credential of the kind that a node asks for.
    NoCredential {
        /// The node.
        node: (String, Place),
        /// The kind.
        kind: String,
    },
    /// The value is a credential of another subject than the one before it.
    OtherSubject {
        /// The node.
        node: (String, Place),
        /// Whose credential it is.
        subject: String,
    },
    /// Nothing is nested where the path has come to.
    TooManyEntries {
        /// The first entry that is too many.
        entry: String,
        /// Where the path has come to.
        below: Below,
    },
    /// None of the descriptors there matches.
    Nothing {
        /// The entry that matches none.
        entry: String,
        /// Where the path has come to.
        below: Below,
        /// What was probably meant, or some of what is there.
        hint: String,
    },
}

/// The node whose descriptors are looked through; none is the top of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below(pub Option<(String, Place)>);

/// What each of `entries` matched, up to the first that matched nothing.
pub(super) fn path_of(trace: &Trace<'_>, entries: &[Entry<'_>], context: &Context<'_, '_>) -> Vec<Step> {
    let steps = |matched: &MatchedPath<'_>, entries| {
        let step = |(entry, node): (&Entry<'_>, &Node)| Step {
            entry: shown_entry(entry, context.policy),
            node: node.label.clone(),
            place: node.place.clone(),
        };
        matched.steps(entries).map(step).collect()
    };
    match (trace, context.domain) {
        (Trace::Walked(MatchResult::Nothing { at, .. }), Some(domain)) => {
            let before = &entries[..*at];
            let walked =
                Trace::Walked(domain.walk(before, context.now, &mut Scratch::standing_in(context.stand_in)));
            matched(&walked).map(|matched| steps(matched, before)).unwrap_or_default()
        }
        _ => matched(trace).map(|matched| steps(matched, entries)).unwrap_or_default(),
    }
}

/// The rule at the end of `trace`, or why there is none.
pub(super) fn match_of(trace: &Trace<'_>, entries: &[Entry<'_>], context: &Context<'_, '_>) -> Match {
    match trace {
        Trace::UnknownDomain => {
            let domain = lossy(context.asked).into_owned();
            let hint = did_you_mean(&domain, context.policy.domains().map(|domain| domain.name.as_str()));
            Match::UnknownDomain { domain, hint }
        }
        Trace::Override => Match::SentByEnvoy,
        Trace::Walked(MatchResult::Nothing { at, passed, level }) => match entries.get(*at) {
            Some(entry) => unmatched(entry, passed.last().copied(), level, context),
            None if entries.is_empty() => Match::NoEntries,
            None => Match::EmptyEntries,
        },
        Trace::Walked(MatchResult::Node(matched) | MatchResult::Exempt(matched)) => match matched.node() {
            Some(Node { rule: Some(rule), place, .. }) => Match::Rule(rule.label.clone(), place.clone()),
            Some(Node { label, place, .. }) => Match::NoLimit(label.clone(), place.clone()),
            None => Match::NoEntries,
        },
    }
}

/// Why a descriptor of `domain` reached no rule, of which only this is known: the entry that matched nothing, and where the node
/// is (file, line, column) whose descriptors were looked through. `None` where the policy has changed so far that neither is there.
pub fn why_unmatched(
    policy: &Policy,
    domain: &str,
    entry: Option<(&str, &str)>,
    below: Option<(&str, usize, usize)>,
) -> Option<Match> {
    let Some(found) = policy.domain(domain.as_bytes()) else {
        let hint = did_you_mean(domain, policy.domains().map(|domain| domain.name.as_str()));
        return Some(Match::UnknownDomain { domain: domain.to_owned(), hint });
    };
    let Some((key, value)) = entry else { return Some(Match::NoEntries) };
    let last = match below {
        Some(place) => Some(node_at(&found.root, place)?),
        None => None,
    };
    let level = last.map_or(&*found.root, |node| &node.children);
    let entry = Entry { key: key.as_bytes(), value: value.as_bytes() };
    let asks = |node: &&Node| node.subject.is_some() && node.label.as_bytes() == entry.key;
    if let Some((node, asked)) =
        level.nodes().find(asks).and_then(|node| Some((node, node.subject.as_ref()?)))
    {
        return Some(Match::NoCredential {
            node: (node.label.clone(), node.place.clone()),
            kind: asked.kind.clone(),
        });
    }
    let below = Below(last.map(|node| (node.label.clone(), node.place.clone())));
    let shown = format!("{key}={value}");
    if level.is_empty() {
        return Some(Match::TooManyEntries { entry: shown, below });
    }
    Some(Match::Nothing { entry: shown, below, hint: hint(&entry, level, policy) })
}

/// The node that was written at a place.
fn node_at<'p>(level: &'p Level, place: (&str, usize, usize)) -> Option<&'p Node> {
    level.nodes().find_map(|node| {
        let Place { file, line, column } = &node.place;
        if (&**file, *line, *column) == place { Some(node) } else { node_at(&node.children, place) }
    })
}

/// Why `entry` matches nothing of `level`, the descriptors below `last`.
fn unmatched(entry: &Entry<'_>, last: Option<&Node>, level: &Level, context: &Context<'_, '_>) -> Match {
    if let Some(no_credential) = no_credential(entry, level, context) {
        return no_credential;
    }
    let below = Below(last.map(|node| (node.label.clone(), node.place.clone())));
    let shown = shown_entry(entry, context.policy);
    if level.is_empty() {
        return Match::TooManyEntries { entry: shown, below };
    }
    Match::Nothing { entry: shown, below, hint: hint(entry, level, context.policy) }
}

/// Why the value of `entry` is no credential, where a node of `level` asks for one.
fn no_credential(entry: &Entry<'_>, level: &Level, context: &Context<'_, '_>) -> Option<Match> {
    let asks = |node: &&Node| node.subject.is_some() && node.label.as_bytes() == entry.key;
    let node = level.nodes().find(asks)?;
    let asked = node.subject.as_ref()?;
    let value = if asked.strip_scheme { strip_scheme(entry.value) } else { entry.value };
    let directory = context.domain.and_then(|domain| domain.directory.as_ref());
    let somebody = directory.and_then(|directory| directory.resolve(&asked.kind, value));
    let node = (node.label.clone(), node.place.clone());
    Some(match somebody {
        Some(other) => Match::OtherSubject { node, subject: other.subject.id().to_owned() },
        None => Match::NoCredential { node, kind: asked.kind.clone() },
    })
}

/// What was probably meant by `entry`, or some of what `level` has.
fn hint(entry: &Entry<'_>, level: &Level, policy: &Policy) -> String {
    let mut labels: Vec<&str> = level.nodes().map(|node| node.label.as_str()).collect();
    labels.sort_unstable();
    // A likely slip is one in the key, or one in the value of the same key.
    let (key, value) = (lossy(entry.key), shown_value(entry, policy));
    let values = labels.iter().filter_map(|label| label.strip_prefix(&format!("{key}=")));
    let keys = labels.iter().map(|label| label.split('=').next().unwrap_or(label));
    let is_known = keys.clone().any(|known| known == key);
    let slip = if is_known { did_you_mean(&value, values) } else { did_you_mean(&key, keys) };
    let are = if labels.len() == 1 { "is" } else { "are" };
    slip.unwrap_or_else(|| format!("there {are} {}", listed(&labels)))
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(label, place) => write!(f, "{label} ({place})"),
            Self::NoLimit(label, place) => write!(f, "none: `{label}` has no limit of its own ({place})"),
            Self::SentByEnvoy => f.write_str("the limit that Envoy sent along"),
            Self::UnknownDomain { domain, hint } => {
                write!(f, "none: no domain `{domain}` is configured")?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            Self::NoEntries => f.write_str("none: a descriptor without entries reaches no rule"),
            Self::EmptyEntries => {
                f.write_str("none: the entries are empty, and as if they had not been sent")
            }
            Self::NoCredential { node: (label, place), kind } => {
                write!(f, "none: the value of `{label}` is no enabled credential of kind `{kind}` ({place})")
            }
            Self::OtherSubject { node: (label, place), subject } => write!(
                f,
                "none: the value of `{label}` is a credential of `{subject}`, not of the subject before it ({place})"
            ),
            Self::TooManyEntries { entry, below } => {
                write!(f, "none: there are no descriptors {below}, and `{entry}` is one entry more")
            }
            Self::Nothing { entry, below, hint } => {
                write!(f, "none: `{entry}` matches nothing {below} ({hint})")
            }
        }
    }
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((label, place)) => write!(f, "below `{label}` ({place})"),
            None => f.write_str("at the top of the domain"),
        }
    }
}

/// The entries of a descriptor as they were sent, but for credentials.
pub(super) fn shown_entries(entries: &[Entry<'_>], policy: &Policy) -> String {
    entries.iter().map(|entry| shown_entry(entry, policy)).collect::<Vec<_>>().join(", ")
}

/// The entry with the value that `node` counts it under.
pub(super) fn shown_counted(entry: &Entry<'_>, node: &Node, policy: &Policy) -> String {
    shown_entry(&Entry { key: entry.key, value: node.counted(entry.value) }, policy)
}

fn shown_entry(entry: &Entry<'_>, policy: &Policy) -> String {
    format!("{}={}", lossy(entry.key), shown_value(entry, policy))
}

/// A value, unless it is a credential in any domain: which domain was meant may be the mistake.
fn shown_value<'a>(entry: &Entry<'a>, policy: &Policy) -> Cow<'a, str> {
    if policy.domains().any(|domain| domain.is_secret(entry.key)) { "…".into() } else { lossy(entry.value) }
}
