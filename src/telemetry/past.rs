//! What was counted under policies that are gone. A policy that is loaded anew numbers its rules anew: what was counted before is
//! kept by the names of its rules.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use super::hits::RuleTotals;
use super::tally::{DomainTotals, Tally};
use crate::model::{Catalog, DomainIndex, RuleIndex};

/// Of its domain, and its own.
type RuleName = (Arc<str>, Arc<str>);

/// What was counted under policies that are gone, by the names of domains and rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) rules: HashMap<RuleName, RuleTotals>,
    pub(super) domains: HashMap<Arc<str>, DomainTotals>,
    pub(super) series: HashMap<RuleName, HashMap<Arc<str>, RuleTotals>>,
}

impl Past {
    /// Adds what was counted; of most rules and domains of many policies that is nothing.
    pub(super) fn add(&mut self, tally: &Tally, series: &[(RuleIndex, Arc<str>, RuleTotals)]) {
        let catalog = &tally.catalog;
        for ((domain, label), counts) in catalog.rules.iter().zip(&tally.rules) {
            let totals = counts.totals();
            if let (Some(domain), true) = (catalog.domain(*domain), totals.total > 0) {
                self.rules.entry((Arc::clone(domain), Arc::clone(label))).or_default().add(totals);
            }
        }
        for (name, counts) in catalog.domains.iter().zip(&tally.domains) {
            let totals = counts.totals();
            if totals != DomainTotals::default() {
                self.domains.entry(Arc::clone(name)).or_default().add(totals);
            }
        }
        for (rule, series, counted) in series {
            if let Some((domain, label)) = catalog.rule(*rule) {
                let name = (Arc::clone(domain), Arc::clone(label));
                self.series.entry(name).or_default().entry(Arc::clone(series)).or_default().add(*counted);
            }
        }
    }

    /// Forgets what `catalog` does not name.
    pub(super) fn keep(&mut self, catalog: &Catalog) {
        if !self.rules.is_empty() {
            let names =
                catalog.rules.iter().filter_map(|(domain, label)| Some((catalog.domain(*domain)?, label)));
            let names: HashSet<_> = names.collect();
            self.rules.retain(|(domain, label), _| names.contains(&(domain, label)));
        }
        if !self.domains.is_empty() {
            let names: HashSet<_> = catalog.domains.iter().collect();
            self.domains.retain(|name, _| names.contains(name));
        }
        if !self.series.is_empty() {
            let names: HashSet<_> =
                catalog.with_series.iter().filter_map(|rule| catalog.rule(*rule)).collect();
            self.series.retain(|(domain, label), _| names.contains(&(domain, label)));
        }
    }
}

/// What is to be added to what was counted under policies that are gone.
#[derive(Debug)]
pub struct Tidying {
    pub(super) past: Arc<Past>,
    pub(super) retired: Vec<Retired>,
    /// Of the policy in force.
    pub(super) catalog: Arc<Catalog>,
}

/// A tally that nobody writes any more.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) tally: Arc<Tally>,
    /// What it has of series, which are locked while they are read.
    pub(super) series: Vec<(RuleIndex, Arc<str>, RuleTotals)>,
}

/// What a [`Tidying`] has come to. Once that is taken over, it is what is needed no more.
#[derive(Debug)]
pub struct Tidied {
    pub(super) of: Arc<Tidying>,
    pub(super) past: Arc<Past>,
    pub(super) in_order: Option<Arc<InOrder>>,
}

impl Tidying {
    /// Adds it up, which takes its time where there are very many rules. No lock is taken for it.
    pub fn add_up(self: &Arc<Self>) -> Tidied {
        let mut past = Past::clone(&self.past);
        for Retired { tally, series } in &self.retired {
            past.add(tally, series);
        }
        past.keep(&self.catalog);
        Tidied { of: Arc::clone(self), past: Arc::new(past), in_order: None }
    }
}

/// What [`Past`] has for the rules of a catalog, in its order.
#[derive(Debug)]
pub(super) struct InOrder {
    catalog: Weak<Catalog>,
    pub(super) rules: Vec<RuleTotals>,
}

impl InOrder {
    pub(super) fn of(past: &Past, catalog: &Arc<Catalog>) -> Self {
        let counted = |(domain, label): &(DomainIndex, Arc<str>)| {
            let name = (Arc::clone(catalog.domain(*domain)?), Arc::clone(label));
            past.rules.get(&name).copied()
        };
        let none = past.rules.is_empty();
        let rules = if none { &[][..] } else { &catalog.rules };
        let rules = rules.iter().map(|rule| counted(rule).unwrap_or_default()).collect();
        Self { catalog: Arc::downgrade(catalog), rules }
    }

    pub(super) fn is_of(&self, catalog: &Catalog) -> bool {
        // What is known weakly keeps its address.
        std::ptr::eq(self.catalog.as_ptr(), catalog)
    }
}
