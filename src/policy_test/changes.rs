//! Whether what a script sets of subjects means anything to the policy.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::script::{Change, Script};
use crate::config::{Diagnostic, DiagnosticKind, Excerpt};
use crate::hint::{did_you_mean, listed};
use crate::model::{Descriptor, Hits, Timestamp};
use crate::policy::{Domain, Level, Limit, MatchResult, Requests, Scratch, Source};
use crate::subjects::{Credential, Directory, Subject, Value};

impl Script {
    /// Every mistake in the changes of subjects that this script makes: a subject that there is not, and what a limit of `domain`
    /// has no number for, be it any limit or one that a later step comes to. Whoever has no number has no limit, so that a slip here
    /// would show what nobody gets. `domain` is changed as the script changes it.
    pub fn wrong_changes(&self, domain: &mut Domain) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut scratch = Scratch::default();
        let known = domain.directory.iter().flat_map(|directory| directory.attributes().map(str::to_owned));
        let known: HashSet<String> = known.collect();
        // What was set of each subject, with the places; what was found wrong is not looked for again.
        let mut changed: HashMap<&str, Vec<(&str, &Option<Excerpt>)>> = HashMap::new();
        let mut told: HashSet<(String, String)> = HashSet::new();
        let mut now = self.start;
        for step in &self.steps {
            now = step.at.map_or(now, |after| self.start.plus(after));
            if let Some(change) = &step.set {
                // An unknown subject is told below.
                let _ = domain.directory_mut().map(|all| all.edit(&change.subject, &change.attributes));
                let wrong = wrong(change, domain.directory.as_deref(), &known, &Asked::of(&domain.root));
                let names =
                    change.attributes.iter().map(|(name, _)| name.as_str()).zip(&change.attributes_at);
                let sound = names.filter(|(_, place)| !wrong.iter().any(|wrong| wrong.excerpt == **place));
                changed.entry(&change.subject).or_default().extend(sound);
                found.extend(wrong);
            }
            for entries in step.send.iter().flatten().filter(|_| !changed.is_empty()) {
                let descriptor = Descriptor::of_text(entries, Hits::ONE);
                let entries = domain.entries(&descriptor.entries);
                let MatchResult::Node(path) = domain.walk(&entries.as_slice(), now, &mut scratch) else {
                    continue;
                };
                let Some(credential) = path.credential else { continue };
                let Some(set) = changed.get(credential.subject.id()) else { continue };
                let limits =
                    path.node().and_then(|node| node.rule.as_ref()).map_or(&[][..], |rule| &rule.limits);
                for limit in limits {
                    let Some((value, wrong)) = without_number(limit, credential, now, set) else { continue };
                    if told.insert((limit.name.clone(), value)) {
                        found.push(wrong);
                    }
                }
            }
        }
        found
    }
}

/// The value that was `set`, and that there is no number for, if that is why `limit` has none for a credential.
fn without_number(
    limit: &Limit,
    credential: Credential<'_>,
    now: Timestamp,
    set: &[(&str, &Option<Excerpt>)],
) -> Option<(String, Diagnostic)> {
    let Source::Table { by, values, otherwise: None } = &limit.requests.source else { return None };
    let (_, place) = set.iter().rev().find(|(name, _)| name == by)?;
    let value = credential.attribute_at(by, now)?.as_text().into_owned();
    if limit.requests.granted(Some(&credential), now).is_some() {
        return None;
    }
    let known = || values.iter().map(|(value, _)| value.as_str());
    let hint = did_you_mean(&value, known());
    let hint = hint.unwrap_or_else(|| format!("its values of `{by}` are {}", listed(known())));
    let message = format!("limit `{}` has no number for `{by}: {value}`", limit.name);
    let wrong = Diagnostic { excerpt: (*place).clone(), ..Diagnostic::error(message) };
    Some((value, wrong.kind(DiagnosticKind::MissingNumber).hint(Some(hint))))
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

    /// The values that limits list for `name`, if none of these limits has a number for this one. Whoever is exempt somewhere, or has
    /// an attribute that replaces the number of one, needs none.
    fn values(&self, name: &str, value: &Value, subject: Subject<'_>) -> Option<BTreeSet<&'p str>> {
        if self.exempt.iter().any(|(name, exempt)| subject.attribute(name) == Some(exempt)) {
            return None;
        }
        let has = |name: &str| subject.attribute(name).is_some();
        let mut listed = BTreeSet::new();
        for requests in &self.requests {
            let Source::Table { by, values, otherwise: None } = &requests.source else { continue };
            if by == name {
                if requests.instead.as_deref().is_some_and(has) {
                    return None;
                }
                listed.extend(values.iter().map(|(value, _)| value.as_str()));
            }
        }
        (!listed.is_empty() && !listed.contains(&*value.as_text())).then_some(listed)
    }
}

/// What is wrong with a change that was made. Attributes that somebody had before any was are `known`.
fn wrong(
    change: &Change,
    directory: Option<&Directory>,
    known: &HashSet<String>,
    asked: &Asked<'_>,
) -> Vec<Diagnostic> {
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
        if let Some(values) = asked.values(name, value, subject) {
            let text = value.as_text();
            let hint = did_you_mean(&text, values.iter().copied());
            let hint = hint.or_else(|| Some(format!("values of `{name}` are {}", listed(values))));
            add(DiagnosticKind::MissingNumber, format!("no limit has a number for `{name}: {text}`"), hint);
        } else if !asked.names().any(|known| known == name)
            && !known.contains(name)
            && let Some(hint) = did_you_mean(name, asked.names())
        {
            let message = format!("no subject has the attribute `{name}`, and no limit asks for it");
            add(DiagnosticKind::UnknownName, message, Some(hint));
        }
    }
    found
}
