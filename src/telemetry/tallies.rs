//! Counts of all workers, and how long answers take.
//!
//! Each worker has a [`Tally`] that it alone writes. A scrape adds them up. When a policy is loaded anew, each worker goes on with a
//! new tally, and what the old one counted is kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::heavy::{Heavy, HeavyHitter, HeavyName, Turns, heavy_hitters};
use super::hits::{RuleHit, RuleTotals};
use super::past::{InOrder, Past, Retired, Tidied, Tidying};
use super::recent::Sampling;
use super::series::Admitted;
use super::tally::{DomainTotals, Tally};
use super::times::{TimeTotals, Times};
use crate::model::{Catalog, CellKey, RuleIndex, Timestamp};

/// How long one worker's answers took, and its store.
#[derive(Debug, Default)]
struct Latencies {
    answers: Times,
    store: Times,
}

/// What one worker counts with.
#[derive(Debug)]
pub struct Recorder {
    tallies: Tallies,
    tally: RefCell<Arc<Tally>>,
    /// The one before.
    before: RefCell<Option<Arc<Tally>>>,
    latencies: Arc<Latencies>,
    denials: Sampling,
    unmatched: Sampling,
    heavy: Heavy,
}

impl Recorder {
    /// Whether a request that is refused at `now` is one of those that are kept to be looked at.
    pub fn samples_denial(&self, now: Timestamp) -> bool {
        self.denials.is_due(now)
    }

    /// The same of one with a descriptor that reached no rule.
    pub fn samples_unmatched(&self, now: Timestamp) -> bool {
        self.unmatched.is_due(now)
    }

    /// Hands the tally for rules of `catalog` to `count`.
    pub fn count(&self, catalog: &Arc<Catalog>, count: impl FnOnce(&Tally)) {
        let tally = self.tally.borrow();
        if Arc::ptr_eq(&tally.catalog, catalog) {
            return count(&tally);
        }
        drop(tally);
        // Requests that waited for their store may be answered after a reload under the policy of before.
        if let Some(before) = &*self.before.borrow()
            && Arc::ptr_eq(&before.catalog, catalog)
        {
            return count(before);
        }
        self.before.take();
        let next = self.tallies.begin(catalog);
        count(&next);
        self.before.replace(Some(self.tally.replace(next)));
    }

    /// Counts a hit among those of other keys, if it is one of those that are counted so. `key` is its counter's, and `name` is asked
    /// for when that is heavy and has no name yet.
    pub fn key(&self, key: CellKey, hit: RuleHit, now: Timestamp, name: impl FnOnce() -> Option<HeavyName>) {
        if hit.hits > 0 && self.heavy.is_next() {
            self.heavy.add(key, hit, now, name);
        }
    }

    /// Counts so many answers that took so long, from when their requests were read.
    pub fn took(&self, time: Duration, answers: u64) {
        self.latencies.answers.add(time, answers);
    }

    /// Counts a trip to the store that took so long, whatever came of it.
    pub fn store_took(&self, time: Duration) {
        self.latencies.store.add(time, 1);
    }
}

/// The tallies of all workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    state: Arc<Mutex<State>>,
    /// Made for a policy before it comes into force, one for each worker, and not yet taken. They are among the live ones. Locked for
    /// as long as it takes to take one.
    ready: Arc<Mutex<Vec<Arc<Tally>>>>,
}

#[derive(Debug, Default)]
struct State {
    live: Vec<Arc<Tally>>,
    latencies: Vec<Arc<Latencies>>,
    heavy: Vec<Arc<Mutex<Turns>>>,
    admitted: Admitted,
    past: Arc<Past>,
    /// The catalog by which `past` was looked through last: it has nothing that this one does not name.
    kept: Weak<Catalog>,
    /// What it has for the rules of one catalog, until it changes: found by names once, and not at each scrape.
    in_order: Option<Arc<InOrder>>,
}

/// All that was counted, for the rules of one policy.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) catalog: Arc<Catalog>,
    /// As in the catalog.
    pub(super) rules: Vec<RuleTotals>,
    pub(super) domains: Vec<DomainTotals>,
    /// Those of rules that have some, in order.
    pub(super) series: BTreeMap<(RuleIndex, Arc<str>), RuleTotals>,
    /// From when requests were read to their answers.
    pub(super) answers: TimeTotals,
    /// Trips to the store.
    pub(super) store: TimeTotals,
}

