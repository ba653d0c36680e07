//! The top of a policy: its domain, and what holds for all of it.

use std::sync::Arc;

use super::descriptor::Inherited;
use super::{Document, Fields, Node, Scope, scalar};
use crate::config::words::choices;
use crate::policy::{Evaluate, Shape};

impl Document<'_, '_> {
    pub(super) fn root(mut self, root: Node<'_>) {
        let Some(fields) = self.fields(root, Scope::Root) else { return };
        let Some(domain) = fields.get("domain") else {
            if !fields.misspelt {
                self.error(root.span(), "the policy has no domain", Some("begin with `domain: NAME`"));
            }
            return;
        };
        self.domain = self.read(domain, scalar::text).unwrap_or_default().to_owned();
        if self.domain.is_empty() {
            return self.error(domain.span(), "the domain has no name", None);
        }
        self.first_of_its_name(domain, &fields);

        // Taken out while it grows, so that mistakes can be reported meanwhile.
        let mut compiled = std::mem::take(self.compiler.policy.domain_mut(&self.domain));
        if fields.get("evaluate").is_some() {
            compiled.evaluate = self.evaluate(&fields);
        }
        if let Some(endpoints) = self.endpoints(&fields) {
            compiled.endpoints = Some(endpoints);
        }
        if let Some(file) = fields.get("subjects") {
            compiled.directory = self.subjects(file);
        }
        self.has_subjects = compiled.directory.is_some() || fields.get("subjects").is_some();
        compiled.request_headers.extend(self.request_headers(&fields));
        let default = self.compiler.options.headers.iter().cloned().collect();
        let default = Arc::new(Shape { headers: default, denial: None });
        compiled.shape = self.shape(&fields, &default);
        let shape = Arc::clone(&compiled.shape);
        let inherited = Inherited::root(
            compiled.evaluate,
            shape,
            compiled.endpoints.as_ref(),
            compiled.directory.as_ref(),
        );
        self.descriptors(fields.get("descriptors"), &mut compiled.root, &inherited);
        compiled.secrets.extend(std::mem::take(&mut self.secrets));
        *self.compiler.policy.domain_mut(&self.domain) = compiled;
    }

    /// A domain is described once, unless merging is allowed; what holds for all of it is said only once in any case.
    fn first_of_its_name(&mut self, domain: Node<'_>, fields: &Fields<'_>) {
        let Some(first) = self.compiler.domains.get(&self.domain).cloned() else {
            let place = self.source.place(domain.span());
            self.compiler.domains.insert(self.domain.clone(), place);
            return;
        };
        if !self.compiler.options.merge_domains {
            let message = format!("domain `{}` was described before, at {first}", self.domain);
            let hint = "put them together, or allow it with --merge-domains";
            return self.error(domain.span(), &message, Some(hint));
        }
        for word in ["evaluate", "endpoints", "undeclared", "ignore_case", "subjects"] {
            if let Some(node) = fields.get(word) {
                let message = format!("`{word}` holds for the whole domain, which begins at {first}");
                self.error(node.span(), &message, Some("say it there"));
            }
        }
    }

    fn evaluate(&mut self, fields: &Fields<'_>) -> Evaluate {
        let names = Evaluate::NAMES.map(|(name, _)| name);
        let Some(node) = fields.get("evaluate") else { return Evaluate::default() };
        let name = match scalar::text(node) {
            Ok(name) => name,
            Err(wrong) => {
                let hint = choices("", "ways to evaluate", &names);
                self.error(node.span(), &wrong.message, Some(&hint));
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
