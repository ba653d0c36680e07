//! The leases of a process.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};

use super::mark;
use crate::algorithm::{Charge, Durability, Share};
use crate::model::{CellKey, Few, Hits, Outcome, Timestamp};

/// The most hits that are taken ahead of time.
pub(super) const LARGEST: u64 = 1_000;
/// How long what the store refused is refused without asking it again: what others held may have come back to it.
pub(super) const DENIED_FOR: Duration = Duration::from_millis(100);
/// How long hits that were refused here are kept for the store, if nobody asks it about their counter.
const OWED_FOR: Duration = Duration::from_secs(10);
/// The most leases of one shard. Whoever asks for more counters than that asks the store each time.
const MOST: usize = 1_024;
/// Locks, so that two requests seldom want the same one.
const SHARDS: usize = 64;

/// The leases of a process, by counter.
#[derive(Debug)]
pub(super) struct Leases {
    shards: Box<[Mutex<HashMap<CellKey, Lease>>]>,
    /// How many processes share what is left.
    replicas: u64,
}

/// What was taken of one window.
#[derive(Clone, Debug)]
struct Lease {
    /// The charge that it was taken with.
    share: Share,
    /// What the store told when the last hits were taken, and when it was asked.
    told: Outcome,
    told_at: Timestamp,
    /// When the window ends. So does the lease.
    until: Timestamp,
    /// Hits that were taken and not spent.
    unspent: u64,
    /// Hits that were refused here and are to be counted all the same (`count_denied`): the store hears of them with the next question. Those
    /// that were taken are used up first, so there is never something of both.
    owed: u64,
    /// Hits to take the next time. It doubles each time they are used up, so keys that come seldom hold few.
    next: u64,
    /// The most hits to take.
    most: u64,
    /// Whether somebody is at the store for more.
    is_asked_for: bool,
    /// Whether the counter was reset in this window. What is leased of it is not given back any more.
    is_reset: bool,
}

/// What a request took of a lease, to have the rest of its hits from the store.
#[derive(Debug)]
pub(super) struct Taken {
    /// Hits that the lease had. They are not in the lease any more.
    pub(super) covered: u64,
    /// Hits that were refused before and are to be counted with those of the charge.
    pub(super) owed: u64,
    /// Hits that are asked for beyond those of the charge.
    pub(super) ahead: u64,
    /// When the window ends.
    until: Timestamp,
    /// Whether it is this request that asks for more.
    asks: bool,
}

/// What is known of a charge without asking the store.
#[derive(Debug)]
pub(super) enum Known {
    /// Its hits were spent, of the window that ends then.
    Spent(Outcome, Timestamp),
    /// It is refused, in the window that ends then.
    Denied(Outcome, Timestamp),
}

impl Known {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Spent(outcome, _) | Self::Denied(outcome, _) => *outcome,
        }
    }

    /// What is told if its `hits` are put back, as another charge is refused.
    pub(super) fn uncounted(&self, hits: Hits) -> Outcome {
        match self {
            Self::Denied(outcome, _) => *outcome,
            Self::Spent(outcome, _) => {
                let used = outcome.used.saturating_sub(hits.cost());
                let remaining = outcome.limit.saturating_sub(used);
                Outcome { used, remaining, ..*outcome }
            }
        }
    }
}

/// A lease that is to be given back, and what was refused and not counted yet.
#[derive(Clone, Debug)]
pub(super) struct Returned {
    key: CellKey,
    lease: Lease,
}

impl Returned {
    /// A charge that only looks at its counter.
    pub(super) fn look(&self) -> Charge {
        let share = Share { hits: Hits::Look, stage: 0, ..self.lease.share };
        Charge { key: self.key, durability: Durability::None, share }
    }

