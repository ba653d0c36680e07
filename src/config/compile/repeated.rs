//! Keys that are given twice in one mapping: of two limits, one would be dropped in silence.

use std::collections::HashSet;

use super::descriptor::label;
use super::{Document, Kind, Node, scalar};
use crate::hint::LISTED;
use crate::yaml::{Pairs, Span};

impl Document<'_, '_> {
    /// Reports every key that its mapping has already, be it a word of the language or a name that users chose.
    pub(super) fn repeated_keys(&mut self, document: Node<'_>) {
        let mut found = Vec::new();
        look(document, &mut found);
        // What aliases stand for is looked at once for each of them.
        let mut reported = HashSet::new();
        for Repeated { at, key, before } in found {
            if !reported.insert((at.line, at.column)) {
                continue;
            }
            match before.map(labels).filter(|lost| !lost.is_empty()) {
                Some(lost) => {
                    let message = format!("`{key}` is given twice, so the limits below {lost} are lost");
                    self.tolerate(at, &message, Some("the last one counts; make one list of them"));
                }
                None => self.tolerate(at, &format!("`{key}` is given twice"), Some("the last one counts")),
            }
        }
    }
}

struct Repeated<'n> {
    at: Span,
    key: &'n str,
    /// The list of descriptors before this one, which counts for nothing.
    before: Option<Node<'n>>,
}

/// The first descriptors of a list, for people.
fn labels(list: Node<'_>) -> String {
    let Kind::Sequence(items) = list.kind() else { return String::new() };
    let labelled = |item: Node<'_>| {
        let Kind::Mapping(pairs) = item.kind() else { return None };
        let text = |word: &str| {
            let mut pairs = pairs.clone();
            let (_, value) = pairs.find(|(key, _)| scalar::text(*key).is_ok_and(|key| key == word))?;
            scalar::text(value).ok()
        };
        Some(format!("`{}`", label(text("key").unwrap_or_default(), text("value").unwrap_or_default())))
    };
    let mut labels: Vec<_> = items.take(LISTED + 1).filter_map(labelled).collect();
    if labels.len() > LISTED {
        labels.truncate(LISTED);
        labels.push("others".to_owned());
    }
    labels.join(", ")
}

fn look<'n>(node: Node<'n>, found: &mut Vec<Repeated<'n>>) {
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
fn repeated<'n>(pairs: Pairs<'n>, found: &mut Vec<Repeated<'n>>) {
    const FEW: usize = 16;
    let (mut few, mut known) = ([""; FEW], HashSet::new());
    let keys = pairs.filter_map(|(key, value)| match key.kind() {
        Kind::Scalar { text, .. } => Some((key.span(), text, value)),
        _ => None,
    });
    let mut descriptors = None;
    for (number, (at, key, value)) in keys.enumerate() {
        let before = if key == "descriptors" { descriptors.replace(value) } else { None };
        if few.get(..number).unwrap_or(&few).contains(&key) || number > FEW && known.contains(key) {
            found.push(Repeated { at, key, before });
        }
        match few.get_mut(number) {
            Some(place) => *place = key,
            None => drop(known.insert(key)),
        }
    }
}
