//! The busiest and the most refused keys of the last minutes: a sketch of fixed size for each worker.
//!
//! `HeavyKeeper` finds the largest of any number of keys in fixed memory (Gong et al., «`HeavyKeeper`: An Accurate Algorithm for
//! Finding Top-k Elephant Flows», 2018). It underestimates, and never invents a key. It forgets no key that was large once, so
//! each worker has two sketches in turn: what was heavy yesterday goes with the older one.
//!
//! Only some of the requests are counted, fewer the more there are, each for as many as it stands for. The text of a key is
//! made when a heavy key is counted for the second time: keys that clients invent come once, and cost no text.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heavykeeper::BucketedTopK;

use super::hits::RuleHit;
use crate::model::{CellKey, Timestamp};

/// How many of the busiest keys a worker knows, and how many of the most refused.
const KEYS: usize = 256;
/// Buckets of a sketch, and counts in each of them.
const WIDTH: usize = 512;
const DEPTH: usize = 4;
/// The probability that a small count falls by one when another key wants its place, to the power of the count.
const DECAY: f64 = 0.9;
/// How long a sketch is added to before the next one begins.
const TURN: Duration = Duration::from_secs(60);
/// After so many that were counted in one turn, half as many are.
const FULL_SAMPLE: u32 = 1_000;
/// The most requests that one stands for.
const SPARSEST: u32 = 1_024;

/// A key and what was asked for under it in the last one to two minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeavyHitter {
    /// Of its rule.
    pub domain: Arc<str>,
    /// Its rule's label.
    pub rule: Arc<str>,
    /// What it is counted by, `subject=acme` or `path=/leads > ip=10.0.0.1`. A credential is its subject's id, or `…`.
    pub key: Arc<str>,
    /// Estimated hits, refused ones included.
    pub hits: u64,
    /// Estimated hits that were over a limit.
    pub refused: u64,
}

/// What a key is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeavyName {
    /// Of its rule.
    pub domain: Arc<str>,
    /// Its rule's label.
    pub rule: Arc<str>,
    /// What it is counted by.
    pub key: Arc<str>,
}

/// The keys that one worker counted.
#[derive(Debug)]
pub(super) struct Heavy {
    turns: Arc<Mutex<Turns>>,
    /// Hits to leave out before the next one is counted.
    skip: Cell<u32>,
    /// A state of xorshift: which hits are counted must not go with the clients' own rhythm.
    random: Cell<u32>,
    /// How many hits the next one stands for.
    stands_for: Cell<u32>,
}

/// What one worker counted, as others read it.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The one that is added to.
    now: Option<Sketch>,
    before: Option<Sketch>,
    begun: Timestamp,
    counted: u32,
}

struct Sketch {
    hits: BucketedTopK<CellKey>,
    refused: BucketedTopK<CellKey>,
    names: HashMap<CellKey, HeavyName>,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Sketch {
    fn new() -> Option<Self> {
        let sketch = || BucketedTopK::builder().k(KEYS).width(WIDTH).depth(DEPTH).decay(DECAY).build().ok();
        // Twice as many as it ever has: a map that is at most half full makes room for new ones, after many were removed, in its place.
        let names = HashMap::with_capacity(2 * (2 * KEYS + 2));
        Some(Self { hits: sketch()?, refused: sketch()?, names })
    }

    fn knows(&self, key: &CellKey) -> bool {
        self.hits.contains_top_k(key) || self.refused.contains_top_k(key)
    }

    /// Whether the key wants a name: it is a heavy one, was counted before, and has none.
    fn add(&mut self, key: CellKey, hits: u64, refused: u64) -> bool {
        let evicted = [(hits, true), (refused, false)].map(|(many, is_hits)| {
            let sketch = if is_hits { &mut self.hits } else { &mut self.refused };
            sketch.add_with_evicted(&key, many).0
        });
        for gone in evicted.into_iter().flatten() {
            if !self.knows(&gone) {
                self.names.remove(&gone);
            }
        }
        let count = self.hits.count(&key);
        // One that is as high as can be may have been so before.
        let was_counted = count > hits || count == u64::MAX;
        was_counted && self.knows(&key) && !self.names.contains_key(&key)
    }
}

impl Heavy {
    pub(super) fn new(seed: u32) -> Self {
        Self {
            turns: Arc::default(),
            skip: Cell::new(0),
            random: Cell::new(seed | 1),
            stands_for: Cell::new(1),
        }
    }