    /// The charges that give it back, or count what was refused; they are made by the time `late`. What was given back by a reset already is
    /// not given back again: the counter's mark refuses that.
    pub(super) fn settled(&self, late: Timestamp) -> Few<Charge> {
        let Lease { share, unspent, owed, .. } = self.lease;
        let durability = Durability::None;
        if owed > 0 {
            let share = Share { hits: Hits::charge(owed), stage: 0, count_denied: true, ..share };
            return Few::from_slice(&[Charge { key: self.key, durability, share }]);
        }
        let start = self.lease.until.minus(self.lease.told.window);
        let refund = Share { hits: Hits::refund(unspent), stage: 0, count_denied: false, cell: 1, ..share };
        Few::from_slice(&[
            mark::refuses(self.key, &share, start, late),
            Charge { key: self.key, durability, share: refund },
        ])
    }

    /// Whether the counter was reset, as the outcomes of [`settled`](Self::settled) tell.
    pub(super) fn was_reset(&self, outcomes: &[Option<Outcome>]) -> bool {
        self.lease.owed == 0 && outcomes.first().is_some_and(|mark| mark.is_some_and(|mark| !mark.admitted))
    }
}

impl Leases {
    pub(super) fn new(replicas: u64) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), replicas: replicas.max(1) }
    }

    pub(super) fn unspent(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().values().map(|lease| lease.unspent).sum::<u64>()).sum()
    }

    /// How many leases there are, and the bytes that they take.
    pub(super) fn size(&self) -> (u64, u64) {
        let of_shard = |shard: &Mutex<HashMap<CellKey, Lease>>| {
            let shard = shard.lock();
            (shard.len() as u64, shard.allocation_size() as u64)
        };
        self.shards.iter().map(of_shard).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    fn shard(&self, key: CellKey) -> MutexGuard<'_, HashMap<CellKey, Lease>> {
        // The other half says where in the shard.
        self.shards[usize::try_from(key.high % SHARDS as u64).unwrap_or_default()].lock()
    }

    /// Spends the hits of `charge`, if its lease has as many, or refuses them, if the store has none. When less than half of a lease is
    /// left, one request is told that nothing is known, which goes to the store for it and for more.
    pub(super) fn spend(&self, charge: &Charge, now: Timestamp) -> Option<Known> {
        let mut shard = self.shard(charge.key);
        let lease = shard.get_mut(&charge.key).filter(|lease| lease.covers(charge, now))?;
        let hits = charge.share.hits;
        // What others were refused may be counted beyond the limit. It came after what is leased.
        let is_covered = charge.share.count_denied && hits.cost() <= lease.unspent;
        // A limit that was lowered may have been used up by what is leased of it.
        if !is_covered && lease.used().saturating_add(hits.cost()) > lease.told.limit {
            if now >= lease.told_at.plus(DENIED_FOR) {
                return None;
            }
            if charge.share.count_denied {
                lease.count_refused(hits.cost());
            }
            return Some(Known::Denied(lease.refusal(charge, now), lease.until));
        }
        if lease.unspent < hits.cost() || lease.is_low(self.replicas) {
            return None;
        }
        lease.unspent -= hits.cost();
        Some(Known::Spent(lease.outcome(now), lease.until))
    }

    /// Puts back hits that were spent or counted for `charge` in the window that ends then, and are not to be.
    pub(super) fn put_back(&self, charge: &Charge, hits: u64, until: Timestamp) {
        if let Some(lease) = self.shard(charge.key).get_mut(&charge.key).filter(|lease| lease.is_of(until)) {
            lease.put_back(hits);
        }
    }

    /// Takes what the lease of `charge` has of its hits, and says how many more to ask for.
    pub(super) fn prepare(&self, charge: &Charge, now: Timestamp) -> Taken {
        let mut shard = self.shard(charge.key);
        // The first request of a window asks for itself alone: there may be no second.
        let Some(lease) = shard.get_mut(&charge.key).filter(|lease| lease.covers(charge, now)) else {
            return Taken { covered: 0, owed: 0, ahead: 0, until: now, asks: false };
        };
        let covered = lease.unspent.min(charge.share.hits.cost());
        lease.unspent -= covered;
        let owed = if charge.share.count_denied { std::mem::take(&mut lease.owed) } else { 0 };
        let asks = !lease.is_asked_for;
        lease.is_asked_for = true;
        let ahead = if asks { lease.chunk(self.replicas) } else { 0 };
        Taken { covered, owed, ahead, until: lease.until, asks }
    }

    /// Undoes what [`prepare`](Self::prepare) did for `charge`, of whose `taken` hits none are spent or counted but those that are not
    /// `covered` or `owed` any more.
    pub(super) fn release(&self, charge: &Charge, taken: &Taken) {
        if let Some(lease) = self.shard(charge.key).get_mut(&charge.key) {
            lease.is_asked_for &= !taken.asks;
            if lease.is_of(taken.until) {
                lease.put_back(taken.covered);
                lease.count_refused(taken.owed);
            }
        }
    }

    /// Keeps what the store just told `told` about, with the hits that it `granted` ahead, and says how many are kept in all.
    pub(super) fn keep(&self, charge: &Charge, told: &Outcome, granted: u64, now: Timestamp) -> u64 {
        let mut shard = self.shard(charge.key);
        let until = now.plus(told.reset_after);
        if told.used == 0 || until <= now {
            // It may be from before what is leased was counted. What was asked for a while later is not: the store was emptied.
            let is_later = |lease: &Lease| now >= lease.told_at.plus(DENIED_FOR);
            if shard.get(&charge.key).is_some_and(is_later) {
                shard.remove(&charge.key);
            }
            return 0;
        }
        if granted == 0 && shard.len() >= MOST && !shard.contains_key(&charge.key) {
            return 0;
        }
        let lease = shard.entry(charge.key).or_insert_with(|| Lease {
            share: charge.share,
            told: *told,
            told_at: now,
            until,
            unspent: 0,
            owed: 0,
            next: 1,
            most: most(charge),
            is_asked_for: false,
            is_reset: false,
        });
        if !lease.is_of(until) {
            if until < lease.until {
                // The answer of a window that has ended meanwhile, and its hits with it.
                return 0;
            }
            (lease.unspent, lease.owed, lease.next, lease.told.used) = (0, 0, 1, 0);
            lease.is_reset = false;
        }
        // Answers may come in another order than they were given in: the one with more counted is the later one. After a while it is that
        // which was asked for later: others have given back what they held, or the store was emptied.
        let is_later = told.used >= lease.told.used || now >= lease.told_at.plus(DENIED_FOR);
        if lease.share.limit != charge.share.limit
            && told.used > charge.share.limit
            && charge.share.count_denied
        {
            // What was leased of a limit that was lowered may be beyond it, and cannot be told from what others were refused.
            lease.unspent = 0;
        }
        if lease.share.limit != charge.share.limit || is_later {
            (lease.told, lease.told_at, lease.until, lease.share) = (*told, now, until, charge.share);
            lease.most = most(charge);
        }
        lease.put_back(granted);
        lease.next = lease.next.saturating_mul(2).min(LARGEST);
        lease.unspent
    }

    /// Takes what is left of a lease, to give it back.
    pub(super) fn take(&self, key: CellKey, now: Timestamp) -> Option<Returned> {
        let mut shard = self.shard(key);
        if shard.get(&key).is_some_and(|lease| lease.is_reset && now < lease.until) {
            return None;
        }
        let lease = shard.remove(&key)?;
        let is_left = (lease.unspent > 0 || lease.owed > 0) && now < lease.until;
        is_left.then_some(Returned { key, lease })
    }

    /// Has a lease again that was [taken](Self::take) and is not given back.
    pub(super) fn retain(&self, Returned { key, lease }: Returned) {
        let mut shard = self.shard(key);
        match shard.get_mut(&key) {
            Some(here) if here.is_of(lease.until) && here.share.limit == lease.share.limit => {
                here.put_back(lease.unspent);
                here.count_refused(lease.owed);
            }
            // Of another window or another limit.
            Some(_) => {}
            None => {
                shard.insert(key, Lease { is_asked_for: false, ..lease });
            }
        }
    }

    /// Forgets a lease that was [taken](Self::take) and is void, as its counter was reset. Later ones of that window are not: they were
    /// taken after it, and are kept until they are spent.
    pub(super) fn void(&self, Returned { key, lease }: Returned) {
        let mut shard = self.shard(key);
        if let Some(here) = shard.get_mut(&key) {
            here.is_reset |= here.is_of(lease.until);
        } else {
            let void = Lease { unspent: 0, owed: 0, is_asked_for: false, is_reset: true, ..lease };
            shard.insert(key, void);
        }
    }

    /// Takes what is left of all leases.
    pub(super) fn take_all(&self, now: Timestamp) -> Vec<Returned> {
        let keys: Vec<CellKey> =
            self.shards.iter().flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).collect();
        keys.into_iter().filter_map(|key| self.take(key, now)).collect()
    }

    /// Forgets the leases of windows that have ended, and those of which nothing is left. What was refused of a counter that nobody asks for
    /// any more is forgotten with them: it is over its limit without these hits.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let is_owed = |lease: &Lease| lease.owed > 0 && now < lease.told_at.plus(OWED_FOR);
            shard.retain(|_, lease| {
                now < lease.until && (lease.unspent > 0 || lease.is_reset || is_owed(lease))
            });
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }
}

