//! Counts for each rule and each domain, and how long answers take.
//!
//! Each worker has a [`Tally`] that it alone writes, so that counting takes no locked instruction and no cache line is passed
//! around between cores. A scrape adds them up. A policy that is loaded anew numbers its rules anew: each worker goes on with
//! a new tally then, and what the old one counted is kept by the names of its rules.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Catalog, DomainIndex, RuleIndex};

/// A count with one writer and any number of readers.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, number: u64) {
        self.0.store(self.get().wrapping_add(number), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one request asks of one rule, and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleHit {
    /// The hits that are charged; a look and a refund are none.
    pub hits: u64,
    /// Whether the rule is over one of its limits.
    pub over: bool,
    /// Whether what is used is more than four fifths of one of its limits, and it is not over.
    pub near: bool,
    /// Whether it is only watched.
    pub shadow: bool,
}

/// Hits of one rule, by what became of them: the statistics of envoyproxy/ratelimit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleTotals {
    pub(super) total: u64,
    pub(super) over: u64,
    pub(super) near: u64,
    pub(super) within: u64,
    pub(super) shadow: u64,
}

#[derive(Debug, Default)]
struct RuleCounts {
    total: Count,
    over: Count,
    near: Count,
    within: Count,
    shadow: Count,
}

impl RuleCounts {
    fn totals(&self) -> RuleTotals {
        RuleTotals {
            total: self.total.get(),
            over: self.over.get(),
            near: self.near.get(),
            within: self.within.get(),
            shadow: self.shadow.get(),
        }
    }
}

impl RuleTotals {
    fn add(&mut self, more: Self) {
        self.total = self.total.wrapping_add(more.total);
        self.over = self.over.wrapping_add(more.over);
        self.near = self.near.wrapping_add(more.near);
        self.within = self.within.wrapping_add(more.within);
        self.shadow = self.shadow.wrapping_add(more.shadow);
    }
}

/// Requests of one domain, by their answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DomainTotals {
    pub(super) ok: u64,
    pub(super) over_limit: u64,
}

#[derive(Debug, Default)]
struct DomainCounts {
    ok: Count,
    over_limit: Count,
}

/// What one worker counted under one policy.
#[derive(Debug)]
pub struct Tally {
    catalog: Arc<Catalog>,
    rules: Box<[RuleCounts]>,
    domains: Box<[DomainCounts]>,
}

impl Tally {
    fn of(catalog: &Arc<Catalog>) -> Self {
        Self {
            rules: catalog.rules.iter().map(|_| RuleCounts::default()).collect(),
            domains: catalog.domains.iter().map(|_| DomainCounts::default()).collect(),
            catalog: Arc::clone(catalog),
        }
    }

    /// Counts what one request asked of a rule.
    pub fn rule(&self, rule: RuleIndex, hit: RuleHit) {
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

/// The upper bounds of the histogram's buckets, in microseconds: close to each other around Envoy's default timeout of 20 ms.
pub(super) const BUCKETS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 25_000, 50_000, 100_000, 1_000_000];

/// How long answers took.
#[derive(Debug, Default)]
struct Latency {
    /// One more than there are bounds: what took longer than all of them.
    buckets: [Count; BUCKETS.len() + 1],
    nanos: Count,
}

/// What one worker counts with.
#[derive(Debug)]
pub struct Recorder {
    tallies: Tallies,
    tally: RefCell<Arc<Tally>>,
    latency: Arc<Latency>,
}

impl Recorder {
    /// Hands the tally for rules of `catalog` to `count`.
    pub fn count(&self, catalog: &Arc<Catalog>, count: impl FnOnce(&Tally)) {
        let tally = self.tally.borrow();
        if Arc::ptr_eq(&tally.catalog, catalog) {
            return count(&tally);
        }
        drop(tally);
        let next = self.tallies.begin(catalog);
        count(&next);
        self.tally.replace(next);
    }