impl Tallies {
    /// For one more worker.
    pub(super) fn recorder(&self) -> Recorder {
        let latencies = Arc::default();
        let heavy = {
            let mut state = self.state();
            state.latencies.push(Arc::clone(&latencies));
            let heavy = Heavy::new(u32::try_from(state.heavy.len()).unwrap_or_default());
            state.heavy.push(heavy.turns());
            heavy
        };
        Recorder {
            tallies: self.clone(),
            tally: RefCell::new(self.begin(&Arc::default())),
            before: RefCell::default(),
            latencies,
            denials: Sampling::default(),
            unmatched: Sampling::default(),
            heavy,
        }
    }

    /// What tallies for a policy are made with.
    pub(super) fn next(&self) -> NextTallies {
        let state = self.state();
        NextTallies { workers: state.latencies.len(), admitted: state.admitted.clone() }
    }

    /// Has workers take these tallies when their policy comes into force.
    pub(super) fn prepare(&self, ReadyTallies(made): ReadyTallies) {
        self.state().live.extend(made.iter().map(Arc::clone));
        let not_taken = std::mem::replace(&mut *self.ready(), made);
        drop(not_taken);
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Arc<Tally>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tally for rules of `catalog`, which the caller alone writes.
    fn begin(&self, catalog: &Arc<Catalog>) -> Arc<Tally> {
        let mut ready = self.ready();
        if let Some(at) = ready.iter().position(|tally| Arc::ptr_eq(&tally.catalog, catalog)) {
            return ready.swap_remove(at);
        }
        drop(ready);
        let mut state = self.state();
        let tally = Arc::new(Tally::of(catalog, &state.admitted));
        state.live.push(Arc::clone(&tally));
        tally
    }

    /// What is to be added up, so that the tallies that no worker writes any more are forgotten, and what was counted for rules that
    /// `catalog` does not name; `None` where there is nothing. To be asked now and then: tallies must not come together where
    /// nobody scrapes.
    pub(super) fn tidying(&self, catalog: &Arc<Catalog>) -> Option<Arc<Tidying>> {
        let mut state = self.state();
        // Some may have come under the policy before since the last time.
        state.admitted.keep(catalog);
        // Whoever else has one may write it. A scrape has it for a moment; then it is found the next time.
        let retired = |tally: &mut Arc<Tally>| {
            let series = Arc::get_mut(tally)?.series.totals();
            Some(Retired { tally: Arc::clone(tally), series })
        };
        let retired: Vec<_> = state.live.iter_mut().filter_map(retired).collect();
        let is_kept = std::ptr::eq(state.kept.as_ptr(), Arc::as_ptr(catalog));
        if retired.is_empty() && is_kept {
            return None;
        }
        let past = Arc::clone(&state.past);
        Some(Arc::new(Tidying { past, retired, catalog: Arc::clone(catalog) }))
    }

    /// Takes over what was added up, unless something else was meanwhile. What is needed no more is in `tidied` afterwards.
    pub(super) fn tidy(&self, tidied: &mut Tidied) {
        let Tidied { of, past, in_order } = tidied;
        let retired: HashSet<_> = of.retired.iter().map(|retired| Arc::as_ptr(&retired.tally)).collect();
        let mut state = self.state();
        if Arc::ptr_eq(&state.past, &of.past) {
            std::mem::swap(&mut state.past, past);
            state.live.retain(|tally| !retired.contains(&Arc::as_ptr(tally)));
            *in_order = state.in_order.take();
            state.kept = Arc::downgrade(&of.catalog);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts are whole whatever a thread that held them died of.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all workers know of the busiest keys.
    pub(super) fn heavy_hitters(&self, now: Timestamp) -> Vec<HeavyHitter> {
        let workers = self.state().heavy.clone();
        heavy_hitters(&workers, now)
    }

    /// Adds up what all workers counted for the rules of `catalog`. The series of other rules end. If a policy has them again,
    /// they begin anew, with what tallies of before hold of them that a worker still has.
    pub(super) fn totals(&self, catalog: &Arc<Catalog>) -> Totals {
        // Workers wait for the lock after a reload, so nothing is added up under it.
        if let Some(tidying) = self.tidying(catalog) {
            self.tidy(&mut tidying.add_up());
        }
        let (live, latencies, mut past, known) = {
            let state = self.state();
            let known = state.in_order.clone().filter(|known| known.is_of(catalog));
            (state.live.clone(), state.latencies.clone(), Arc::clone(&state.past), known)
        };
        let all = Arc::clone(&past);
        let mut totals = Totals { catalog: Arc::clone(catalog), ..Totals::default() };
        totals.rules.resize(catalog.rules.len(), RuleTotals::default());
        totals.domains.resize(catalog.domains.len(), DomainTotals::default());
        for tally in &live {
            if Arc::ptr_eq(&tally.catalog, catalog) {
                for (sum, counts) in totals.rules.iter_mut().zip(&tally.rules) {
                    sum.add(counts.totals());
                }
                for (sum, counts) in totals.domains.iter_mut().zip(&tally.domains) {
                    sum.add(counts.totals());
                }
                for (rule, series, counted) in tally.series.totals() {
                    totals.series.entry((rule, series)).or_default().add(counted);
                }
            } else {
                // Its worker has had no request since the policy changed.
                Arc::make_mut(&mut past).add(tally, &tally.series.totals());
            }
        }
        let known = known.filter(|_| Arc::ptr_eq(&all, &past)).unwrap_or_else(|| {
            let found = Arc::new(InOrder::of(&past, catalog));
            if Arc::ptr_eq(&all, &past) {
                self.state().keep_in_order(&all, &found);
            }
            found
        });
        for (sum, counted) in totals.rules.iter_mut().zip(&known.rules) {
            sum.add(*counted);
        }
        if !past.series.is_empty() {
            for rule in &catalog.with_series {
                let Some((domain, label)) = catalog.rule(*rule) else { continue };
                let of_rule = past.series.get(&(Arc::clone(domain), Arc::clone(label)));
                for (series, counted) in of_rule.into_iter().flatten() {
                    totals.series.entry((*rule, Arc::clone(series))).or_default().add(*counted);
                }
            }
        }
        for (sum, name) in totals.domains.iter_mut().zip(&catalog.domains) {
            sum.add(past.domains.get(name).copied().unwrap_or_default());
        }
        for of_worker in &latencies {
            totals.answers.add(&of_worker.answers);
            totals.store.add(&of_worker.store);
        }
        totals
    }
}

impl State {
    /// Keeps what was found of `past`, unless that has changed meanwhile.
    fn keep_in_order(&mut self, past: &Arc<Past>, found: &Arc<InOrder>) {
        if Arc::ptr_eq(past, &self.past) {
            self.in_order = Some(Arc::clone(found));
        }
    }
}

/// What tallies for a policy are made with before it comes into force: of very many rules they are megabytes, and workers must not wait
/// for those.
#[derive(Clone, Debug)]
pub struct NextTallies {
    workers: usize,
    admitted: Admitted,
}

impl NextTallies {
    /// Makes one for each worker; `catalog` is that of the policy.
    pub fn of(&self, catalog: &Arc<Catalog>) -> ReadyTallies {
        ReadyTallies((0..self.workers).map(|_| Arc::new(Tally::of(catalog, &self.admitted))).collect())
    }
}

/// Tallies that no worker has taken.
#[derive(Debug)]
pub struct ReadyTallies(Vec<Arc<Tally>>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainIndex;

    fn catalog(rules: &[&str]) -> Arc<Catalog> {
        let rules = rules.iter().map(|label| (DomainIndex(0), (*label).into())).collect();
        Arc::new(Catalog { domains: vec!["d".into()], rules, ..Catalog::default() })
    }

    fn hit(hits: u64) -> RuleHit {
        RuleHit { hits, ..RuleHit::default() }
    }

    #[test]
    fn hits_are_counted_by_what_becomes_of_them() {
        let (tallies, catalog) = (Tallies::default(), catalog(&["r"]));
        let recorder = tallies.recorder();
        let rule = |hit| recorder.count(&catalog, |tally| tally.rule(RuleIndex(0), None, hit));
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
                tally.rule(RuleIndex(rule), None, hit(hits));
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
        assert_eq!(
            tallies.totals(&before).rules[0].total,
            1,
            "a worker keeps the tally of before for one reload"
        );
        assert_eq!(
            tallies.state().live.len(),
            4,
            "of each worker the one that is written and the one before"
        );
    }

    #[test]
    fn series_outlive_reloads_and_workers_while_their_rules_have_some() {
        let tallies = Tallies::default();
        let with_series = |rules: &[&str], with: &[u32]| {
            let catalog = Catalog::clone(&catalog(rules));
            Arc::new(Catalog { with_series: with.iter().copied().map(RuleIndex).collect(), ..catalog })
        };
        let (before, after) = (with_series(&["gone", "stays"], &[0, 1]), with_series(&["stays"], &[0]));
        let count = |recorder: &Recorder, catalog, rule, series, hits| {
            recorder.count(catalog, |tally| tally.rule(RuleIndex(rule), Some(series), hit(hits)));
        };
        let (busy, ended) = (tallies.recorder(), tallies.recorder());
        count(&busy, &before, 0, "k=1", 1);
        count(&busy, &before, 1, "k=1", 2);
        count(&ended, &before, 1, "k=1", 4);
        count(&ended, &before, 1, "k=2", 8);
        drop(ended);
        count(&busy, &after, 0, "k=1", 16);
        let reported = |catalog| {
            let totals = tallies.totals(catalog);
            totals.series.iter().map(|((_, series), totals)| format!("{series} {}", totals.total)).collect()
        };
        for _ in 0..3 {
            let reported: Vec<_> = reported(&after);
            assert_eq!(reported, ["k=1 22", "k=2 8"]);
        }
        let reported: Vec<_> = reported(&with_series(&["stays"], &[]));
        assert_eq!(reported, [""; 0], "the rule has no series any more");
    }

    #[test]
    fn what_was_counted_before_a_reload_is_found_by_its_names_once() {
        let tallies = Tallies::default();
        let (before, after) = (catalog(&["gone", "stays"]), catalog(&["stays"]));
        let count = |hits| {
            let ended = tallies.recorder();
            ended.count(&before, |tally| tally.rule(RuleIndex(1), None, hit(hits)));
        };
        let found = || (tallies.totals(&after).rules[0].total, tallies.state().in_order.clone().unwrap());
        count(1);
        let (first, again) = (found(), found());
        assert_eq!((first.0, again.0), (1, 1));
        assert!(Arc::ptr_eq(&first.1, &again.1), "nothing has changed");
        count(2);
        assert_eq!(found().0, 3);
        // The other order is another one's.
        assert_eq!(tallies.totals(&before).rules.iter().map(|rule| rule.total).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(found().0, 3);
    }

    #[test]
    fn what_workers_begin_a_policy_with_is_there_before_they_ask() {
        let tallies = Tallies::default();
        let (before, after) = (catalog(&["r"]), catalog(&["r", "s"]));
        let workers = [tallies.recorder(), tallies.recorder()];
        let count = |recorder: &Recorder, catalog, hits| {
            recorder.count(catalog, |tally| tally.rule(RuleIndex(0), None, hit(hits)));
        };
        for worker in &workers {
            count(worker, &before, 1);
        }
        tallies.prepare(tallies.next().of(&after));
        let made = tallies.state().live.len();
        // Whoever holds the lock, as a scrape does, holds up no worker.
        let scrape = tallies.state();
        for worker in &workers {
            count(worker, &after, 2);
        }
        assert_eq!((scrape.live.len(), tallies.ready().len()), (made, 0));
        drop(scrape);
        assert_eq!(tallies.totals(&after).rules[0].total, 6);
        // Nobody took those of a policy that did not last.
        (0..10).for_each(|_| tallies.prepare(tallies.next().of(&catalog(&["r"]))));
        tallies.tidy(&mut tallies.tidying(&after).unwrap().add_up());
        assert!(tallies.state().live.len() <= made + 2, "{}", tallies.state().live.len());
    }

    #[test]
    fn what_was_added_up_beside_something_else_is_added_up_again_and_nothing_is_lost() {
        let tallies = Tallies::default();
        let (before, after) = (catalog(&["r"]), catalog(&["r", "s"]));
        let counts = |hits| {
            let ended = tallies.recorder();
            ended.count(&before, |tally| tally.rule(RuleIndex(0), None, hit(hits)));
        };
        let total = || tallies.totals(&after).rules[0].total;
        counts(1);
        let begun = tallies.tidying(&after).unwrap();
        counts(2);
        // A scrape meanwhile sees both, and keeps what nobody else is adding up.
        assert_eq!(total(), 3);
        let mut late = begun.add_up();
        drop(begun);
        tallies.tidy(&mut late);
        drop(late);
        // What was refused is left, and is added up the next time.
        assert_eq!((total(), tallies.state().live.len()), (3, 0));
    }

    #[test]
    fn reloads_add_nothing_up_where_nobody_scrapes() {
        let tallies = Tallies::default();
        let recorder = tallies.recorder();
        for reload in 0..100 {
            let catalog = catalog(&["r", &format!("only of {reload}")]);
            recorder.count(&catalog, |tally| {
                tally.rule(RuleIndex(0), None, hit(1));
                tally.rule(RuleIndex(1), None, hit(1));
            });
            tallies.tidy(&mut tallies.tidying(&catalog).unwrap().add_up());
            assert!(tallies.tidying(&catalog).is_none(), "nothing has changed");
            let state = tallies.state();
            assert!(state.live.len() <= 2 && state.past.rules.len() <= 2, "{reload}");
        }
        assert_eq!(tallies.totals(&catalog(&["r"])).rules[0].total, 100);
    }
}
