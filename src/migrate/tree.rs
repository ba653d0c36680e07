//! From conditions on entries, in any order, to a tree of descriptors.
//!
//! Limitador asks of each limit whether its entries are there; we follow entries from the first to the last. So the values of
//! each key are divided into classes that no condition tells apart further, and the tree has a node for each class after each
//! other one. What is nowhere limited is left out, unless a wider class beside it would take its requests.

use std::collections::BTreeMap;

use super::condition::Test;
use super::limit::Limit;
use crate::yaml::Span;

/// How many limits, on how many nodes, a policy may get; more are unreadable.
const MOST: usize = 1000;

/// How many ways through the classes of all keys are tried.
const MOST_TRIED: usize = 100_000;

/// How many entries a descriptor may have that only limits without conditions are for.
pub(super) const DEEPEST: usize = 8;

/// The values of a key that all conditions say the same of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Exactly(String),
    /// Those that begin so, and are in no class before it.
    Prefix(String),
    Other,
}

/// A node of the policy.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) key: String,
    pub(super) class: Class,
    /// Places in the list of limits.
    pub(super) limits: Vec<usize>,
    pub(super) children: Vec<Node>,
}

/// A namespace as a tree.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) nodes: Vec<Node>,
    /// The keys of each descriptor, in the order in which they are looked for.
    pub(super) keys: BTreeMap<usize, Vec<String>>,
    /// How many nodes have each limit.
    pub(super) uses: Vec<usize>,
}

/// Why there is none: where, what and the way out.
pub(super) type Refused = (Span, String, String);

/// What one entry on the way is.
type Step<'w> = (&'w str, &'w Class);

pub(super) fn build(limits: &[Limit]) -> Result<Built, Refused> {
    let mut built = Built { uses: vec![0; limits.len()], ..Built::default() };
    for limit in limits {
        let descriptor = limit.descriptor();
        for reference in limit.references() {
            if reference.descriptor != descriptor {
                let message =
                    "this limit needs entries of two descriptors, and a limit of ours is reached by one";
                let hint = "have Envoy send those entries in one descriptor, and write both with its number";
                return Err((limit.span, message.to_owned(), hint.to_owned()));
            }
            let keys = built.keys.entry(descriptor).or_default();
            if !keys.contains(&reference.key) {
                keys.push(reference.key.clone());
            }
        }
        literals(limit)?;
    }
    for (descriptor, keys) in built.keys.clone() {
        let builder = Builder::new(limits, descriptor, keys);
        let nodes = builder.below(0, &mut Vec::new(), &mut built.uses, &mut 0)?;
        for node in nodes {
            if built.nodes.iter().any(|other| other.key == node.key && other.class == node.class) {
                let message = format!(
                    "`{}` is an entry of two descriptors, and ours are not told apart by their number",
                    node.key
                );
                let hint = "have Envoy send it under another key in one of them";
                return Err((
                    limits.first().map_or(Span::START, |limit| limit.span),
                    message,
                    hint.to_owned(),
                ));
            }
            built.nodes.push(node);
        }
    }
    if built.keys.is_empty() {
        built.nodes.extend(everything(limits.len(), DEEPEST, &mut built.uses));
    }
    Ok(built)
}

/// A descriptor of any keys, each node of which has all limits.
fn everything(limits: usize, deep: usize, uses: &mut [usize]) -> Option<Node> {
    let further = deep.checked_sub(1)?;
    for used in uses.iter_mut() {
        *used += 1;
    }
    let children = everything(limits, further, uses).into_iter().collect();
    Some(Node { key: "*".to_owned(), class: Class::Other, limits: (0..limits).collect(), children })
}

/// Texts that a policy's `value:` cannot be.
fn literals(limit: &Limit) -> Result<(), Refused> {
    for condition in &limit.conditions {
        let prefix = if let Test::StartsWith(prefix) = &condition.test { Some(prefix) } else { None };
        for text in condition.test.literals().iter().chain(prefix) {
            let what = match text.as_str() {
                "" => "an empty value has no descriptor of its own here",
                text if text.contains('*') => "a `*` in a value stands for any text here",
                _ => continue,
            };
            let hint = "have Envoy send another value for it, and write that";
            return Err((limit.span, format!("`{text}`: {what}"), hint.to_owned()));
        }
    }
    Ok(())
}