    /// Counts an answer that took so long, from when its request was read.
    pub fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        self.latency.buckets[bucket].add(1);
        self.latency.nanos.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// The tallies of all workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    live: Vec<Arc<Tally>>,
    latencies: Vec<Arc<Latency>>,
    /// What was counted under policies that are gone, by the names of domains and rules.
    past_rules: HashMap<(Arc<str>, Arc<str>), RuleTotals>,
    past_domains: HashMap<Arc<str>, DomainTotals>,
}

/// All that was counted, for the rules of one policy.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) catalog: Arc<Catalog>,
    /// As in the catalog.
    pub(super) rules: Vec<RuleTotals>,
    pub(super) domains: Vec<DomainTotals>,
    /// How many answers took up to each bound and no less, and those that took longer than all.
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    pub(super) seconds: f64,
}

impl Tallies {
    /// For one more worker.
    pub(super) fn recorder(&self) -> Recorder {
        let latency = Arc::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).latencies.push(Arc::clone(&latency));
        Recorder { tallies: self.clone(), tally: RefCell::new(self.begin(&Arc::default())), latency }
    }

    fn begin(&self, catalog: &Arc<Catalog>) -> Arc<Tally> {
        let tally = Arc::new(Tally::of(catalog));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).live.push(Arc::clone(&tally));
        tally
    }

    /// Adds up what all workers counted for the rules of `catalog`. What was counted for others is forgotten:
    /// their series end, and begin anew with a policy that has them again.
    pub(super) fn totals(&self, catalog: &Arc<Catalog>) -> Totals {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.retire();
        let mut totals = Totals { catalog: Arc::clone(catalog), ..Totals::default() };
        if !state.past_rules.is_empty() {
            let names =
                catalog.rules.iter().filter_map(|(domain, label)| Some((catalog.domain(*domain)?, label)));
            let names: HashSet<_> = names.collect();
            state.past_rules.retain(|(domain, label), _| names.contains(&(domain, label)));
        }
        state.past_domains.retain(|name, _| catalog.domains.contains(name));
        let mut rules = state.past_rules.clone();
        let mut domains = state.past_domains.clone();
        totals.rules.resize(catalog.rules.len(), RuleTotals::default());
        totals.domains.resize(catalog.domains.len(), DomainTotals::default());
        for tally in &state.live {
            if Arc::ptr_eq(&tally.catalog, catalog) {
                for (sum, counts) in totals.rules.iter_mut().zip(&tally.rules) {
                    sum.add(counts.totals());
                }
                for (sum, counts) in totals.domains.iter_mut().zip(&tally.domains) {
                    sum.ok += counts.ok.get();
                    sum.over_limit += counts.over_limit.get();
                }
            } else {
                // Its worker has had no request since the policy changed.
                tally.add_to(&mut rules, &mut domains);
            }
        }
        if !rules.is_empty() {
            for (sum, (domain, label)) in totals.rules.iter_mut().zip(&catalog.rules) {
                let name = catalog.domain(*domain).map(|domain| (Arc::clone(domain), Arc::clone(label)));
                sum.add(name.and_then(|name| rules.get(&name).copied()).unwrap_or_default());
            }
        }
        for (sum, name) in totals.domains.iter_mut().zip(&catalog.domains) {
            let past = domains.get(name).copied().unwrap_or_default();
            sum.ok += past.ok;
            sum.over_limit += past.over_limit;
        }
        for latency in &state.latencies {
            for (sum, count) in totals.buckets.iter_mut().zip(&latency.buckets) {
                *sum += count.get();
            }
            totals.seconds += Duration::from_nanos(latency.nanos.get()).as_secs_f64();
        }
        totals
    }
}

impl State {
    /// Keeps by name what tallies counted that no worker writes any more.
    fn retire(&mut self) {
        let (mut rules, mut domains) =
            (std::mem::take(&mut self.past_rules), std::mem::take(&mut self.past_domains));
        self.live.retain(|tally| {
            let is_written = Arc::strong_count(tally) > 1;
            if !is_written {
                tally.add_to(&mut rules, &mut domains);
            }
            is_written
        });
        (self.past_rules, self.past_domains) = (rules, domains);
    }
}

