//! Whether the subjects of a domain have what its limits ask of them. Whoever has not, has no limit.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use super::descriptor::Inherited;
use super::subjects::{Known, Tell, near};
use super::{Document, Fields, Node, Severity};
use crate::config::{Diagnostic, DiagnosticKind};
use crate::hint::{LISTED, listed};
use crate::model::Timestamp;
use crate::policy::{Requests, Source};
use crate::subjects::{Directory, Holder, Value};
use crate::yaml::Span;

/// The most reasons that are reported: nobody reads more.
const MOST: usize = 1000;
/// Hashes ids alike all over. Two that share a hash would be counted once.
const FIXED: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();
/// Late enough for every tier that time alone brings.
const SOME_DAY: Timestamp = Timestamp::from_nanos(u64::MAX);

/// What a limit asks of whoever comes to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Demand {
    /// The kinds of credentials that lead to it.
    kinds: Vec<String>,
    /// Who passes uncounted.
    exempt: Vec<(String, Value)>,
    /// An attribute that must have one of these values.
    table: Option<(String, Vec<String>)>,
    /// An attribute that replaces what the table says.
    instead: Option<String>,
    /// Attributes that are whole numbers where they are there.
    numbers: Vec<String>,
}

/// Whoever does not have it.
#[derive(Default)]
pub(super) struct Uncovered {
    lacking: Vec<Lacking>,
    /// Tiers that no value of the table is.
    tiers: Vec<String>,
}

/// All who lack the number for one reason.
struct Lacking {
    reason: Reason,
    hint: String,
    /// The first of them, and where that one is.
    id: String,
    span: Span,
    /// All of them, as hashes of their ids.
    who: HashSet<u64>,
}

/// Why somebody has no number. What stands in a credential is not shown.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Reason {
    Unlisted { attribute: String, value: String },
    UnlistedOfCredential { attribute: String },
    Absent { attribute: String },
    NoNumber { attribute: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted { attribute, value } => write!(f, "with `{attribute}: {value}`"),
            Self::UnlistedOfCredential { attribute } => {
                write!(f, "with a credential whose own `{attribute}` is not listed")
            }
            Self::Absent { attribute } => write!(f, "without `{attribute}`"),
            Self::NoNumber { attribute } => write!(f, "whose `{attribute}` is no whole number"),
        }
    }
}

/// Who lacks a number, by reason, for all limits of a domain together.
#[derive(Default)]
pub(super) struct MissingNumbers {
    reasons: HashMap<Reason, usize>,
    list: Vec<Missing>,
}

/// Limits that have no number for the same reason.
struct Missing {
    reason: Reason,
    /// The names of the first, and how many more there are.
    limits: Vec<String>,
    more: usize,
    /// At the first limit, and at the first subject. The messages come when all limits are known.
    at_limit: Diagnostic,
    at_subject: Diagnostic,
    first: String,
    /// The subjects of all these limits, as hashes of their ids.
    who: HashSet<u64>,
}

impl MissingNumbers {
    /// The diagnostics.
    pub(super) fn finish(self) -> impl Iterator<Item = Diagnostic> {
        self.list.into_iter().flat_map(Missing::finish)
    }
}

impl Missing {
    fn finish(self) -> [Diagnostic; 2] {
        let Self { reason, limits, more, at_limit, at_subject, first, who } = self;
        let place = |told: &Diagnostic| {
            told.excerpt.as_ref().map(|excerpt| excerpt.place.to_string()).unwrap_or_default()
        };
        let limits = match (limits.len(), more) {
            (1, _) => format!("limit {} has", listed(&limits)),
            (_, 0) => format!("limits {} have", listed(&limits)),
            _ => format!("limits {} and {more} more have", listed(&limits)),
        };
        let more = if who.len() > 1 { format!(" and {} more", who.len() - 1) } else { String::new() };
        let of_limit =
            format!("{limits} no number for subjects {reason}: `{first}` at {}{more}", place(&at_subject));
        let of_subject =
            format!("{limits} no number for subjects {reason}, as this one{more}; see {}", place(&at_limit));
        let both = [(of_limit, at_limit), (of_subject, at_subject)];
        both.map(|(message, at)| Diagnostic { message, kind: DiagnosticKind::MissingNumber, ..at })
    }
}

