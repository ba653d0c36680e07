//! The tree of descriptors, and which of its nodes a request's entries match.
//!
//! At each level the exact value is tried first, then the wildcards in the order they are listed, then the nodes whose
//! value must be somebody's credential, then the key alone. There is no way back: once an entry has chosen a node, only
//! that node's children are looked at for the next one.

mod possible;

use std::fmt;
use std::sync::Arc;

// Its hasher is faster than the standard one. That is for maps whose keys strangers choose; these have the policy's.
use hashbrown::{HashMap, hash_map};

use super::wildcards::{Scratch, UNKNOWN, Wildcard, Wildcards};
use super::{Pattern, Rule};
use crate::model::{Entry, Few, NoMatch, Timestamp};
use crate::subjects::{Credential, CredentialHash, Directory, Value, strip_scheme};

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
    /// What applies when a request's last entry matches here; none is an exemption.
    pub rule: Option<Rule>,
    /// The descriptors nested in it.
    pub children: Level,
    /// The pattern that all values matched here are counted under, when they share one counter.
    pub shared: Option<Box<[u8]>>,
    /// Whether metrics name the value that matched here.
    pub value_to_metric: bool,
    /// The value must be a credential.
    pub subject: Option<SubjectNode>,
    /// An entry with an empty value does not land here. Where the value must be a credential, such an entry is as if it had
    /// not been sent.
    pub empty_is_absent: bool,
    /// Whoever has one of these attributes passes uncounted.
    pub exempt: Vec<(String, Value)>,
}

/// A node whose value must be an enabled credential of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectNode {
    /// The kind of credential.
    pub kind: String,
    /// Whether `Bearer ` or `Basic ` stands before it.
    pub strip_scheme: bool,
}

impl SubjectNode {
    /// Whether `value` holds no credential at all.
    fn is_empty(&self, value: &[u8]) -> bool {
        value.is_empty() || self.strip_scheme && strip_scheme(value).is_empty()
    }
}

impl Node {
    /// What an entry with `value` is counted by here.
    pub fn counted<'a>(&'a self, value: &'a [u8]) -> &'a [u8] {
        self.shared.as_deref().unwrap_or(value)
    }

    fn exempts(&self, credential: &Credential<'_>, now: Timestamp) -> bool {
        self.exempt.iter().any(|(name, value)| credential.attribute_at(name, now) == Some(value))
    }
}

/// The descriptors listed beside each other.
#[derive(Debug, Default)]
pub struct Level {
    keys: HashMap<Box<[u8]>, Key>,
    /// Keys that end in `*` and have no value; they stand for every key that starts so.
    key_patterns: Wildcards,
    /// How many wildcards were listed so far: the rank of the next one.
    listed: usize,
}

#[derive(Debug, Default)]
struct Key {
    /// Nodes are large: in the table itself, very many would be copied each time that it grows.
    values: HashMap<Box<[u8]>, Box<Node>>,
    wildcards: Wildcards,
    subjects: Vec<(SubjectNode, Node)>,
    alone: Option<Box<Node>>,
}

/// What an entry chooses at a level.
enum Found<'p> {
    /// A node, with the credential that the value is where the node asks for one.
    Node(&'p Node, Option<Credential<'p>>),
    /// Nothing: the entry is as if it had not been sent.
    Absent,
}

/// Where a request's entries lead.
#[derive(Debug)]
pub enum MatchResult<'p> {
    /// The last entry matched a node.
    Node(MatchedPath<'p>),
    /// A subject on the path is exempt.
    Exempt(MatchedPath<'p>),
    /// An entry found no node; also when there are no entries, or none that count.
    Nothing {
        /// The place of the entry; how many entries there are where none counts.
        at: usize,
        /// The nodes that the entries before it matched.
        passed: Few<&'p Node>,
        /// The descriptors it was looked for in.
        level: &'p Level,
    },
}

/// The nodes that the entries of a descriptor matched.
#[derive(Debug)]
pub struct MatchedPath<'p> {
    /// The node of each entry that counts, in order; never empty.
    pub path: Few<&'p Node>,
    /// The places of entries that are as if they had not been sent: an empty value where a credential is optional.
    absent: Few<usize>,
    /// Who is behind the request, if a node asked.
    pub credential: Option<Credential<'p>>,
}

impl<'p> MatchedPath<'p> {
    /// The node that the last entry matched.
    pub fn node(&self) -> Option<&'p Node> {
        self.path.last().copied()
    }

    /// Each of `entries`, which led here, with the node that it matched.
    pub fn steps<'e, E>(&'e self, entries: &'e [E]) -> impl Iterator<Item = (&'e E, &'p Node)> {
        let counted = entries.iter().enumerate().filter(|(at, _)| !self.absent.contains(at));
        counted.map(|(_, entry)| entry).zip(self.path.iter().copied())
    }
}

