//! `endpoints`, what stands beside it, and whether descriptors ask for endpoints that there are.

use std::num::NonZeroU8;

use super::{DiagnosticKind, Document, Fields, Kind, Node, Scope, scalar};
use crate::config::words::did_you_mean;
use crate::policy::{Endpoints, Pattern, Undeclared};

/// The most segments by which undeclared endpoints are told apart.
pub(in crate::config) const MOST_SEGMENTS: u32 = 16;

impl Document<'_, '_> {
    /// A list of templates, or of names with a list of templates each.
    pub(super) fn endpoints(&mut self, fields: &Fields<'_>) -> Option<Endpoints> {
        let undeclared = fields.get("undeclared").and_then(|node| self.undeclared(node)).unwrap_or_default();
        let ignore_case = self.flag(fields, "ignore_case").unwrap_or_default();
        let Some(list) = fields.get("endpoints") else {
            for word in ["undeclared", "ignore_case"] {
                if fields.get(word).is_some() {
                    let hint = "without `endpoints`, paths are compared as they are";
                    self.misplaced(
                        fields,
                        word,
                        &format!("`{word}` needs `endpoints` beside it"),
                        Some(hint),
                    );
                }
            }
            return None;
        };
        let mut endpoints = Endpoints::new(undeclared, ignore_case);
        for item in self.items(list) {
            if let Kind::Mapping(pairs) = item.kind() {
                for (name, templates) in pairs {
                    let Some(name) = self.read(name, scalar::text) else { continue };
                    for template in self.items(templates) {
                        self.endpoint(&mut endpoints, Some(name), template);
                    }
                }
            } else {
                self.endpoint(&mut endpoints, None, item);
            }
        }
        if let Err(error) = endpoints.check() {
            self.wrong_value(list.span(), &error.to_string(), error.hint());
        }
        Some(endpoints)
    }

    fn endpoint(&mut self, endpoints: &mut Endpoints, name: Option<&str>, template: Node<'_>) {
        let Some(text) = self.read(template, scalar::text) else { return };
        if let Err(error) = endpoints.add(name, text) {
            self.wrong_value(template.span(), &error.to_string(), error.hint());
        }
    }

    /// `one`, or `{segments: N}`.
    fn undeclared(&mut self, node: Node<'_>) -> Option<Undeclared> {
        const CHOICES: &str = "write `one`, or `{segments: 2}` to tell them apart by method and two segments";
        if let Kind::Scalar { text, .. } = node.kind() {
            if text != "one" {
                self.wrong_value(
                    node.span(),
                    &format!("undeclared endpoints cannot be `{text}`"),
                    Some(CHOICES),
                );
            }
            return None;
        }
        let fields = self.fields(node, Scope::Undeclared)?;
        let Some(segments) = fields.get("segments") else {
            if !fields.misspelt {
                self.wrong_value(node.span(), "nothing tells undeclared endpoints apart", Some(CHOICES));
            }
            return None;
        };
        let number = self.read(segments, scalar::whole_number)?;
        match u8::try_from(number).ok().and_then(NonZeroU8::new) {
            Some(segments) if number <= MOST_SEGMENTS => Some(Undeclared::Segments(segments)),
            _ => {
                let message = format!("undeclared endpoints cannot be told apart by {number} segments");
                let hint = format!("write a number from 1 to {MOST_SEGMENTS}, or `undeclared: one`");
                self.wrong_value(segments.span(), &message, Some(&hint));
                None
            }
        }
    }

    /// Refuses an `endpoint` that no request is called by: its limit would never apply.
    pub(super) fn endpoint_value(&mut self, fields: &Fields<'_>, value: &str, endpoints: &Endpoints) {
        let can_be = match Pattern::parse(value) {
            None => endpoints.can_be(value),
            // Which names there are beside the declared ones is up to clients.
            Some(pattern) => endpoints.tells_apart() || endpoints.names().any(|name| pattern.matches(name)),
        };
        if !can_be {
            let hint = did_you_mean(value, endpoints.names().filter_map(|name| str::from_utf8(name).ok()));
            let hint = hint.as_deref().unwrap_or("declare it under `endpoints`");
            let message = format!("no request has the endpoint `{value}`");
            self.of_kind(DiagnosticKind::UnreachableRule, |this| {
                this.error_at(fields, "value", &message, Some(hint));
            });
        }
    }
}
