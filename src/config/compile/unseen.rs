//! Characters that nobody sees, in what requests are compared with.

use super::{DiagnosticKind, Document, Kind, Node, Severity};
use crate::yaml::{Invisible, Span, invisible};

/// Below these words stands text that people read, which may hold any character.
const TEXTS: [&str; 4] = ["metadata", "headers", "request_headers", "deny"];
/// Below these words keys are no words of the language but values of requests and of subjects.
const NAMES: [&str; 3] = ["values", "exempt", "endpoints"];

impl Document<'_, '_> {
    /// Warns of values that hold such a character. Nothing is said of one that was written by its number.
    pub(super) fn unseen_characters(&mut self, document: Node<'_>) {
        if self.source.without_mark().is_ascii() {
            return;
        }
        let mut found = Vec::new();
        look(document, false, &mut found);
        // Each place is reported once, however many aliases repeat it.
        found.sort_by_key(|(span, ..)| (span.line, span.column));
        found.dedup_by_key(|(span, ..)| (span.line, span.column));
        for (span, text, character) in found {
            if !self.source.without_mark().contains(character.0) {
                continue;
            }
            let message = format!("there is {character} in `{}`", text.escape_debug());
            let code = u32::from(character.0);
            let escape = if code > 0xffff { format!("\\U{code:08X}") } else { format!("\\u{code:04X}") };
            let hint = format!("remove it, or write `\"{escape}\"` in double quotes if it is meant");
            self.of_kind(DiagnosticKind::UnseenCharacter, |this| {
                this.report(Severity::Warning, span, &message, Some(&hint));
            });
        }
    }
}

fn look<'n>(node: Node<'n>, are_names: bool, found: &mut Vec<(Span, &'n str, Invisible)>) {
    match node.kind() {
        Kind::Scalar { text, .. } => {
            found.extend(invisible(text).map(|character| (node.span(), text, character)));
        }
        Kind::Sequence(items) => items.for_each(|item| look(item, are_names, found)),
        Kind::Mapping(pairs) => {
            for (key, value) in pairs {
                if are_names {
                    look(key, false, found);
                }
                match key.kind() {
                    Kind::Scalar { text, .. } if TEXTS.contains(&text) => {}
                    Kind::Scalar { text, .. } => look(value, NAMES.contains(&text), found),
                    _ => {}
                }
            }
        }
    }
}