struct Builder<'l> {
    limits: &'l [Limit],
    descriptor: usize,
    keys: Vec<String>,
    /// The classes of each key, the narrower before the wider.
    classes: Vec<Vec<Class>>,
}

impl<'l> Builder<'l> {
    fn new(limits: &'l [Limit], descriptor: usize, keys: Vec<String>) -> Self {
        let classes = keys.iter().map(|key| {
            let mut exact: Vec<&str> = Vec::new();
            let mut prefixes: Vec<&str> = Vec::new();
            let of_key = limits.iter().flat_map(|limit| &limit.conditions);
            for condition in of_key.filter(|one| one.of.descriptor == descriptor && one.of.key == *key) {
                exact.extend(condition.test.literals().iter().map(String::as_str));
                if let Test::StartsWith(prefix) = &condition.test {
                    prefixes.push(prefix);
                }
            }
            let mut seen = Vec::new();
            exact.retain(|text| {
                !seen.contains(text) && {
                    seen.push(text);
                    true
                }
            });
            // Of two prefixes the longer one is tried first.
            prefixes.sort_by_key(|prefix| (std::cmp::Reverse(prefix.len()), *prefix));
            prefixes.dedup();
            let exact = exact.into_iter().map(|text| Class::Exactly(text.to_owned()));
            let prefixes = prefixes.into_iter().map(|prefix| Class::Prefix(prefix.to_owned()));
            exact.chain(prefixes).chain([Class::Other]).collect()
        });
        let classes = classes.collect();
        Self { limits, descriptor, keys, classes }
    }

    /// The nodes after `way`, for keys from `from` on.
    fn below(
        &self,
        from: usize,
        way: &mut Vec<(usize, Class)>,
        uses: &mut [usize],
        tried: &mut usize,
    ) -> Result<Vec<Node>, Refused> {
        let mut nodes = Vec::new();
        for at in from..self.keys.len() {
            let mut of_key: Vec<Node> = Vec::new();
            // From the widest on: a narrower one that limits nothing is needed where a wider one is there.
            for class in self.classes[at].iter().rev() {
                way.push((at, class.clone()));
                *tried += 1;
                let limits = self.applying(way);
                for limit in &limits {
                    uses[*limit] += 1;
                }
                let children = self.below(at + 1, way, uses, tried)?;
                way.pop();
                if !limits.is_empty() || !children.is_empty() || !of_key.is_empty() {
                    of_key.insert(
                        0,
                        Node { key: self.keys[at].clone(), class: class.clone(), limits, children },
                    );
                }
            }
            nodes.append(&mut of_key);
        }
        if uses.iter().sum::<usize>() > MOST || *tried > MOST_TRIED {
            let span = self.limits.first().map_or(Span::START, |limit| limit.span);
            let message =
                format!("{} keys and their values go together in more than {MOST} ways", self.keys.len());
            let hint =
                "have Envoy send a descriptor for each limit instead of all entries in one, and write those";
            return Err((span, message, hint.to_owned()));
        }
        Ok(nodes)
    }

    /// The limits whose entries are all on the way, and as they have to be.
    fn applying(&self, way: &[(usize, Class)]) -> Vec<usize> {
        let steps: Vec<Step<'_>> = way.iter().map(|(at, class)| (self.keys[*at].as_str(), class)).collect();
        let applies = |limit: &Limit| {
            let is_here = limit.references().all(|one| one.descriptor == self.descriptor);
            is_here
                && limit.references().all(|one| steps.iter().any(|(key, _)| *key == one.key))
                && limit.conditions.iter().all(|condition| {
                    let class = steps.iter().find(|(key, _)| *key == condition.of.key);
                    class.is_some_and(|(_, class)| holds(&condition.test, class))
                })
        };
        (0..self.limits.len()).filter(|at| applies(&self.limits[*at])).collect()
    }
}

/// What `test` says of every value of `class`: none of them is in a narrower class.
fn holds(test: &Test, class: &Class) -> bool {
    match (test, class) {
        (Test::Is(wanted), Class::Exactly(value)) => wanted == value,
        (Test::IsNot(wanted), Class::Exactly(value)) => wanted != value,
        (Test::OneOf(wanted), Class::Exactly(value)) => wanted.contains(value),
        (Test::StartsWith(prefix), Class::Exactly(value) | Class::Prefix(value)) => value.starts_with(prefix),
        (Test::IsNot(_), _) => true,
        (Test::Is(_) | Test::OneOf(_) | Test::StartsWith(_), _) => false,
    }
}
