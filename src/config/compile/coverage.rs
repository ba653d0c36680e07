//! Whether the subjects of a domain have what its limits ask of them. Whoever has not, has no limit.

use std::collections::HashSet;
use std::sync::Arc;

use super::descriptor::Inherited;
use super::subjects::{Known, Tell};
use super::{Document, Fields, Node, Severity};
use crate::model::Timestamp;
use crate::policy::{Requests, Source};
use crate::subjects::{Directory, Holder, Value};
use crate::yaml::Span;

/// How many subjects are named in one message.
const NAMED: usize = 3;
/// How many have a line of their own told.
const MOST: usize = 1000;
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
    /// The first of them.
    listed: Vec<Lacking>,
    more: usize,
    /// Tiers that no value of the table is.
    tiers: Vec<String>,
}

struct Lacking {
    /// «`acme` (plan=gold)».
    who: String,
    hint: &'static str,
    span: Span,
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
        if let Some(first) = uncovered.listed.first() {
            let named: Vec<_> =
                uncovered.listed.iter().take(NAMED).map(|lacking| lacking.who.as_str()).collect();
            let more = match uncovered.listed.len() - named.len() + uncovered.more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!("limit `{name}` has no number for {}{more}", named.join(", "));
            self.error(span, &message, Some(first.hint));
        }
        if !uncovered.tiers.is_empty() {
            let message = format!("limit `{name}` has no number for tier {}", uncovered.tiers.join(", "));
            self.error(span, &message, Some(UNLISTED));
        }
        if is_new {
            let place = self.source.place(span);
            let Some(known) = self.compiler.known.get(&self.domain) else { return };
            let at_their_lines = uncovered.listed.iter().map(|lacking| {
                let message = format!("limit `{name}` has no number for {}; it is at {place}", lacking.who);
                known.source.diagnose(Severity::Error, lacking.span, message, Some(lacking.hint.to_owned()))
            });
            at_their_lines.collect::<Vec<_>>().into_iter().for_each(|told| self.compiler.add(told));
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
            // Everybody who comes to it is told of.
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
        let mut told: HashSet<&str> = HashSet::new();
        for holder in directory.holders(&known.survey, &kinds) {
            let Some((attribute, hint)) = self.lacking(&holder) else { continue };
            let id = holder.credential.subject.id();
            if !told.insert(id) {
                continue;
            }
            if uncovered.listed.len() >= MOST {
                uncovered.more += 1;
            } else {
                let who = match holder.credential.attribute_at(attribute, SOME_DAY) {
                    None => format!("`{id}` (no {attribute})"),
                    Some(_) if holder.has_own => format!("`{id}` ({attribute} of a credential)"),
                    Some(value) => format!("`{id}` ({attribute}={})", value.as_text()),
                };
                uncovered.listed.push(Lacking { who, hint, span: holder.span });
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

    /// The attribute of which they have nothing that gives a number, and what to do about it.
    fn lacking<'a>(&'a self, holder: &Holder<'_>) -> Option<(&'a str, &'static str)> {
        let value = |name: &str| holder.credential.attribute_at(name, SOME_DAY);
        if self.exempt.iter().any(|(name, exempt)| value(name) == Some(exempt)) {
            return None;
        }
        let is_number = |value: &Value| value.as_number().is_some_and(|number| number >= 0);
        let wrong = self.numbers.iter().find(|name| value(name).is_some_and(|value| !is_number(value)));
        if let Some(name) = wrong {
            return Some((name, NO_NUMBER));
        }
        let (by, values) = self.table.as_ref()?;
        if self.instead.as_ref().is_some_and(|name| value(name).is_some()) {
            return None;
        }
        let listed = value(by).is_some_and(|value| values.iter().any(|name| *name == value.as_text()));
        (!listed).then_some((by, UNLISTED))
    }
}
