//! Whether the subjects of a domain have what its limits ask of them. Whoever has not, has no limit.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use super::descriptor::Inherited;
use super::subjects::{Known, Tell};
use super::{Document, Fields, Node, Severity};
use crate::config::{Diagnostic, DiagnosticKind};
use crate::hint::{LISTED, listed, near};
use crate::policy::{NoNumber, NumberDemand, Requests, Source};
use crate::subjects::Directory;
use crate::yaml::Span;

/// The most reasons that are reported: nobody reads more.
const MOST: usize = 1000;
/// Hashes ids alike all over. Two that share a hash would be counted once.
const FIXED: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();
/// What a limit asks of whoever comes to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Demand {
    /// The kinds of credentials that lead to it.
    kinds: Vec<String>,
    /// What it asks of them.
    number: NumberDemand,
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
    reason: NoNumber,
    hint: String,
    /// The first of them, and where that one is.
    id: String,
    span: Span,
    /// All of them, as hashes of their ids.
    who: HashSet<u64>,
}

/// Who lacks a number, by reason, for all limits of a domain together.
#[derive(Default)]
pub(super) struct MissingNumbers {
    reasons: HashMap<NoNumber, usize>,
    list: Vec<Missing>,
}

/// Limits that have no number for the same reason.
struct Missing {
    reason: NoNumber,
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
        let kinds = inherited.kinds().map(str::to_owned).collect();
        Self { kinds, number: NumberDemand::of(requests, inherited.exempt()) }
    }

    fn uncovered(&self, directory: &Directory, known: &Known) -> Uncovered {
        let mut uncovered = Uncovered::default();
        // Each descriptor on the way asks for a credential; whoever comes to the limit has one for the innermost.
        let kinds: Vec<_> = self.kinds.iter().take(1).map(String::as_str).collect();
        let mut reported: HashSet<&str> = HashSet::new();
        let mut reasons: HashMap<NoNumber, usize> = HashMap::new();
        for holder in directory.holders(&known.survey, &kinds) {
            let Some(reason) = self.number.lacking(&holder.credential, holder.has_own) else { continue };
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
        if let (Some((by, values)), Some((attribute, tiers))) = (self.number.table(), directory.tiers())
            && by == attribute
        {
            // Whoever is exempt by the tier never comes to the limit.
            let counted = tiers.filter(|tier| !self.number.is_exempt(by, tier));
            let names = counted.map(|tier| tier.as_text().into_owned());
            uncovered.tiers = names.filter(|tier| values.binary_search(tier).is_err()).collect();
        }
        uncovered
    }

    /// What to do about it.
    fn hint(&self, reason: &NoNumber) -> String {
        match (reason, self.number.table()) {
            (NoNumber::NotWhole { .. }, _) => NO_NUMBER.to_owned(),
            (NoNumber::Unlisted { value, .. }, Some((_, values))) => match near(value, values) {
                Some(near) => format!("`values` lists `{near}`; write both alike, or {UNLISTED}"),
                None => UNLISTED.to_owned(),
            },
            _ => UNLISTED.to_owned(),
        }
    }
}
