//! What a counter is counted by, as text for operators.

use std::borrow::Cow;

use super::series::shown;
use crate::model::{Entry, Timestamp};
use crate::policy::{CountBy, Domain, Limit, MatchResult, MatchedPath, Scratch};
use crate::subjects::Credential;

/// The most bytes of a text.
const LONGEST: usize = 512;

/// What stands for the values of a key, where they may be credentials though the policy does not say so.
pub type Hidden<'h> = &'h dyn Fn(&[u8]) -> Option<String>;

/// What tells the counter of `limit` that a descriptor with these `entries` is charged to from its others, as `subject=acme` or
/// `path=/leads > ip=10.0.0.1`. A credential is its subject's id, or `…` where nobody has it; what `hidden` has for a key stands for
/// its value.
pub fn counted_by(
    domain: &Domain,
    entries: &[Entry<'_>],
    limit: &Limit,
    now: Timestamp,
    hidden: Hidden<'_>,
) -> String {
    let entries = domain.entries(entries);
    let entries = entries.as_slice();
    let reached = domain.walk(&entries, now, &mut Scratch::default());
    let (MatchResult::Node(path) | MatchResult::Exempt(path)) = reached else {
        // A limit of Envoy's counts by all entries, whether the policy has them or not.
        let parts = entries.iter().map(|entry| pair(entry.key, &value(domain, entry, None, hidden)));
        return joined(&parts.collect::<Vec<_>>());
    };
    let mut parts = Vec::new();
    for by in limit.count_by.iter() {
        match by {
            CountBy::Entries => parts.extend(of_path(domain, &entries, &path, hidden, |_| true)),
            CountBy::Entry(name) => {
                parts.extend(of_path(domain, &entries, &path, hidden, |key| key == name.as_bytes()));
            }
            CountBy::Subject => parts.push(format!("subject={}", subject(path.credential.as_ref()))),
            CountBy::Credential => parts.push(format!("credential of {}", subject(path.credential.as_ref()))),
            CountBy::Domain => parts.push("all".to_owned()),
        }
    }
    joined(&parts)
}

fn joined(parts: &[String]) -> String {
    let mut text = parts.join(" > ");
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

/// The entries on the path with such keys.
fn of_path(
    domain: &Domain,
    entries: &[Entry<'_>],
    path: &MatchedPath<'_>,
    hidden: Hidden<'_>,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Vec<String> {
    let wanted = path.steps(entries).filter(|(entry, _)| is_wanted(entry.key));
    let parts = wanted.map(|(entry, node)| {
        let counted = Entry { key: entry.key, value: node.counted(entry.value) };
        let credential = path.credential.as_ref().filter(|_| node.subject.is_some());
        pair(entry.key, &value(domain, &counted, credential, hidden))
    });
    parts.collect()
}

fn pair(key: &[u8], value: &str) -> String {
    if value.is_empty() { shown(key).into_owned() } else { format!("{}={value}", shown(key)) }
}

fn value<'e>(
    domain: &Domain,
    entry: &Entry<'e>,
    credential: Option<&Credential<'_>>,
    hidden: Hidden<'_>,
) -> Cow<'e, str> {
    match credential {
        Some(credential) => subject(Some(credential)).into(),
        None if domain.is_secret(entry.key) => "…".into(),
        None => hidden(entry.key).map_or_else(|| shown(entry.value), Cow::from),
    }
}

fn subject(credential: Option<&Credential<'_>>) -> String {
    credential.map_or("…".into(), |credential| shown(credential.subject.id().as_bytes())).into_owned()
}
