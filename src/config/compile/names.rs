//! What templates name that no request can fill in.

use super::subjects::Tell;
use super::{Compiler, DiagnosticKind, Document, Severity, did_you_mean};
use crate::config::Diagnostic;
use crate::policy::{ENDPOINT, Pattern};
use crate::response::{Name, Template};
use crate::yaml::Span;

/// An entry that a template names, to be looked up when all descriptors of its domain are known.
pub(super) struct NamedEntry {
    domain: String,
    key: String,
    unknown: Diagnostic,
}

impl Document<'_, '_> {
    /// Notes what a template names, and tells of what nothing can fill in: `severity` where nobody is ever known.
    pub(super) fn names(&mut self, span: Span, template: &Template, severity: Severity) {
        for name in template.names() {
            match name {
                Name::Subject | Name::Attribute(_) if !self.has_subjects => {
                    let shown = match name {
                        Name::Attribute(name) => format!("attribute.{name}"),
                        _ => "subject".to_owned(),
                    };
                    let message = format!("`{{{{{shown}}}}}` is never there: the domain has no subjects");
                    let hint = "name their file at the top, as in `subjects: shop.subjects.yaml`";
                    self.of_kind(DiagnosticKind::UnknownName, |this| {
                        this.report(severity, span, &message, Some(hint));
                    });
                }
                Name::Attribute(name) => {
                    self.asks_for_attribute(span, "{{attribute}}", name, "it stays empty", Tell::Always);
                }
                Name::Subject => {}
                Name::Entry(key) => {
                    let message = format!("`{{{{entry.{key}}}}}` names a key that no descriptor has");
                    let unknown = self.source.diagnose(Severity::Warning, span, message, None);
                    let (domain, key) = (self.domain.clone(), key.to_owned());
                    self.compiler.entries.push(NamedEntry { domain, key, unknown });
                }
            }
        }
    }
}

impl Compiler {
    /// Warns of entries that templates name and nothing has, or that are shown nowhere.
    pub(super) fn finish_names(&mut self) {
        for NamedEntry { domain, key, unknown } in std::mem::take(&mut self.entries) {
            let Some(compiled) = self.policy.domain(domain.as_bytes()) else { continue };
            if compiled.is_secret(key.as_bytes()) {
                let message = format!("`{{{{entry.{key}}}}}` is a credential, which is shown nowhere");
                let hint = Some("name who it belongs to, with `{{subject}}`".to_owned());
                self.add(Diagnostic { message, ..unknown }.hint(hint));
                continue;
            }
            let sent: &[&str] =
                if compiled.endpoints.is_some() { &[ENDPOINT, "method", "path"] } else { &[] };
            let keys = self.keys.get(&domain).into_iter().flatten().map(String::as_str);
            let keys: Vec<&str> = keys.chain(sent.iter().copied()).collect();
            let fits = |known: &&str| {
                *known == key || Pattern::parse(known).is_some_and(|known| known.matches(key.as_bytes()))
            };
            if !keys.is_empty() && !keys.iter().any(fits) {
                let hint = did_you_mean(&key, keys.iter().copied())
                    .unwrap_or_else(|| format!("keys of this domain are {}", crate::hint::listed(&keys)));
                self.add(unknown.hint(Some(hint)).kind(DiagnosticKind::UnknownName));
            }
        }
    }
}
