//! The wildcards that are listed beside each other, found by what stands before their first star.
//!
//! However many there are, a value is looked up once for each *length* of such beginnings, and compared only with the
//! wildcards that begin as it does.

use std::collections::HashMap;

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
    /// Places in `listed`, rising, by what stands before the first star.
    stems: HashMap<Box<[u8]>, Vec<usize>>,
    /// The lengths of all stems, each once.
    lengths: Vec<usize>,
}

impl Wildcards {
    /// Adds one of a higher rank than all before. Gives back the node that already has the pattern.
    pub(super) fn push(&mut self, wildcard: Wildcard) -> Result<(), &Node> {
        let stem = wildcard.pattern.stem();
        let mut same = self.stems.get(stem).into_iter().flatten();
        if let Some(&at) = same.find(|&&at| self.listed[at].pattern == wildcard.pattern) {
            return Err(&self.listed[at].node);
        }
        if !self.lengths.contains(&stem.len()) {
            self.lengths.push(stem.len());
        }
        self.stems.entry(stem.into()).or_default().push(self.listed.len());
        self.listed.push(wildcard);
        Ok(())
    }

    /// The first one listed that `text` fits.
    pub(super) fn find(&self, text: &[u8]) -> Option<&Wildcard> {
        let stems = self.lengths.iter().filter_map(|&length| self.stems.get(text.get(..length)?));
        let first = |places: &Vec<usize>| {
            let mut wildcards = places.iter().map(|&at| &self.listed[at]);
            wildcards.find(|wildcard| wildcard.pattern.matches(text))
        };
        stems.filter_map(first).min_by_key(|wildcard| wildcard.rank)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The nodes of all of them.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.listed.iter().map(|wildcard| &wildcard.node)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Level, Place};

    fn wildcard(rank: usize, pattern: Pattern) -> Wildcard {
        let node = Node {
            place: Place { file: Arc::from("p.yaml"), line: rank, column: 1 },
            label: String::new(),
            rule: None,
            children: Level::default(),
            shared: None,
            value_to_metric: false,
            subject: None,
            exempt: Vec::new(),
        };
        Wildcard { rank, pattern, node }
    }

    proptest! {
        #[test]
        fn the_first_that_fits_is_found_as_if_each_were_tried(
            patterns in prop::collection::vec("[ab*]{0,4}\\*[ab*]{0,2}", 0..12),
            text in "[ab]{0,6}",
        ) {
            let mut wildcards = Wildcards::default();
            let mut listed: Vec<Pattern> = Vec::new();
            for pattern in patterns.iter().filter_map(|pattern| Pattern::parse(pattern)) {
                let twice = listed.iter().position(|earlier| *earlier == pattern);
                let added = wildcards.push(wildcard(listed.len(), pattern.clone()));
                prop_assert_eq!(added.err().map(|node| node.place.line), twice);
                if twice.is_none() {
                    listed.push(pattern);
                }
            }
            let one_by_one = listed.iter().position(|pattern| pattern.matches(text.as_bytes()));
            prop_assert_eq!(wildcards.find(text.as_bytes()).map(|found| found.rank), one_by_one);
        }
    }
}
