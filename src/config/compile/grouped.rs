//! Digits that are grouped by commas inside braces: `{free: 10,000}` is 10 and a key `000` to YAML.

use std::collections::HashSet;

use super::{DiagnosticKind, Document, Kind, Node};
use crate::yaml::{Grouped, Span};

/// A number that YAML may have taken apart.
struct Number {
    grouped: Grouped,
    at: Span,
    /// What was taken for keys without values, and where their values would be.
    groups: Vec<Span>,
}

impl Document<'_, '_> {
    /// Reports each such number once, and nothing else about its groups.
    pub(super) fn grouped_digits(&mut self, document: Node<'_>) {
        let mut found = Vec::new();
        look(document, &mut found);
        let mut reported = HashSet::new();
        for Number { grouped, at, groups } in found {
            let Some((length, message, hint)) = grouped.finish(false) else { continue };
            // What aliases stand for is looked at once for each of them.
            if !reported.insert((at.line, at.column)) {
                continue;
            }
            let span = Span { length, ..at };
            self.of_kind(DiagnosticKind::WrongValue, |this| this.error(span, &message, Some(&hint)));
            let places = groups.iter().map(|span| self.source.place(*span));
            self.compiler.explained.extend(places.map(|place| (place.file, place.line, place.column)));
        }
    }
}

fn look(node: Node<'_>, found: &mut Vec<Number>) {
    match node.kind() {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.for_each(|item| look(item, found)),
        Kind::Mapping(pairs) => {
            // The number before, to which a group may belong.
            let mut number: Option<Number> = None;
            for (key, value) in pairs {
                let follows = |number: &Number| number.grouped.is_followed_by(plain(key), position(key));
                if let (Some(before), Some(group)) = (number.as_mut(), plain(key))
                    && value.is_null()
                    && follows(before)
                {
                    before.grouped.push(group);
                    before.groups.extend([key.span(), value.span()]);
                    continue;
                }
                found.extend(number.take());
                let grouped = Grouped::begin(plain(value), position(value));
                number = grouped.map(|grouped| Number { grouped, at: value.span(), groups: Vec::new() });
                look(value, found);
            }
            found.extend(number);
        }
    }
}

fn plain(node: Node<'_>) -> Option<&str> {
    if let Kind::Scalar { text, plain: true } = node.kind() { Some(text) } else { None }
}

fn position(node: Node<'_>) -> (usize, usize) {
    (node.span().line, node.span().column)
}