impl Level {
    /// Adds a node for `key` with `value` (empty: the key alone). Gives back the node that already stands there.
    pub fn add(&mut self, key: &str, value: &str, node: Node) -> Result<(), &Node> {
        if value.is_empty() && key.ends_with('*') {
            let pattern = Pattern::parse(key);
            return push(&mut self.key_patterns, &mut self.listed, pattern, node);
        }
        let entry = self.keys.entry(key.as_bytes().into()).or_default();
        if let Some(subject) = node.subject.clone() {
            if let Some(at) = entry.subjects.iter().position(|(other, _)| other.kind == subject.kind) {
                return Err(&entry.subjects[at].1);
            }
            entry.subjects.push((subject, node));
            return Ok(());
        }
        let pattern = Pattern::parse(value);
        if pattern.is_some() {
            return push(&mut entry.wildcards, &mut self.listed, pattern, node);
        }
        if !value.is_empty() {
            return match entry.values.entry(value.as_bytes().into()) {
                hash_map::Entry::Occupied(taken) => Err(taken.into_mut()),
                hash_map::Entry::Vacant(free) => {
                    free.insert(Box::new(node));
                    Ok(())
                }
            };
        }
        match &mut entry.alone {
            Some(taken) => Err(taken),
            free => {
                *free = Some(Box::new(node));
                Ok(())
            }
        }
    }

