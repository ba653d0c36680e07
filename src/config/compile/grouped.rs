//! Digits that are grouped by commas inside braces: `{free: 10,000}` is 10 and a key `000` to YAML.

use std::collections::HashSet;

use super::{DiagnosticKind, Document, Kind, Node};
use crate::yaml::Span;

/// A number that YAML takes apart.
struct Grouped {
    at: Span,
    /// As it was typed.
    text: String,
    /// What was taken for keys without values, and where their values would be.
    groups: Vec<Span>,
}

impl Document<'_, '_> {
    /// Reports each such number once, and nothing else about its groups.
    pub(super) fn grouped_digits(&mut self, document: Node<'_>) {
        let mut found = Vec::new();
        look(document, &mut found);
        let mut reported = HashSet::new();
        for Grouped { at, text, groups } in found {
            // What aliases stand for is looked at once for each of them.
            if !reported.insert((at.line, at.column)) {
                continue;
            }
            let message = format!("`{text}` is no number inside braces, where a comma ends it");
            let hint = format!("write the digits alone, `{}`", text.replace(',', ""));
            let span = Span { length: text.len(), ..at };
            self.of_kind(DiagnosticKind::WrongValue, |this| this.error(span, &message, Some(&hint)));
            let places = groups.iter().map(|span| self.source.place(*span));
            self.compiler.explained.extend(places.map(|place| (place.file, place.line, place.column)));
        }
    }
}

fn look(node: Node<'_>, found: &mut Vec<Grouped>) {
    match node.kind() {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.for_each(|item| look(item, found)),
        Kind::Mapping(pairs) => {
            // The number before, to which a group may belong, and where it ends.
            let mut number: Option<Grouped> = None;
            for (key, value) in pairs {
                let group = number.as_mut().filter(|number| is_group(key, value, number));
                if let (Some(number), Kind::Scalar { text, .. }) = (group, key.kind()) {
                    number.text += &format!(",{text}");
                    number.groups.extend([key.span(), value.span()]);
                    continue;
                }
                found.extend(number.take().filter(|number| !number.groups.is_empty()));
                number = plain(value)
                    .filter(|text| (1..=3).contains(&text.len()) && digits(text))
                    .map(|text| Grouped { at: value.span(), text: text.to_owned(), groups: Vec::new() });
                look(value, found);
            }
            found.extend(number.filter(|number| !number.groups.is_empty()));
        }
    }
}

/// Three digits right behind the comma that ends `number`, and nothing behind them.
fn is_group(key: Node<'_>, value: Node<'_>, number: &Grouped) -> bool {
    let (is_digits, at) = (plain(key).is_some_and(|text| text.len() == 3 && digits(text)), key.span());
    let behind = number.at.column + number.text.len() + 1;
    is_digits && value.is_null() && (at.line, at.column) == (number.at.line, behind)
}

fn plain(node: Node<'_>) -> Option<&str> {
    if let Kind::Scalar { text, plain: true } = node.kind() { Some(text) } else { None }
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
