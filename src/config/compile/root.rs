//! The top of a policy: its domain, and what holds for all of it.

use std::collections::HashMap;
use std::sync::Arc;

use super::descriptor::Inherited;
use super::{DiagnosticKind, Document, Fields, Kind, Node, Scope, Severity, scalar};
use crate::config::load::OnRefusal;
use crate::config::words::choices;
use crate::policy::{Evaluate, Place, Shape};

/// The words about answers, and about those without the store, that hold for a whole domain, or as far as nothing nearer says
/// otherwise.
const ANSWERS: [&str; 4] = ["headers", "deny", "request_headers", "on_store_failure"];

/// The first document of a domain.
pub(super) struct First {
    /// Where its name stands.
    place: Place,
    /// What it says about answers: where, and what.
    answers: HashMap<&'static str, (Place, serde_json::Value)>,
    /// Which limits of the domain count a refused request; later documents say no more of that.
    on_refusal: OnRefusal,
}

impl Document<'_, '_> {
    pub(super) fn root(mut self, root: Node<'_>) {
        let Some(fields) = self.fields(root, Scope::Root) else { return };
        let Some(domain) = fields.get("domain") else {
            if !fields.misspelt {
                let is_of_subjects =
                    fields.get("subjects").is_some_and(|value| matches!(value.kind(), Kind::Sequence(_)));
                let hint = if is_of_subjects {
                    let name = self.source.file.rsplit('/').next().unwrap_or_default();
                    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
                    format!(
                        "if it is a file of subjects, name it `{stem}.subjects.yaml`; a policy begins with `domain: NAME`"
                    )
                } else {
                    "begin with `domain: NAME`".to_owned()
                };
                self.error(root.span(), "the policy has no domain", Some(&hint));
            }
            return;
        };
        self.domain = self.read(domain, scalar::text).unwrap_or_default().to_owned();
        if self.domain.is_empty() {
            return self.wrong_value(domain.span(), "the domain has no name", None);
        }
        if self.is_compatible && !fields.misspelt && !has_descriptors(root) {
            let message = format!("domain `{}` has no descriptors here, so nothing is limited", self.domain);
            let hint = "list some below `descriptors:`, or write `descriptors: []` if none are meant";
            self.report(Severity::Warning, domain.span(), &message, Some(hint));
        }
        let is_first = self.first_of_its_name(domain, &fields);

        // Taken out while it grows, so that mistakes can be reported meanwhile.
        let mut compiled = std::mem::take(self.compiler.policy.domain_mut(&self.domain));
        let on_refusal = self.compiler.domains.get(&self.domain).map(|first| first.on_refusal);
        let on_refusal = on_refusal.unwrap_or_default();
        if fields.get("evaluate").is_some() {
            compiled.evaluate = self.evaluate(&fields);
        } else if is_first && on_refusal == OnRefusal::RefusingCount {
            compiled.evaluate = Evaluate::AllOrNothing;
        }
        if let Some(endpoints) = self.endpoints(&fields) {
            compiled.endpoints = Some(Arc::new(endpoints));
        }
        if let Some(file) = fields.get("subjects") {
            compiled.directory = self.subjects(file).map(Arc::new);
        }
        self.has_subjects = compiled.directory.is_some() || fields.get("subjects").is_some();
        // A later document takes these over from the first one.
        if is_first {
            compiled.request_headers = self.request_headers(&fields);
            let default = self.compiler.options.headers.iter().cloned().collect();
            let default = Arc::new(Shape { headers: default, denial: None });
            compiled.shape = self.shape(&fields, &default);
            compiled.on_store_failure = self.on_store_failure(&fields).unwrap_or_default();
            compiled.only_watched = self.compiler.options.shadow_mode;
        }
        let shape = Arc::clone(&compiled.shape);
        let inherited = Inherited::root(
            compiled.evaluate,
            on_refusal,
            shape,
            compiled.on_store_failure,
            compiled.endpoints.as_deref(),
            compiled.directory.as_deref(),
        );
        // Nobody shares it while it is read.
        if let Some(root) = Arc::get_mut(&mut compiled.root) {
            self.descriptors(fields.get("descriptors"), root, &inherited);
        }
        compiled.secrets.extend(std::mem::take(&mut self.secrets));
        *self.compiler.policy.domain_mut(&self.domain) = compiled;
    }

