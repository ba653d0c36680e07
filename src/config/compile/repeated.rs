//! Keys that are given twice in one mapping: of two limits, one would be dropped in silence.

use std::collections::HashSet;

use super::{Document, Kind, Node};
use crate::yaml::{Pairs, Span};

impl Document<'_, '_> {
    /// Tells of every key that its mapping has already, in the policy's own words and in names of its users' alike.
    pub(super) fn repeated_keys(&mut self, document: Node<'_>) {
        let mut found = Vec::new();
        look(document, &mut found);
        // What aliases stand for is looked at once for each of them.
        let mut told = HashSet::new();
        for (span, key) in found {
            if told.insert((span.line, span.column)) {
                self.tolerate(span, &format!("`{key}` is given twice"), Some("the last one counts"));
            }
        }
    }
}

fn look<'n>(node: Node<'n>, found: &mut Vec<(Span, &'n str)>) {
    match node.kind() {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.for_each(|item| look(item, found)),
        Kind::Mapping(pairs) => {
            repeated(pairs.clone(), found);
            pairs.for_each(|(_, value)| look(value, found));
        }
    }
}

/// Most mappings have few keys, which are compared as they are.
fn repeated<'n>(pairs: Pairs<'n>, found: &mut Vec<(Span, &'n str)>) {
    const FEW: usize = 16;
    let (mut few, mut known) = ([""; FEW], HashSet::new());
    let keys = pairs.filter_map(|(key, _)| match key.kind() {
        Kind::Scalar { text, .. } => Some((key.span(), text)),
        _ => None,
    });
    for (number, (span, key)) in keys.enumerate() {
        let before = few.get(..number).unwrap_or(&few);
        if before.contains(&key) || number > FEW && known.contains(key) {
            found.push((span, key));
        }
        match few.get_mut(number) {
            Some(place) => *place = key,
            None => drop(known.insert(key)),
        }
    }
}
