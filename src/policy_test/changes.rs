//! Whether what a script sets of subjects means anything to the policy.

use std::collections::BTreeSet;

use super::script::{Change, Script};
use crate::config::{Diagnostic, DiagnosticKind};
use crate::hint::did_you_mean;
use crate::policy::{Domain, Level, Requests, Source};
use crate::subjects::{Directory, Value};

/// How many names are listed in a hint.
const LISTED: usize = 8;

impl Script {
    /// Every mistake in the changes of subjects that this script makes: a subject that there is not, and what no limit of
    /// `domain` has a number for. Whoever has no number has no limit, so that a slip here would show what nobody gets.
    pub fn wrong_changes(&self, domain: &Domain) -> Vec<Diagnostic> {
        let asked = Asked::of(&domain.root);
        let changes = self.steps.iter().filter_map(|step| step.set.as_ref());
        changes.flat_map(|change| wrong(change, domain.directory.as_ref(), &asked)).collect()
    }
}

/// What a domain asks of the attributes of its subjects.
#[derive(Default)]
struct Asked<'p> {
    requests: Vec<&'p Requests>,
    exempt: Vec<&'p (String, Value)>,
}

impl<'p> Asked<'p> {
    fn of(root: &'p Level) -> Self {
        let mut asked = Self::default();
        let mut levels = vec![root];
        while let Some(level) = levels.pop() {
            for node in level.nodes() {
                let limits = node.rule.iter().flat_map(|rule| &rule.limits);
                asked.requests.extend(limits.map(|limit| &limit.requests));
                asked.exempt.extend(&node.exempt);
                levels.push(&node.children);
            }
        }
        asked
    }

    fn names(&self) -> impl Iterator<Item = &'p str> {
        let exempt = self.exempt.iter().map(|(name, _)| name.as_str());
        self.requests.iter().flat_map(|requests| requests.attributes()).chain(exempt)
    }

    /// The values that limits list for `name`, if none of these limits has a number for this one. Whoever `has` an attribute
    /// that replaces the number needs none.
    fn values(&self, name: &str, value: &Value, has: impl Fn(&str) -> bool) -> Option<BTreeSet<&'p str>> {
        if self.exempt.iter().any(|(known, exempt)| known == name && exempt == value) {
            return None;
        }
        let mut listed = BTreeSet::new();
        for requests in &self.requests {
            let Source::Table { by, values, otherwise: None } = &requests.source else { continue };
            if by == name && !requests.instead.as_deref().is_some_and(&has) {
                listed.extend(values.iter().map(|(value, _)| value.as_str()));
            }
        }
        (!listed.is_empty() && !listed.contains(&*value.as_text())).then_some(listed)
    }
}

fn wrong(change: &Change, directory: Option<&Directory>, asked: &Asked<'_>) -> Vec<Diagnostic> {
    let at_subject = |message: String, hint: Option<String>| Diagnostic {
        excerpt: change.subject_at.clone(),
        ..Diagnostic::error(message).kind(DiagnosticKind::UnknownName).hint(hint)
    };
    let Some(directory) = directory else {
        let hint = "name the file in the policy, as in `subjects: shop.subjects.yaml`".to_owned();
        return vec![at_subject("the domain has no subjects to change".to_owned(), Some(hint))];
    };
    let Some(subject) = directory.subject(&change.subject) else {
        let hint = did_you_mean(&change.subject, directory.ids());
        let hint = hint.or_else(|| Some(format!("there is {}", listed(directory.ids()))));
        return vec![at_subject(format!("there is no subject `{}`", change.subject), hint)];
    };
    let mut found = Vec::new();
    for ((name, value), place) in change.attributes.iter().zip(&change.attributes_at) {
        let mut add = |kind, message: String, hint: Option<String>| {
            let wrong = Diagnostic { excerpt: place.clone(), ..Diagnostic::error(message) };
            found.push(wrong.kind(kind).hint(hint));
        };
        let has = |other: &str| {
            change.attributes.iter().any(|(name, _)| name == other) || subject.attribute(other).is_some()
        };
        if let Some(values) = asked.values(name, value, has) {
            let text = value.as_text();
            let hint = did_you_mean(&text, values.iter().copied());
            let hint = hint.or_else(|| Some(format!("values of `{name}` are {}", listed(values))));
            add(DiagnosticKind::MissingNumber, format!("no limit has a number for `{name}: {text}`"), hint);
        } else if !asked.names().any(|known| known == name)
            && !directory.attributes().any(|known| known == name)
            && let Some(hint) = did_you_mean(name, asked.names())
        {
            let message = format!("no subject has the attribute `{name}`, and no limit asks for it");
            add(DiagnosticKind::UnknownName, message, Some(hint));
        }
    }
    found
}

fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<_> = names.by_ref().take(LISTED).collect();
    let more = if names.next().is_some() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}
