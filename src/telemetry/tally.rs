//! What one worker counted under one policy: for each rule, each series and each domain. It alone writes that, so that counting
//! takes no locked instruction and no cache line is passed around between cores.

use std::sync::Arc;

use super::hits::{Count, RuleCounts, RuleHit};
use super::series::{Admitted, Series};
use crate::model::{Catalog, DomainIndex, RuleIndex};

/// Requests of one domain, by their answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainTotals {
    /// Those that passed.
    pub ok: u64,
    /// Those that were refused.
    pub over_limit: u64,
}

impl DomainTotals {
    pub(super) fn add(&mut self, more: Self) {
        self.ok = self.ok.wrapping_add(more.ok);
        self.over_limit = self.over_limit.wrapping_add(more.over_limit);
    }
}

#[derive(Debug, Default)]
pub(super) struct DomainCounts {
    ok: Count,
    over_limit: Count,
}

impl DomainCounts {
    pub(super) fn totals(&self) -> DomainTotals {
        DomainTotals { ok: self.ok.get(), over_limit: self.over_limit.get() }
    }
}

/// What one worker counted under one policy.
#[derive(Debug)]
pub struct Tally {
    pub(super) catalog: Arc<Catalog>,
    pub(super) rules: Box<[RuleCounts]>,
    pub(super) domains: Box<[DomainCounts]>,
    pub(super) series: Series,
}

impl Tally {
    pub(super) fn of(catalog: &Arc<Catalog>, admitted: &Admitted) -> Self {
        Self {
            series: Series::of(admitted),
            rules: catalog.rules.iter().map(|_| RuleCounts::default()).collect(),
            domains: catalog.domains.iter().map(|_| DomainCounts::default()).collect(),
            catalog: Arc::clone(catalog),
        }
    }

    /// Counts what one request asked of a rule, in one of its series if there is one for it: else it is one of the others.
    pub fn rule(&self, rule: RuleIndex, series: Option<&str>, hit: RuleHit) {
        if let Some(series) = series
            && self.series.add(&self.catalog, rule, series, hit.totals())
        {
            return;
        }
        let Some(counts) = self.rules.get(rule.0 as usize) else { return };
        counts.total.add(hit.hits);
        if hit.over {
            counts.over.add(hit.hits);
            if hit.shadow {
                counts.shadow.add(hit.hits);
            }
        } else {
            counts.within.add(hit.hits);
            if hit.near {
                counts.near.add(hit.hits);
            }
        }
    }

    /// Counts one request of a domain.
    pub fn domain(&self, domain: DomainIndex, over_limit: bool) {
        if let Some(counts) = self.domains.get(domain.0 as usize) {
            if over_limit { counts.over_limit.add(1) } else { counts.ok.add(1) }
        }
    }
}