impl Tally {
    fn add_to(
        &self,
        rules: &mut HashMap<(Arc<str>, Arc<str>), RuleTotals>,
        domains: &mut HashMap<Arc<str>, DomainTotals>,
    ) {
        for ((domain, label), counts) in self.catalog.rules.iter().zip(&self.rules) {
            let totals = counts.totals();
            if totals.total == 0 {
                continue;
            }
            if let Some(domain) = self.catalog.domain(*domain) {
                rules.entry((Arc::clone(domain), Arc::clone(label))).or_default().add(totals);
            }
        }
        for (name, counts) in self.catalog.domains.iter().zip(&self.domains) {
            let sum = domains.entry(Arc::clone(name)).or_default();
            sum.ok += counts.ok.get();
            sum.over_limit += counts.over_limit.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(rules: &[&str]) -> Arc<Catalog> {
        let rules = rules.iter().map(|label| (DomainIndex(0), (*label).into())).collect();
        Arc::new(Catalog { domains: vec!["d".into()], rules })
    }

    fn hit(hits: u64) -> RuleHit {
        RuleHit { hits, ..RuleHit::default() }
    }

    #[test]
    fn hits_are_counted_by_what_becomes_of_them() {
        let (tallies, catalog) = (Tallies::default(), catalog(&["r"]));
        let recorder = tallies.recorder();
        let rule = |hit| recorder.count(&catalog, |tally| tally.rule(RuleIndex(0), hit));
        rule(hit(1));
        rule(RuleHit { near: true, ..hit(2) });
        rule(RuleHit { over: true, ..hit(4) });
        rule(RuleHit { over: true, shadow: true, ..hit(8) });
        rule(RuleHit { shadow: true, ..hit(16) });
        let expected = RuleTotals { total: 31, over: 12, near: 2, within: 19, shadow: 8 };
        assert_eq!(tallies.totals(&catalog).rules, [expected]);
    }

    #[test]
    fn workers_are_added_up_and_counts_outlive_reloads_and_workers() {
        let tallies = Tallies::default();
        let (before, after) = (catalog(&["gone", "stays"]), catalog(&["new", "stays"]));
        let busy = tallies.recorder();
        let count = |recorder: &Recorder, catalog, rule, hits| {
            recorder.count(catalog, |tally| {
                tally.rule(RuleIndex(rule), hit(hits));
                tally.domain(DomainIndex(0), false);
            });
        };
        count(&busy, &before, 0, 1);
        count(&busy, &before, 1, 2);
        // One worker has had no request since the policy changed, and one has ended.
        let idle = tallies.recorder();
        count(&idle, &before, 1, 4);
        let ended = tallies.recorder();
        count(&ended, &before, 1, 8);
        drop(ended);
        count(&busy, &after, 0, 16);
        for _ in 0..3 {
            let totals = tallies.totals(&after);
            let of_rules: Vec<_> = totals.rules.iter().map(|rule| rule.total).collect();
            assert_eq!((of_rules, totals.domains[0].ok), (vec![16, 14], 5));
        }
        count(&idle, &after, 1, 32);
        assert_eq!(tallies.totals(&after).rules[1].total, 46);
        assert_eq!(tallies.totals(&before).rules[0].total, 0, "the series of a rule that went has ended");
        assert_eq!(tallies.0.lock().unwrap().live.len(), 2, "those that are written");
    }

    #[test]
    fn answers_are_counted_by_their_time() {
        let tallies = Tallies::default();
        let recorder = tallies.recorder();
        for micros in [0, 50, 51, 20_000, 20_001, 1_000_000, 1_000_001] {
            recorder.took(Duration::from_micros(micros));
        }
        let totals = tallies.totals(&catalog(&[]));
        assert_eq!(totals.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]);
        assert!((totals.seconds - 2.040_103).abs() < 1e-9, "{}", totals.seconds);
    }
}
