//! Values of attributes that are nearly what a limit lists: whoever has one has the number of all others, and nobody is told.

use std::collections::BTreeMap;

use super::{Compiler, Diagnostic, DiagnosticKind, Severity};
use crate::config::diagnostic::Related;
use crate::hint::near;

/// The most values of a domain that are compared with those that limits list: comparing takes its time.
const MOST: usize = 1000;

/// A value that is probably a slip.
struct Mistyped {
    warning: Diagnostic,
    meant: String,
    /// The subject that has it first, and how many others do.
    id: String,
    more: usize,
    /// Whether it is a credential's own, which is not shown.
    is_own: bool,
}

impl Compiler {
    /// Warns of values of attributes in subjects files that are nearly what limits list, where these have a number for all others.
    pub(super) fn mistyped_values(&mut self) {
        let mut found = Vec::new();
        for domain in self.policy.domains() {
            let Some((directory, known)) = domain.directory.as_deref().zip(self.known.get(&domain.name))
            else {
                continue;
            };
            let kinds: Vec<&str> = known.survey.kinds().map(|(kind, _)| kind).collect();
            for (attribute, listed) in domain.asked().listed {
                let values: Vec<&str> = listed.values.iter().map(AsRef::as_ref).collect();
                let mut compared: BTreeMap<(String, bool), Option<Mistyped>> = BTreeMap::new();
                for holder in directory.holders(&known.survey, &kinds) {
                    let Some(value) = holder.credential.attribute(attribute) else { continue };
                    let (value, subject) = (value.as_text(), holder.credential.subject);
                    if listed.values.contains(&value) {
                        continue;
                    }
                    let is_own =
                        holder.has_own && subject.attribute(attribute).is_none_or(|of| of.as_text() != value);
                    let key = (value.into_owned(), is_own);
                    if let Some(before) = compared.get_mut(&key) {
                        let others = before.iter_mut().filter(|before| before.id != subject.id());
                        others.for_each(|before| before.more += 1);
                        continue;
                    }
                    if compared.len() >= MOST {
                        continue;
                    }
                    let mistyped = near(&key.0, &values).map(|meant| Mistyped {
                        warning: known.source.diagnose(Severity::Warning, holder.span, String::new(), None),
                        meant: meant.to_owned(),
                        id: subject.id().to_owned(),
                        more: 0,
                        is_own,
                    });
                    compared.insert(key, mistyped);
                }
                for ((value, _), mistyped) in compared {
                    let place = listed.place.clone();
                    let related = Related { what: "the limit is here".to_owned(), place };
                    found.extend(mistyped.map(|one| one.told(attribute, &value, related)));
                }
            }
        }
        for warning in found {
            self.add(warning);
        }
    }
}

impl Mistyped {
    fn told(self, attribute: &str, value: &str, related: Related) -> Diagnostic {
        let Self { warning, meant, id, more, is_own } = self;
        let others = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = if is_own {
            format!("own `{attribute}` of a credential of subject `{id}`{others}")
        } else {
            format!("`{attribute}: {value}` of subject `{id}`{others}")
        };
        let message = format!("no limit lists the {what}, so the number of `otherwise` holds");
        let hint = Some(format!("did you mean `{meant}`?"));
        let kind = DiagnosticKind::UnknownName;
        Diagnostic { message, hint, kind, related: Some(Box::new(related)), ..warning }
    }
}
