//! Series of rules with `detailed_metric` or `value_to_metric`: one for each combination of the values that they name.
//!
//! Clients choose the values, so the number of series is bounded for each domain. What comes with other values when there is no
//! room is counted as the rule's other hits. Like all of a [`Tally`](super::Tally) the counts belong to one worker; what is
//! shared is which series there are, and that is asked only for one that a worker has not counted yet.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hits::RuleTotals;
use crate::model::{Catalog, DomainIndex, RuleIndex};

/// The most series that the rules of one domain have, beside those for their other hits.
pub(super) const MOST: usize = 1_000;

/// The series of one worker under one policy.
#[derive(Debug)]
pub(super) struct Series {
    // Locked by its worker, and by a scrape for as long as it takes to copy at most `MOST` series of each domain.
    counts: Mutex<Counts>,
    admitted: Admitted,
}

#[derive(Debug, Default)]
struct Counts {
    rules: HashMap<RuleIndex, HashMap<Arc<str>, RuleTotals>>,
    /// Domains without room, whose series are all in `rules`.
    full: HashSet<DomainIndex>,
}

impl Series {
    pub(super) fn of(admitted: &Admitted) -> Self {
        Self { counts: Mutex::default(), admitted: admitted.clone() }
    }

    /// Adds `hit` to a series of a rule, unless there is no room for one more; then nothing happens, and the answer is `false`.
    pub(super) fn add(&self, catalog: &Catalog, rule: RuleIndex, series: &str, hit: RuleTotals) -> bool {
        let mut counts = lock(&self.counts);
        if let Some(sum) = counts.rules.get_mut(&rule).and_then(|of_rule| of_rule.get_mut(series)) {
            sum.add(hit);
            return true;
        }
        let Some((domain, _)) = catalog.rules.get(rule.0 as usize) else { return false };
        if counts.full.contains(domain) {
            return false;
        }
        if let Some(series) = self.admitted.admit(catalog, rule, series) {
            counts.rules.entry(rule).or_default().entry(series).or_default().add(hit);
            return true;
        }
        counts.full.insert(*domain);
        for (rule, series) in self.admitted.of_domain(catalog, *domain) {
            counts.rules.entry(rule).or_default().entry(series).or_default();
        }
        false
    }

    /// What was counted.
    pub(super) fn totals(&self) -> Vec<(RuleIndex, Arc<str>, RuleTotals)> {
        let counts = lock(&self.counts);
        let of_rules = counts.rules.iter().flat_map(|(rule, of_rule)| {
            of_rule.iter().map(|(series, totals)| (*rule, Arc::clone(series), *totals))
        });
        of_rules.collect()
    }
}

/// Which series there are, by the names of domains and rules: one list for all workers, which outlives reloads.
#[derive(Clone, Debug, Default)]
pub(super) struct Admitted(Arc<Mutex<HashMap<Arc<str>, OfDomain>>>);

#[derive(Debug, Default)]
struct OfDomain {
    rules: HashMap<Arc<str>, HashSet<Arc<str>>>,
    many: usize,
}

impl Admitted {
    /// The series, which is one from now on if it was none; `None` if there is no room for it.
    fn admit(&self, catalog: &Catalog, rule: RuleIndex, series: &str) -> Option<Arc<str>> {
        let (domain, label) = catalog.rule(rule)?;
        let mut domains = lock(&self.0);
        let of_domain = domains.entry(Arc::clone(domain)).or_default();
        if let Some(known) = of_domain.rules.get(label).and_then(|of_rule| of_rule.get(series)) {
            return Some(Arc::clone(known));
        }
        if of_domain.many >= MOST {
            return None;
        }
        let series: Arc<str> = series.into();
        of_domain.rules.entry(Arc::clone(label)).or_default().insert(Arc::clone(&series));
        of_domain.many += 1;
        Some(series)
    }

    /// All series of a domain.
    fn of_domain(&self, catalog: &Catalog, domain: DomainIndex) -> Vec<(RuleIndex, Arc<str>)> {
        let domains = lock(&self.0);
        let of_domain = catalog.domain(domain).and_then(|name| domains.get(name));
        let of_rules = catalog.with_series.iter().filter_map(|rule| {
            let (_, label) = catalog.rules.get(rule.0 as usize).filter(|(of, _)| *of == domain)?;
            Some((*rule, of_domain?.rules.get(label)?))
        });
        of_rules.flat_map(|(rule, all)| all.iter().map(move |series| (rule, Arc::clone(series)))).collect()
    }

    /// Forgets those of rules that have no series in `catalog`.
    pub(super) fn keep(&self, catalog: &Catalog) {
        let mut domains = lock(&self.0);
        if domains.is_empty() {
            return;
        }
        let names: HashSet<_> = catalog.with_series.iter().filter_map(|rule| catalog.rule(*rule)).collect();
        domains.retain(|domain, of_domain| {
            of_domain.rules.retain(|label, _| names.contains(&(domain, label)));
            of_domain.many = of_domain.rules.values().map(HashSet::len).sum();
            of_domain.many > 0
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts and names are whole whatever a thread that held them died of.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RuleTotals = RuleTotals { total: 1, over: 0, near: 0, within: 1, shadow: 0 };

    fn catalog(rules: &[&str]) -> Catalog {
        Catalog {
            domains: vec!["d".into()],
            rules: rules.iter().map(|label| (DomainIndex(0), (*label).into())).collect(),
            with_series: (0..).take(rules.len()).map(RuleIndex).collect(),
            ..Catalog::default()
        }
    }

    #[test]
    fn a_domain_has_no_more_series_than_the_bound_whichever_worker_counts() {
        let (admitted, catalog) = (Admitted::default(), catalog(&["r", "s"]));
        let workers = [Series::of(&admitted), Series::of(&admitted)];
        let mut refused = 0;
        for n in 0..2 * MOST {
            let rule = RuleIndex(u32::from(n % 3 == 0));
            refused += usize::from(!workers[n % 2].add(&catalog, rule, &format!("k={n}"), ONE));
        }
        assert_eq!(refused, MOST);
        let distinct: HashSet<_> = workers.iter().flat_map(Series::totals).map(|(r, s, _)| (r, s)).collect();
        assert_eq!(distinct.len(), MOST);
        // What one worker was let have, the other counts too, though it was refused others meanwhile.
        for worker in &workers {
            assert!(worker.add(&catalog, RuleIndex(1), "k=0", ONE));
            assert!(worker.add(&catalog, RuleIndex(0), "k=1", ONE));
            assert!(!worker.add(&catalog, RuleIndex(0), "k=one more", ONE));
        }
    }

    #[test]
    fn a_reload_makes_room_by_the_rules_that_are_gone() {
        let (admitted, before, after) = (Admitted::default(), catalog(&["r", "s"]), catalog(&["s"]));
        let worker = Series::of(&admitted);
        (0..MOST).for_each(|n| assert!(worker.add(&before, RuleIndex(0), &format!("k={n}"), ONE)));
        assert!(!worker.add(&before, RuleIndex(1), "k=1", ONE));
        admitted.keep(&after);
        let worker = Series::of(&admitted);
        assert!(worker.add(&after, RuleIndex(0), "k=1", ONE));
    }
}