    /// A domain is described once, unless merging is allowed; what holds for all of it is said only once in any case. Returns
    /// whether this document is the first of its domain.
    fn first_of_its_name(&mut self, domain: Node<'_>, fields: &Fields<'_>) -> bool {
        let Some(first) = self.compiler.domains.get(&self.domain) else {
            let place = self.source.place(domain.span());
            let answers = ANSWERS.iter().filter_map(|word| {
                let node = fields.get(word)?;
                Some((*word, (self.source.place(node.span()), scalar::json(node))))
            });
            let on_refusal = match fields.get("evaluate") {
                None => self.compiler.options.on_refusal,
                Some(_) => OnRefusal::AllCount,
            };
            let first = First { place, answers: answers.collect(), on_refusal };
            self.compiler.domains.insert(self.domain.clone(), first);
            return true;
        };
        let place = first.place.clone();
        if !self.compiler.options.merge_domains {
            let message = format!("domain `{}` was described before, at {place}", self.domain);
            let hint = "put them together, or allow it with --merge-domains";
            self.of_kind(DiagnosticKind::RepeatedRule, |this| {
                this.error(domain.span(), &message, Some(hint));
            });
            return false;
        }
        let mut wrong = Vec::new();
        for word in ["evaluate", "endpoints", "undeclared", "ignore_case", "subjects"] {
            wrong.extend(fields.get(word).map(|node| (word, node.span(), None)));
        }
        for word in ANSWERS {
            let Some(node) = fields.get(word) else { continue };
            match first.answers.get(word) {
                // Files that are generated from one template may all say it.
                Some((_, said)) if *said == scalar::json(node) => {}
                Some((place, _)) => wrong.push((word, node.span(), Some(place.clone()))),
                None => wrong.push((word, node.span(), None)),
            }
        }
        for (word, span, differs_from) in wrong {
            let (message, hint) = match differs_from {
                Some(said) => (
                    format!("`{word}` holds for the whole domain, and is something else at {said}"),
                    "write both alike, or leave this one out",
                ),
                None => {
                    (format!("`{word}` holds for the whole domain, which begins at {place}"), "say it there")
                }
            };
            self.of_kind(DiagnosticKind::MisplacedWord, |this| this.error(span, &message, Some(hint)));
        }
        false
    }

    fn evaluate(&mut self, fields: &Fields<'_>) -> Evaluate {
        let names = Evaluate::NAMES.map(|(name, _)| name);
        let Some(node) = fields.get("evaluate") else { return Evaluate::default() };
        let name = match scalar::text(node) {
            Ok(name) => name,
            Err(wrong) => {
                let hint = choices("", "ways to evaluate", &names);
                self.wrong_value(node.span(), &wrong.message, Some(&hint));
                return Evaluate::default();
            }
        };
        let known = Evaluate::NAMES.iter().find(|(known, _)| *known == name);
        known.map_or_else(
            || {
                let hint = choices(name, "ways to evaluate", &names);
                self.wrong_value(node.span(), &format!("unknown way to evaluate `{name}`"), Some(&hint));
                Evaluate::default()
            },
            |(_, evaluate)| *evaluate,
        )
    }
}

/// Whether the word is there, even if it lists nothing.
fn has_descriptors(root: Node<'_>) -> bool {
    let Kind::Mapping(mut pairs) = root.kind() else { return false };
    pairs.any(|(key, _)| scalar::text(key) == Ok("descriptors"))
}
