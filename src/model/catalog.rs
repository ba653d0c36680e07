//! The names of domains and rules, by the numbers that they are counted under.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which domain of a policy, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainIndex(pub u32);

/// Which rule of a policy, counted from 0. Rules of one domain with one label are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub u32);

/// What the domains and rules of one policy are called. A policy that is loaded anew has a catalog of its own.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The name of each domain.
    pub domains: Vec<Arc<str>>,
    /// The domain and the label of each rule.
    pub rules: Vec<(DomainIndex, Arc<str>)>,
    /// The way to each rule whose label is a name; the label of others is the way: `api_key > endpoint=POST /leads`.
    pub paths: BTreeMap<RuleIndex, Arc<str>>,
    /// The rules that have a series for each combination of some values.
    pub with_series: BTreeSet<RuleIndex>,
}

impl Catalog {
    /// The name of a domain.
    pub fn domain(&self, index: DomainIndex) -> Option<&Arc<str>> {
        self.domains.get(index.0 as usize)
    }

    /// The domain and the label of a rule.
    pub fn rule(&self, index: RuleIndex) -> Option<(&Arc<str>, &Arc<str>)> {
        let (domain, label) = self.rules.get(index.0 as usize)?;
        Some((self.domain(*domain)?, label))
    }
}