/// The most hits of the counter of `charge` that are taken ahead of time: they are lost when the process crashes, and to a limit that
/// survives that no more may be lost than on a disk.
fn most(charge: &Charge) -> u64 {
    match charge.durability {
        Durability::None => LARGEST,
        Durability::Reserve => (charge.share.limit / 1_000).clamp(1, 64),
        Durability::Exact => 0,
    }
}

impl Lease {
    /// Whether it is of the window and of the limit that `charge` asks for.
    fn covers(&self, charge: &Charge, now: Timestamp) -> bool {
        now < self.until
            && self.share.algorithm == charge.share.algorithm
            && self.share.limit == charge.share.limit
    }

    /// Whether it is of the window that ends then. The end is known to within the time that the store took to answer, and windows follow
    /// each other by their length.
    fn is_of(&self, until: Timestamp) -> bool {
        let half = self.told.window / 2;
        until <= self.until.plus(half) && self.until <= until.plus(half)
    }

    /// What is used of the limit without what is leased of it, and with what was refused.
    fn used(&self) -> u64 {
        self.told.used.saturating_sub(self.unspent).saturating_add(self.owed)
    }

    /// Counts hits that were refused.
    fn count_refused(&mut self, hits: u64) {
        let covered = hits.min(self.unspent);
        self.unspent -= covered;
        self.owed = self.owed.saturating_add(hits - covered);
    }