impl Document<'_, '_> {
    /// Refuses a limit that has no number for somebody who comes to it, there and at their line.
    pub(super) fn limit_coverage(
        &mut self,
        node: Node<'_>,
        fields: &Fields<'_>,
        name: &str,
        requests: &Requests,
        inherited: &Inherited<'_>,
    ) {
        let Some(directory) = inherited.directory() else { return };
        self.asks_for_numbers(node, fields, requests);
        if requests.attributes().next().is_none() {
            return;
        }
        let demand = Demand::new(requests, inherited);
        let Some(known) = self.compiler.known.get_mut(&self.domain) else { return };
        let before = known.uncovered.get(&demand).map(Arc::clone);
        let is_new = before.is_none();
        let uncovered = before.unwrap_or_else(|| {
            let uncovered = Arc::new(demand.uncovered(directory, known));
            known.uncovered.insert(demand, Arc::clone(&uncovered));
            uncovered
        });
        let span = fields.get("requests_per_unit").map_or(node.span(), Node::span);
        if !uncovered.tiers.is_empty() {
            let message = format!("limit `{name}` has no number for tier {}", uncovered.tiers.join(", "));
            self.error(span, &message, Some(UNLISTED));
        }
        let Some(known) = self.compiler.known.get_mut(&self.domain) else { return };
        for lacking in &uncovered.lacking {
            if let Some(at) = known.missing.reasons.get(&lacking.reason) {
                let missing = &mut known.missing.list[*at];
                // Of a demand that was met before they are known.
                if is_new {
                    missing.who.extend(&lacking.who);
                }
                if missing.limits.len() < LISTED {
                    missing.limits.push(name.to_owned());
                } else {
                    missing.more += 1;
                }
                continue;
            }
            let hint = Some(lacking.hint.clone());
            let at_limit = self.source.diagnose(Severity::Error, span, String::new(), hint.clone());
            let at_subject = known.source.diagnose(Severity::Error, lacking.span, String::new(), hint);
            known.missing.reasons.insert(lacking.reason.clone(), known.missing.list.len());
            known.missing.list.push(Missing {
                reason: lacking.reason.clone(),
                limits: vec![name.to_owned()],
                more: 0,
                at_limit,
                at_subject,
                first: lacking.id.clone(),
                who: lacking.who.clone(),
            });
        }
    }

    /// Notes which attributes the number of a limit depends on.
    fn asks_for_numbers(&mut self, node: Node<'_>, fields: &Fields<'_>, requests: &Requests) {
        let span = |word: &str| fields.get(word).map_or(node.span(), Node::span);
        let number = span("requests_per_unit");
        match &requests.source {
            Source::Fixed(_) => {}
            Source::Attribute(name) => {
                self.asks_for_attribute(number, "attribute", name, "nobody has this limit", Tell::Always);
            }
            Source::Table { by, otherwise: Some(_), .. } => {
                self.asks_for_attribute(number, "by", by, "all have the number of `otherwise`", Tell::Always);
            }
            // Each subject that reaches it is reported as having no number.
            Source::Table { by, otherwise: None, .. } => {
                self.asks_for_attribute(number, "by", by, "nobody has this limit", Tell::Slips);
            }
        }
        if let Some(name) = &requests.instead {
            self.asks_for_attribute(
                span("override"),
                "override",
                name,
                "it replaces no number",
                Tell::Always,
            );
        }
        if let Some(name) = &requests.at_most {
            self.asks_for_attribute(span("at_most"), "at_most", name, "it caps no number", Tell::Always);
        }
    }
}

const UNLISTED: &str = "list the value under `values`, or add `otherwise: NUMBER` beside `by` for all others";
const NO_NUMBER: &str = "write a whole number, without quotes";

