//! Which rules the requests behind a descriptor can reach. Of most entries only the key is known, so there may be many.

use std::ptr;

use super::action::{Content, Entry, Presence};
use crate::hint::{likely, listed};
use crate::policy::{Domain, ENDPOINT, Level, Node, Place};

/// Where the values that a descriptor may have can lead.
#[derive(Debug)]
pub(super) struct Reach<'p> {
    /// The nodes that its last entry can match.
    pub(super) nodes: Vec<&'p Node>,
    /// Where every value of it is lost.
    pub(super) lost: Option<Lost<'p>>,
}

/// An entry that matches nothing, whatever it was before.
#[derive(Debug)]
pub(super) struct Lost<'p> {
    /// Which one.
    pub(super) at: usize,
    pub(super) entry: Matched,
    /// Where it was looked for: the node above, if any, and what is listed there.
    levels: Vec<(Option<&'p Node>, &'p Level)>,
}

/// An entry as rules see it.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    /// Which of the entries it is, or begins with.
    at: usize,
    pub(super) key: String,
    content: Content,
    is_endpoint: bool,
    is_optional: bool,
    /// Whether credentials are left out of account.
    without_credentials: bool,
}

/// What is asked about a descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// Entries that may be absent are.
    pub(super) without_optional: bool,
    /// What is not always the same has a value that no rule lists.
    pub(super) unlisted: bool,
    /// This entry is nobody's credential.
    pub(super) nobody_at: Option<usize>,
}

/// A value, or a path, that nobody lists.
const UNLISTED: &str = "/\u{1}";

/// Follows `entries` through the rules of `domain`.
pub(super) fn reach<'p>(domain: &'p Domain, entries: &[Entry<'_>], asked: Asked) -> Reach<'p> {
    let mut now: Vec<(Option<&Node>, &Level)> = vec![(None, &domain.root)];
    for entry in matched(domain, entries, asked) {
        let mut next = if entry.is_optional { now.clone() } else { Vec::new() };
        for (above, level) in &now {
            let nodes = entry.nodes(domain, level);
            let empty_is_absent = nodes.iter().any(|node| node.subject.is_some() && node.empty_is_absent);
            let taken = nodes.into_iter().filter(|node| !entry.without_credentials || node.subject.is_none());
            for node in taken {
                push(&mut next, (Some(node), &node.children));
            }
            if empty_is_absent {
                push(&mut next, (*above, level));
            }
        }
        if next.is_empty() {
            return Reach { nodes: Vec::new(), lost: Some(Lost { at: entry.at, entry, levels: now }) };
        }
        now = next;
    }
    Reach { nodes: now.into_iter().filter_map(|(node, _)| node).collect(), lost: None }
}

fn push<'p>(states: &mut Vec<(Option<&'p Node>, &'p Level)>, state: (Option<&'p Node>, &'p Level)) {
    if !states.iter().any(|(_, level)| ptr::eq(*level, state.1)) {
        states.push(state);
    }
}

/// `entries` as they are matched: with endpoints, a method and the path after it are one.
fn matched(domain: &Domain, entries: &[Entry<'_>], asked: Asked) -> Vec<Matched> {
    let mut matched = Vec::new();
    let kept = |entry: &Entry<'_>| !(asked.without_optional && entry.presence == Presence::Optional);
    let entries: Vec<_> = entries.iter().enumerate().filter(|(_, entry)| kept(entry)).collect();
    let mut rest = entries.as_slice();
    while let [(at, entry), after @ ..] = rest {
        rest = after;
        let mut one = Matched {
            at: *at,
            key: entry.key.clone(),
            content: entry.content.clone(),
            is_endpoint: false,
            is_optional: entry.presence == Presence::Optional,
            without_credentials: asked.nobody_at == Some(*at),
        };
        if let Some(endpoints) = &domain.endpoints {
            if let [(_, path), after @ ..] = after
                && entry.key == "method"
                && path.key == "path"
            {
                ENDPOINT.clone_into(&mut one.key);
                one.content = Content::Any;
                one.is_endpoint = true;
                rest = after;
            } else if entry.key == ENDPOINT {
                one.is_endpoint = true;
                if let Content::Exactly(text) = &entry.content {
                    let (method, path) = text.split_once(' ').unwrap_or((text, ""));
                    let name = endpoints.name(method.as_bytes(), path.as_bytes());
                    one.content = Content::Exactly(String::from_utf8_lossy(&name).into_owned());
                }
            }
        }
        if asked.unlisted && !matches!(one.content, Content::Exactly(_)) {
            let endpoints = domain.endpoints.as_ref().filter(|_| one.is_endpoint);
            let name = endpoints.map(|endpoints| endpoints.name(b"GET", UNLISTED.as_bytes()));
            let name = name.map(|name| String::from_utf8_lossy(&name).into_owned());
            one.content = Content::Exactly(name.unwrap_or_else(|| UNLISTED.to_owned()));
        }
        matched.push(one);
    }
    matched
}

impl Matched {
    /// The nodes of `level` that it can choose.
    fn nodes<'p>(&self, domain: &Domain, level: &'p Level) -> Vec<&'p Node> {
        let endpoints = domain.endpoints.as_ref().filter(|_| self.is_endpoint);
        match &self.content {
            Content::Exactly(value) => level.possible_for(self.key.as_bytes(), value.as_bytes()),
            content => level.possible(self.key.as_bytes(), |value| {
                let can_be = |name: &str| endpoints.is_none_or(|endpoints| endpoints.can_be(name));
                content.could_be(value) && can_be(&String::from_utf8_lossy(value))
            }),
        }
    }
}

impl Lost<'_> {
    /// What is listed where the entry was looked for, with the place of the node above.
    pub(super) fn above(&self) -> Option<&Place> {
        self.levels.iter().find_map(|(node, _)| node.map(|node| &node.place))
    }

    /// What was probably meant.
    pub(super) fn hint(&self) -> String {
        let keys: Vec<String> = self.levels.iter().flat_map(|(_, level)| level.keys()).collect();
        if !keys.contains(&self.entry.key) {
            return match likely(&self.entry.key, keys.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `descriptor_key: {meant}`?"),
                None if keys.is_empty() => {
                    "no descriptor of the policy is that long; leave the action out".to_owned()
                }
                None => format!("the policy has {} there", listed(&keys)),
            };
        }
        let key = self.entry.key.as_bytes();
        let values: Vec<String> = self.levels.iter().flat_map(|(_, level)| level.values(key)).collect();
        let of = |value: &str| match likely(value, values.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the policy has `{}` with {} there", self.entry.key, listed(&values)),
        };
        match &self.entry.content {
            Content::Exactly(value) => of(value),
            Content::Address => {
                format!(
                    "its value is one address, and the policy has {}; for networks send `masked_remote_address`",
                    listed(&values)
                )
            }
            Content::Network | Content::Any => of(""),
        }
    }

    /// `key`, or `key=value` where the value is known.
    pub(super) fn shown(&self) -> String {
        let keys_known = self.levels.iter().any(|(_, level)| level.keys().contains(&self.entry.key));
        match &self.entry.content {
            Content::Exactly(value) if keys_known => format!("{}={value}", self.entry.key),
            _ => self.entry.key.clone(),
        }
    }
}