    /// Has hits that are not counted after all.
    fn put_back(&mut self, hits: u64) {
        let owed = hits.min(self.owed);
        self.owed -= owed;
        self.unspent = self.unspent.saturating_add(hits - owed);
    }

    /// How many hits are taken ahead of time: near the limit fewer, as others want some of what is left.
    fn chunk(&self, replicas: u64) -> u64 {
        self.next.min(self.most).min(self.told.remaining / (2 * replicas))
    }

    /// Whether more is to be taken, and nobody is at it.
    fn is_low(&self, replicas: u64) -> bool {
        !self.is_asked_for && self.unspent < self.chunk(replicas) / 2
    }

    /// What is told after hits were spent: the store's numbers when it was asked last, with what was spent since.
    fn outcome(&self, now: Timestamp) -> Outcome {
        let (used, ends) = (self.used(), self.until.since(now));
        Outcome {
            admitted: true,
            used,
            attempted: used,
            remaining: self.told.limit.saturating_sub(used),
            reset_after: ends,
            full_after: ends,
            retry_after: None,
            ..self.told
        }
    }

    /// What is told when hits are refused, which are counted by now if they are at all.
    fn refusal(&self, charge: &Charge, now: Timestamp) -> Outcome {
        let (of, hits) = (self.outcome(now), charge.share.hits);
        let attempted = if charge.share.count_denied { of.used } else { hits.applied_to(of.used) };
        let retry_after = (hits.cost() <= of.limit).then_some(of.reset_after);
        Outcome { admitted: false, attempted, retry_after, ..of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Algorithm;

    const WINDOW: Duration = Duration::from_secs(10);
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn charge() -> Charge {
        let share = Share {
            algorithm: Algorithm::aligned(WINDOW),
            limit: 100,
            hits: Hits::ONE,
            count_denied: false,
            settles: false,
            enforced: true,
            stage: 0,
            cell: 0,
        };
        Charge { key: CellKey { high: 1, low: 2 }, durability: Durability::None, share }
    }

    /// What the store tells when so much is used and the window ends so soon.
    fn told(used: u64, reset_after: Duration) -> Outcome {
        Outcome {
            admitted: true,
            limit: 100,
            quota: 100,
            used,
            attempted: used,
            remaining: 100 - used,
            window: WINDOW,
            reset_after,
            full_after: reset_after,
            retry_after: None,
        }
    }

    #[test]
    fn an_answer_that_comes_after_that_of_the_next_window_grants_nothing() {
        let (leases, charge) = (Leases::new(1), charge());
        let late = START.plus(Duration::from_millis(9_990));
        let next = START.plus(WINDOW);
        assert_eq!(leases.keep(&charge, &told(5, WINDOW), 4, START), 4);
        assert_eq!(leases.keep(&charge, &told(3, WINDOW), 2, next), 2, "the next window begins with its own");
        assert_eq!(leases.keep(&charge, &told(50, Duration::from_millis(10)), 40, late), 0);
        assert_eq!(leases.unspent(), 2);
    }

    #[test]
    fn an_answer_from_before_the_first_hit_was_counted_takes_no_lease_away() {
        let (leases, charge) = (Leases::new(1), charge());
        let at = |millisecond| START.plus(Duration::from_millis(millisecond));
        leases.keep(&charge, &told(5, WINDOW), 4, at(1));
        assert_eq!(
            leases.keep(&charge, &told(0, WINDOW), 0, START),
            0,
            "it was refused for another limit's sake"
        );
        assert_eq!(leases.keep(&charge, &told(0, Duration::ZERO), 0, at(2)), 0);
        assert_eq!(leases.unspent(), 4);
        leases.keep(&charge, &told(0, WINDOW), 0, at(101));
        assert_eq!(leases.unspent(), 0, "the store was emptied");
    }

    #[test]
    fn what_others_gave_back_is_taken_after_a_moment() {
        let (leases, charge) = (Leases::new(1), charge());
        leases.keep(&charge, &told(100, WINDOW), 0, START);
        let ahead = |millisecond| {
            let now = START.plus(Duration::from_millis(millisecond));
            leases.keep(&charge, &told(40, WINDOW), 0, now);
            let taken = leases.prepare(&charge, now);
            leases.release(&charge, &taken);
            taken.ahead
        };
        assert_eq!(ahead(99), 0, "it may be an answer from before");
        assert!(ahead(100) > 0);
    }

    #[test]
    fn what_was_taken_from_a_window_is_not_put_back_into_the_next_one() {
        let (leases, charge) = (Leases::new(1), charge());
        let next = START.plus(WINDOW);
        leases.keep(&charge, &told(5, WINDOW), 4, START);
        let Some(Known::Spent(_, until)) = leases.spend(&charge, START) else { panic!("it has four") };
        let taken = leases.prepare(&charge, START);
        assert_eq!(taken.covered, 1);
        leases.keep(&charge, &told(3, WINDOW), 2, next);
        leases.put_back(&charge, 1, until);
        leases.release(&charge, &taken);
        assert_eq!(leases.unspent(), 2);
    }
}