    pub(super) fn turns(&self) -> Arc<Mutex<Turns>> {
        Arc::clone(&self.turns)
    }

    /// Whether the next hit is one of those that are counted.
    pub(super) fn is_next(&self) -> bool {
        let left = self.skip.get();
        if left > 0 {
            self.skip.set(left - 1);
        }
        left == 0
    }

    /// Counts a hit for as many as it stands for. `name` is asked for when the key is heavy and has none yet.
    pub(super) fn add(
        &self,
        key: CellKey,
        hit: RuleHit,
        now: Timestamp,
        name: impl FnOnce() -> Option<HeavyName>,
    ) {
        let stands_for = self.stands_for.get();
        self.skip.set(self.random_below(2 * stands_for - 1));
        let hits = hit.hits.saturating_mul(u64::from(stands_for));
        let wants_name = {
            let mut turns = lock(&self.turns);
            if turns.turn(now) {
                self.stands_for.set(1);
            } else if turns.counted >= FULL_SAMPLE && stands_for < SPARSEST {
                turns.counted = 0;
                self.stands_for.set(2 * stands_for);
            }
            turns.counted += 1;
            let refused = if hit.over { hits } else { 0 };
            turns.now.as_mut().is_some_and(|sketch| sketch.add(key, hits, refused))
        };
        if wants_name && let Some(name) = name() {
            let mut turns = lock(&self.turns);
            if let Some(sketch) = &mut turns.now {
                sketch.names.insert(key, name);
            }
        }
    }

    /// A number up to and without `bound`, and 0 where there is none.
    fn random_below(&self, bound: u32) -> u32 {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random.set(random);
        random % bound.max(1)
    }
}

impl Turns {
    /// Begins a new sketch when it is time to. Whether it did.
    fn turn(&mut self, now: Timestamp) -> bool {
        let is_over = now >= self.begun.plus(TURN) || now < self.begun;
        if self.now.is_some() && !is_over {
            return false;
        }
        let last = self.now.take();
        // Older than that, it says nothing of the last minutes.
        self.before = last.filter(|_| now < self.begun.plus(2 * TURN) && now >= self.begun);
        self.now = Sketch::new();
        self.begun = now;
        self.counted = 0;
        true
    }

    /// The sketches that say something of the last minutes.
    fn recent(&self, now: Timestamp) -> impl Iterator<Item = &Sketch> {
        let is_recent = now < self.begun.plus(2 * TURN);
        let before = self.before.as_ref().filter(|_| now < self.begun.plus(TURN));
        self.now.as_ref().filter(|_| is_recent).into_iter().chain(before)
    }
}

/// What all workers know of the last minutes, those with most hits first.
pub(super) fn heavy_hitters(workers: &[Arc<Mutex<Turns>>], now: Timestamp) -> Vec<HeavyHitter> {
    let mut found: BTreeMap<HeavyName, (u64, u64)> = BTreeMap::new();
    for worker in workers {
        let turns = lock(worker);
        for sketch in turns.recent(now) {
            for (key, name) in &sketch.names {
                let (hits, refused) = found.entry(name.clone()).or_default();
                let of_sketch = (sketch.hits.count(key), sketch.refused.count(key));
                // A key may be heavy among those that are refused, and not among all.
                *hits = hits.saturating_add(of_sketch.0.max(of_sketch.1));
                *refused = refused.saturating_add(of_sketch.1);
            }
        }
    }
    let hitters = found.into_iter().map(|(HeavyName { domain, rule, key }, (hits, refused))| HeavyHitter {
        domain,
        rule,
        key,
        hits,
        refused,
    });
    let mut hitters: Vec<_> = hitters.collect();
    hitters.sort_by_key(|hitter| Reverse((hitter.hits, hitter.refused)));
    hitters
}

fn lock(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    // Counts are whole whatever a thread that held them died of.
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: u64) -> HeavyName {
        HeavyName { domain: "d".into(), rule: "r".into(), key: format!("k={key}").into() }
    }