    /// What `entry` chooses here. A second credential on one path must be the same subject's.
    fn find<'p>(
        &'p self,
        entry: &Entry<'_>,
        directory: Option<&'p Directory>,
        before: Option<&Credential<'p>>,
        scratch: &mut Scratch,
    ) -> Option<Found<'p>> {
        let key = self.keys.get(entry.key);
        if let Some(exact) = key.and_then(|key| key.values.get(entry.value)) {
            return Some(Found::Node(exact, None));
        }
        let by_value = key.and_then(|key| key.wildcards.find(entry.value, scratch));
        let by_key = self.key_patterns.find(entry.key, scratch);
        if let Some(first_listed) = by_value.into_iter().chain(by_key).min_by_key(|wild| wild.rank) {
            return Some(Found::Node(&first_listed.node, None));
        }
        let key = key?;
        if key.subjects.iter().any(|(asked, node)| node.empty_is_absent && asked.is_empty(entry.value)) {
            return Some(Found::Absent);
        }
        // Read once with the scheme and once without it, however many kinds of credentials it could be.
        let (mut whole, mut stripped) = (None, None);
        let somebody = key.subjects.iter().find_map(|(asked, node)| {
            let directory = directory?;
            if let Some(subject) = scratch.stand_in()
                && entry.value == UNKNOWN.as_bytes()
            {
                return directory.stand_in(subject).map(|found| (node, Some(found)));
            }
            let hash = if asked.strip_scheme {
                stripped.get_or_insert_with(|| CredentialHash::of(strip_scheme(entry.value)))
            } else {
                whole.get_or_insert_with(|| CredentialHash::of(entry.value))
            };
            let found = directory.resolve_hashed(&asked.kind, hash)?;
            let same = before.is_none_or(|before| before.subject.id() == found.subject.id());
            same.then_some((node, Some(found)))
        });
        let alone = || key.alone.as_deref().filter(|node| !(node.empty_is_absent && entry.value.is_empty()));
        somebody
            .or_else(|| alone().map(|node| (node, None)))
            .map(|(node, somebody)| Found::Node(node, somebody))
    }

    /// Follows `entries` from here.
    pub fn walk<'p>(
        &'p self,
        entries: &[Entry<'_>],
        directory: Option<&'p Directory>,
        now: Timestamp,
        scratch: &mut Scratch,
    ) -> MatchResult<'p> {
        let mut level = self;
        let mut path: Few<&Node> = Few::with_capacity(entries.len());
        let mut credential: Option<Credential<'p>> = None;
        let mut absent: Few<usize> = Few::new();
        let mut exempt = false;
        for (at, entry) in entries.iter().enumerate() {
            let (node, found) = match level.find(entry, directory, credential.as_ref(), scratch) {
                Some(Found::Node(node, found)) => (node, found),
                Some(Found::Absent) => {
                    absent.push(at);
                    continue;
                }
                None => return MatchResult::Nothing { at, passed: path, level },
            };
            credential = found.or(credential);
            exempt = exempt || credential.as_ref().is_some_and(|credential| node.exempts(credential, now));
            path.push(node);
            level = &node.children;
        }
        match path.is_empty() {
            true => MatchResult::Nothing { at: entries.len(), passed: path, level },
            false if exempt => MatchResult::Exempt(MatchedPath { path, absent, credential }),
            false => MatchResult::Node(MatchedPath { path, absent, credential }),
        }
    }

    /// Gives `found` each node from here on that no entry can reach, and of the one listed before that takes all that it
    /// would take.
    pub fn hidden<'l>(&'l self, scratch: &mut Scratch, found: &mut impl FnMut(&'l Node, &'l Node)) {
        let first = |some: [Option<&'l Wildcard>; 2]| some.into_iter().flatten().min_by_key(|wild| wild.rank);
        for (text, key) in &self.keys {
            let by_key = self.key_patterns.find(text, scratch);
            for wild in key.wildcards.searchable() {
                let any = key.wildcards.find(&wild.pattern.broadest(), scratch);
                if let Some(first) = first([any, by_key]).filter(|first| first.rank < wild.rank) {
                    found(&wild.node, &first.node);
                }
            }
            let any = key.wildcards.find(Pattern::OTHER, scratch);
            if let Some(first) = first([any, by_key]) {
                let last = key.subjects.iter().map(|(_, node)| node).chain(key.alone.as_deref());
                last.for_each(|node| found(node, &first.node));
            }
        }
        for wild in self.key_patterns.searchable() {
            let any = self.key_patterns.find(&wild.pattern.broadest(), scratch);
            if let Some(first) = any.filter(|first| first.rank < wild.rank) {
                found(&wild.node, &first.node);
            }
        }
        self.nodes().for_each(|node| node.children.hidden(scratch, found));
    }

    /// Makes all wildcards from here on ready, which else the first request that meets them does.
    pub fn prepare(&self) {
        self.key_patterns.prepare();
        self.keys.values().for_each(|key| key.wildcards.prepare());
        self.nodes().for_each(|node| node.children.prepare());
    }

    /// Why `entry`, which is `None` after the last one, matches nothing here.
    pub fn no_match(&self, entry: Option<&Entry<'_>>) -> NoMatch {
        let Some(entry) = entry else { return NoMatch::NoEntries };
        match self.keys.get(entry.key) {
            Some(key) if !key.subjects.is_empty() => NoMatch::UnknownCredential,
            Some(_) => NoMatch::UnknownValue,
            None => NoMatch::UnknownKey,
        }
    }

    /// Whether a descriptor with this key is listed here.
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.contains_key(key.as_bytes())
    }

    /// Whether nothing is listed here.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.key_patterns.is_empty()
    }

    /// Every node listed here, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let of_keys = self.keys.values().flat_map(|key| {
            let wild = key.wildcards.nodes();
            let subjects = key.subjects.iter().map(|(_, node)| node);
            key.values.values().map(Box::as_ref).chain(wild).chain(subjects).chain(key.alone.as_deref())
        });
        of_keys.chain(self.key_patterns.nodes())
    }

    /// Shows `visit` each rule from here on, in no particular order.
    pub(super) fn each_rule_mut(&mut self, visit: &mut impl FnMut(&mut Rule)) {
        let of_keys = self.keys.values_mut().flat_map(|key| {
            let wild = key.wildcards.nodes_mut();
            let subjects = key.subjects.iter_mut().map(|(_, node)| node);
            key.values
                .values_mut()
                .map(Box::as_mut)
                .chain(wild)
                .chain(subjects)
                .chain(key.alone.as_deref_mut())
        });
        for node in of_keys.chain(self.key_patterns.nodes_mut()) {
            node.rule.iter_mut().for_each(&mut *visit);
            node.children.each_rule_mut(visit);
        }
    }

    /// Shows `visit` each rule from here on, in no particular order.
    pub fn each_rule<'l>(&'l self, visit: &mut impl FnMut(&'l Rule)) {
        for node in self.nodes() {
            node.rule.iter().for_each(&mut *visit);
            node.children.each_rule(visit);
        }
    }

    /// How many nodes from here on carry a rule.
    pub fn rules(&self) -> usize {
        self.nodes().map(|node| usize::from(node.rule.is_some()) + node.children.rules()).sum()
    }
}

fn push<'l>(
    list: &'l mut Wildcards,
    listed: &mut usize,
    pattern: Option<Pattern>,
    node: Node,
) -> Result<(), &'l Node> {
    let Some(pattern) = pattern else { return Ok(()) };
    let rank = *listed;
    *listed += 1;
    list.push(Wildcard { rank, pattern, node })
}
