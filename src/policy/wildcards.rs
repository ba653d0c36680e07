//! The wildcards that are listed beside each other, and which of them a value fits first.
//!
//! All are looked for at once, in time that grows with the value and not with them; see `search`.

mod candidates;
mod index;
mod literals;
mod search;

use std::collections::HashMap;
use std::sync::OnceLock;

use self::index::Index;
pub use self::search::{Scratch, UNKNOWN};
use super::{Node, Pattern};

/// A node for all values, or keys, that fit a pattern.
#[derive(Debug)]
pub(super) struct Wildcard {
    /// Its place in the list, counted over all lists of a level.
    pub(super) rank: usize,
    pub(super) pattern: Pattern,
    pub(super) node: Node,
}

/// Wildcards in the order of their ranks.
#[derive(Debug, Default)]
pub(super) struct Wildcards {
    listed: Vec<Wildcard>,
    /// Places in `listed`.
    places: HashMap<Box<[u8]>, usize>,
    /// Made when all are listed. None where they are such that it would be too large.
    index: OnceLock<Option<Box<Index>>>,
}

impl Wildcards {
    /// Adds one of a higher rank than all before. Gives back the node that already has the pattern.
    pub(super) fn push(&mut self, wildcard: Wildcard) -> Result<(), &Node> {
        if let Some(&at) = self.places.get(wildcard.pattern.as_bytes()) {
            return Err(&self.listed[at].node);
        }
        self.index = OnceLock::new();
        self.places.insert(wildcard.pattern.as_bytes().into(), self.listed.len());
        self.listed.push(wildcard);
        Ok(())
    }

    /// Makes all ready to be found, which else the first search does.
    pub(super) fn prepare(&self) {
        if !self.is_empty() {
            self.index();
        }
    }

    /// The first one listed that `text` fits.
    pub(super) fn find(&self, text: &[u8], scratch: &mut Scratch) -> Option<&Wildcard> {
        if self.is_empty() {
            return None;
        }
        match self.index() {
            Some(index) => scratch.find(index, text).map(|place| &self.listed[place]),
            None => scratch.find_one_by_one(&self.listed, text),
        }
    }

    fn index(&self) -> Option<&Index> {
        let make = || Index::new(self.listed.iter().map(|wildcard| &wildcard.pattern)).map(Box::new);
        self.index.get_or_init(make).as_deref()
    }

    /// All of them, where to look for each of them is cheap.
    pub(super) fn searchable(&self) -> &[Wildcard] {
        const FEW: usize = 1000;
        if self.listed.len() <= FEW || self.index().is_some() { &self.listed } else { &[] }
    }

    /// All of them, in the order of their ranks.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Wildcard> {
        self.listed.iter()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The nodes of all of them.
    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.listed.iter_mut().map(|wildcard| &mut wildcard.node)
    }

    /// The nodes of all of them.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.listed.iter().map(|wildcard| &wildcard.node)
    }
}

#[cfg(test)]
mod tests;