    fn key(number: u64) -> CellKey {
        CellKey { high: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), low: number }
    }

    /// Counts as a worker does.
    fn count(heavy: &Heavy, number: u64, over: bool, now: u64) {
        if heavy.is_next() {
            let hit = RuleHit { hits: 1, over, ..RuleHit::default() };
            heavy.add(key(number), hit, Timestamp::from_secs(now), || Some(name(number)));
        }
    }

    fn found(heavy: &Heavy, now: u64) -> Vec<(String, u64, u64)> {
        let hitters = heavy_hitters(&[heavy.turns()], Timestamp::from_secs(now));
        hitters.into_iter().map(|one| (one.key.to_string(), one.hits, one.refused)).collect()
    }

    #[test]
    fn few_hits_are_all_counted() {
        let heavy = Heavy::new(7);
        for number in [1, 2, 2, 3, 2, 3] {
            count(&heavy, number, number == 3, 100);
        }
        let expected = [("k=2".to_owned(), 3, 0), ("k=3".to_owned(), 2, 2)];
        assert_eq!(found(&heavy, 100), expected, "one that came once is not heavy");
    }

    #[test]
    fn a_key_with_more_hits_than_can_be_counted_is_the_heaviest() {
        let heavy = Heavy::new(7);
        for _ in 0..2 {
            let hit = RuleHit { hits: u64::MAX, over: true, ..RuleHit::default() };
            heavy.add(key(1), hit, Timestamp::from_secs(100), || Some(name(1)));
        }
        let workers = [heavy.turns(), heavy.turns()];
        let found = heavy_hitters(&workers, Timestamp::from_secs(100));
        assert_eq!((found.len(), found[0].hits, found[0].refused), (1, u64::MAX, u64::MAX));
    }

    #[test]
    fn the_busiest_of_very_many_are_found_and_their_hits_estimated() {
        let heavy = Heavy::new(7);
        // Key 1 has a quarter of all hits, key 2 an eighth, all of them refused; a million others have one or two each.
        for number in 0..1_000_000_u64 {
            match number % 8 {
                0 | 4 => count(&heavy, 1, false, 100),
                1 => count(&heavy, 2, true, 100),
                _ => count(&heavy, 1_000 + number, false, 100),
            }
        }
        let found = found(&heavy, 100);
        assert!(found.len() <= 2 * KEYS, "{}", found.len());
        for ((key, hits, refused), (expected, most, refusals)) in
            found.iter().zip([("k=1", 250_000_u64, 0_u64), ("k=2", 125_000, 125_000)])
        {
            assert_eq!(key, expected);
            assert!(
                hits.abs_diff(most) < most / 5 && refused.abs_diff(refusals) <= refusals / 5,
                "{found:?}"
            );
        }
        assert!(heavy.stands_for.get() > 16, "few are counted of very many");
    }

    #[test]
    fn what_was_heavy_goes_after_two_turns_and_also_where_nobody_comes() {
        let heavy = Heavy::new(7);
        let twice = |number, now| (0..2).for_each(|_| count(&heavy, number, false, now));
        twice(1, 100);
        twice(2, 160);
        assert_eq!(found(&heavy, 161).len(), 2);
        twice(3, 220);
        let left: Vec<_> = found(&heavy, 221).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(left, ["k=2", "k=3"]);
        assert_eq!(found(&heavy, 341), []);
        // The clock was set back by an hour.
        twice(4, 10);
        assert_eq!(found(&heavy, 10).len(), 1);
    }

    #[test]
    fn keys_that_are_known_and_floods_of_others_take_no_allocation_but_one_of_each_map_in_its_life() {
        // Maps are seeded at random: however they are, and however long the flood lasts.
        for seed in 1..=10 {
            let heavy = Heavy::new(seed);
            let mut number = 0;
            let mut flood = || {
                number += 1;
                count(&heavy, 1, false, 100);
                count(&heavy, 10 + number, true, 100);
            };
            // The first hits make the sketch, and names of keys that are heavy while few are known.
            (0..20_000).for_each(|_| flood());
            let counted = allocation_counter::measure(|| (0..500_000).for_each(|_| flood()));
            // heavykeeper's two maps begin half full: each doubles once, when so many keys came and went that it has no free place.
            assert!(counted.count_total <= 2, "{counted:?}");
        }
    }
}
