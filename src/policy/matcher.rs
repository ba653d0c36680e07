//! The tree of descriptors, and the way a request's entries take through it.
//!
//! At each level the exact value is tried first, then the wildcards in the order they are listed, then the key alone.
//! There is no way back: once an entry has chosen a node, only that node's children are looked at for the next one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Pattern, Rule};
use crate::model::Entry;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named on the command line.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One descriptor of a policy file.
#[derive(Debug)]
pub struct Node {
    /// Where it was written.
    pub place: Place,
    /// `key`, or `key=value`.
    pub label: String,
    /// What applies when a request's last entry lands here; none is an exemption.
    pub rule: Option<Rule>,
    /// The descriptors nested in it.
    pub children: Level,
    /// The pattern that all values landing here are counted under, when they share one counter.
    pub shared: Option<Box<[u8]>>,
    /// Whether metrics name the value that landed here.
    pub value_to_metric: bool,
}

impl Node {
    /// What an entry with `value` is counted by here.
    pub fn counted<'a>(&'a self, value: &'a [u8]) -> &'a [u8] {
        self.shared.as_deref().unwrap_or(value)
    }
}

/// The descriptors listed beside each other.
#[derive(Debug, Default)]
pub struct Level {
    keys: HashMap<Box<[u8]>, Key>,
    /// Keys that end in `*` and have no value; they stand for every key that starts so.
    key_patterns: Vec<Wildcard>,
    /// How many wildcards were listed so far: the rank of the next one.
    listed: usize,
}

#[derive(Debug, Default)]
struct Key {
    values: HashMap<Box<[u8]>, Node>,
    wildcards: Vec<Wildcard>,
    alone: Option<Box<Node>>,
}

#[derive(Debug)]
struct Wildcard {
    rank: usize,
    pattern: Pattern,
    node: Node,
}

/// Where a request's entries lead.
#[derive(Debug)]
pub enum Reached<'p> {
    /// The last entry landed here.
    Node(&'p Node),
    /// Entry number `at` (from 0) found no node; also when there are no entries.
    Nothing {
        /// Which entry that was.
        at: usize,
        /// The descriptors it was looked for in.
        level: &'p Level,
    },
}

impl Level {
    /// Adds a node for `key` with `value` (empty: the key alone). Gives back the node that already stands there.
    pub fn add(&mut self, key: &str, value: &str, node: Node) -> Result<(), &Node> {
        let (slot, pattern) = if value.is_empty() && key.ends_with('*') {
            (&mut self.key_patterns, Pattern::parse(key))
        } else {
            let entry = self.keys.entry(key.as_bytes().into()).or_default();
            match Pattern::parse(value) {
                Some(pattern) => (&mut entry.wildcards, Some(pattern)),
                None if value.is_empty() => {
                    return match &mut entry.alone {
                        Some(taken) => Err(taken),
                        empty => {
                            *empty = Some(Box::new(node));
                            Ok(())
                        }
                    };
                }
                None => {
                    return match entry.values.entry(value.as_bytes().into()) {
                        std::collections::hash_map::Entry::Occupied(taken) => Err(taken.into_mut()),
                        std::collections::hash_map::Entry::Vacant(free) => {
                            free.insert(node);
                            Ok(())
                        }
                    };
                }
            }
        };
        let Some(pattern) = pattern else { return Ok(()) };
        if let Some(at) = slot.iter().position(|other| other.pattern == pattern) {
            return Err(&slot[at].node);
        }
        slot.push(Wildcard { rank: self.listed, pattern, node });
        self.listed += 1;
        Ok(())
    }

    /// The node that `entry` chooses here.
    pub fn find(&self, entry: &Entry<'_>) -> Option<&Node> {
        let key = self.keys.get(entry.key);
        if let Some(exact) = key.and_then(|key| key.values.get(entry.value)) {
            return Some(exact);
        }
        let by_value =
            key.and_then(|key| key.wildcards.iter().find(|wild| wild.pattern.matches(entry.value)));
        let by_key = self.key_patterns.iter().find(|wild| wild.pattern.matches(entry.key));
        let first_listed = by_value.into_iter().chain(by_key).min_by_key(|wild| wild.rank);
        first_listed.map(|wild| &wild.node).or_else(|| key?.alone.as_deref())
    }

    /// Follows `entries` from here, telling each node they land on.
    pub fn walk<'p>(
        &'p self,
        entries: &[Entry<'_>],
        mut landed: impl FnMut(&Entry<'_>, &'p Node),
    ) -> Reached<'p> {
        let mut level = self;
        let mut last = None;
        for (at, entry) in entries.iter().enumerate() {
            let Some(node) = level.find(entry) else { return Reached::Nothing { at, level } };
            landed(entry, node);
            level = &node.children;
            last = Some(node);
        }
        last.map_or(Reached::Nothing { at: 0, level }, Reached::Node)
    }

    /// Whether nothing is listed here.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.key_patterns.is_empty()
    }

    /// Every node listed here, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let of_keys = self.keys.values().flat_map(|key| {
            let wild = key.wildcards.iter().map(|wild| &wild.node);
            key.values.values().chain(wild).chain(key.alone.as_deref())
        });
        of_keys.chain(self.key_patterns.iter().map(|wild| &wild.node))
    }

    /// How many nodes from here on carry a rule.
    pub fn rules(&self) -> usize {
        self.nodes().map(|node| usize::from(node.rule.is_some()) + node.children.rules()).sum()
    }
}