impl Demand {
    fn new(requests: &Requests, inherited: &Inherited<'_>) -> Self {
        let table = match &requests.source {
            Source::Table { by, values, otherwise: None } => {
                let mut names: Vec<_> = values.iter().map(|(name, _)| name.clone()).collect();
                names.sort_unstable();
                Some((by.clone(), names))
            }
            _ => None,
        };
        let attribute = match &requests.source {
            Source::Attribute(name) => Some(name),
            Source::Fixed(_) | Source::Table { .. } => None,
        };
        let numbers =
            attribute.into_iter().chain(&requests.instead).chain(&requests.at_most).cloned().collect();
        Self {
            kinds: inherited.kinds().map(str::to_owned).collect(),
            exempt: inherited.exempt().cloned().collect(),
            table,
            instead: requests.instead.clone(),
            numbers,
        }
    }

    fn uncovered(&self, directory: &Directory, known: &Known) -> Uncovered {
        let mut uncovered = Uncovered::default();
        // Each descriptor on the way asks for a credential; whoever comes to the limit has one for the innermost.
        let kinds: Vec<_> = self.kinds.iter().take(1).map(String::as_str).collect();
        let mut reported: HashSet<&str> = HashSet::new();
        let mut reasons: HashMap<Reason, usize> = HashMap::new();
        for holder in directory.holders(&known.survey, &kinds) {
            let Some(reason) = self.lacking(&holder) else { continue };
            let id = holder.credential.subject.id();
            if !reported.insert(id) {
                continue;
            }
            let hash = FIXED.hash_one(id);
            match reasons.get(&reason) {
                Some(at) => {
                    uncovered.lacking[*at].who.insert(hash);
                }
                None if uncovered.lacking.len() < MOST => {
                    reasons.insert(reason.clone(), uncovered.lacking.len());
                    let (hint, id) = (self.hint(&reason), id.to_owned());
                    uncovered.lacking.push(Lacking {
                        reason,
                        hint,
                        id,
                        span: holder.span,
                        who: HashSet::from([hash]),
                    });
                }
                None => {}
            }
        }
        if let (Some((by, values)), Some((attribute, tiers))) = (&self.table, directory.tiers())
            && by == attribute
        {
            // Whoever is exempt by the tier never comes to the limit.
            let counted =
                tiers.filter(|tier| !self.exempt.iter().any(|(name, value)| name == by && value == *tier));
            let names = counted.map(|tier| tier.as_text().into_owned());
            uncovered.tiers = names.filter(|tier| values.binary_search(tier).is_err()).collect();
        }
        uncovered
    }

    /// Why they have no number, if they have none.
    fn lacking(&self, holder: &Holder<'_>) -> Option<Reason> {
        let value = |name: &str| holder.credential.attribute_at(name, SOME_DAY);
        if self.exempt.iter().any(|(name, exempt)| value(name) == Some(exempt)) {
            return None;
        }
        let is_number = |value: &Value| value.as_number().is_some_and(|number| number >= 0);
        let wrong = self.numbers.iter().find(|name| value(name).is_some_and(|value| !is_number(value)));
        if let Some(attribute) = wrong.cloned() {
            return Some(Reason::NoNumber { attribute });
        }
        let (by, values) = self.table.as_ref()?;
        if self.instead.as_ref().is_some_and(|name| value(name).is_some()) {
            return None;
        }
        let attribute = by.clone();
        match value(by) {
            None => Some(Reason::Absent { attribute }),
            Some(value) if values.iter().any(|name| *name == value.as_text()) => None,
            Some(_) if holder.has_own => Some(Reason::UnlistedOfCredential { attribute }),
            Some(value) => Some(Reason::Unlisted { attribute, value: value.as_text().into_owned() }),
        }
    }

    /// What to do about it.
    fn hint(&self, reason: &Reason) -> String {
        match (reason, &self.table) {
            (Reason::NoNumber { .. }, _) => NO_NUMBER.to_owned(),
            (Reason::Unlisted { value, .. }, Some((_, values))) => match near(value, values) {
                Some(near) => format!("`values` lists `{near}`; write both alike, or {UNLISTED}"),
                None => UNLISTED.to_owned(),
            },
            _ => UNLISTED.to_owned(),
        }
    }
}
