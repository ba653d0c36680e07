//! The leases of a process.

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};

use crate::algorithm::{Charge, Durability, Share};
use crate::model::{CellKey, Hits, Outcome, Timestamp};

/// The most hits that are taken ahead of time.
pub(super) const LARGEST: u64 = 1_000;
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
#[derive(Debug)]
struct Lease {
    /// The charge that it was taken with.
    share: Share,
    /// What the store told when the last hits were taken.
    told: Outcome,
    /// When the window ends. So does the lease.
    until: Timestamp,
    /// Hits that were taken and not spent.
    unspent: u64,
    /// Hits to take the next time. It doubles each time they are used up, so keys that come seldom hold few.
    next: u64,
    /// Whether somebody is at the store for more.
    is_asked_for: bool,
}

/// A lease that is to be given back.
#[derive(Debug)]
pub(super) struct Returned {
    key: CellKey,
    share: Share,
    unspent: u64,
}

impl Returned {
    /// A charge that only looks at its counter.
    pub(super) fn look(&self) -> Charge {
        let share = Share { hits: Hits::Look, stage: 0, ..self.share };
        Charge { key: self.key, durability: Durability::None, share }
    }

    /// The charge that gives it back.
    pub(super) fn refund(&self, stage: u32) -> Charge {
        let share = Share { hits: Hits::refund(self.unspent), stage, ..self.share };
        Charge { key: self.key, durability: Durability::None, share }
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

    /// Spends the hits of `charge`, if its lease has as many. When less than half of it is left, one request is told that there is
    /// none, which goes to the store for it and for more.
    pub(super) fn spend(&self, charge: &Charge, now: Timestamp) -> Option<Outcome> {
        let mut shard = self.shard(charge.key);
        let lease = shard.get_mut(&charge.key).filter(|lease| lease.covers(charge, now))?;
        let hits = charge.share.hits.cost();
        // A limit that was lowered may have been used up by what is leased of it.
        let is_beyond =
            (lease.told.used - lease.unspent.min(lease.told.used)).saturating_add(hits) > lease.told.limit;
        if lease.unspent < hits || lease.is_low() || is_beyond {
            return None;
        }
        lease.unspent -= hits;
        Some(lease.outcome(now))
    }

    /// Puts back hits that were taken for `charge` and not needed.
    pub(super) fn put_back(&self, charge: &Charge, hits: u64) {
        if let Some(lease) = self.shard(charge.key).get_mut(&charge.key) {
            lease.unspent += hits;
        }
    }

    /// Takes what the lease of `charge` has of its hits, and says how many more to ask for.
    pub(super) fn prepare(&self, charge: &Charge, now: Timestamp) -> (u64, u64) {
        let mut shard = self.shard(charge.key);
        // The first request of a window asks for itself alone: there may be no second.
        let Some(lease) = shard.get_mut(&charge.key).filter(|lease| lease.covers(charge, now)) else {
            return (0, 0);
        };
        let covered = lease.unspent.min(charge.share.hits.cost());
        lease.unspent -= covered;
        // A limit that refuses nobody is not asked a second time where it is the hits ahead that are too many.
        if lease.is_asked_for || !charge.share.enforced {
            return (covered, 0);
        }
        lease.is_asked_for = true;
        let left = lease.told.remaining / (2 * self.replicas);
        (covered, lease.next.min(left).min(LARGEST))
    }

    /// Keeps `back` hits of what the store just told `told` about, and says how many are kept in all. Those that it did not grant just
    /// now went with their window, if that has ended meanwhile.
    pub(super) fn keep(
        &self,
        charge: &Charge,
        told: &Outcome,
        back: u64,
        granted: bool,
        now: Timestamp,
    ) -> u64 {
        let mut shard = self.shard(charge.key);
        let until = now.plus(told.reset_after);
        if told.used == 0 || until <= now {
            shard.remove(&charge.key);
            return 0;
        }
        if back == 0 && shard.len() >= MOST && !shard.contains_key(&charge.key) {
            return 0;
        }
        let lease = shard.entry(charge.key).or_insert_with(|| Lease {
            share: charge.share,
            told: *told,
            until,
            unspent: 0,
            next: 1,
            is_asked_for: false,
        });
        // The end is known to within the time that the store took to answer, and windows follow each other by their length.
        let is_next_window = until > lease.until.plus(told.window / 2);
        if is_next_window {
            // Its hits went with it.
            (lease.unspent, lease.next) = (0, 1);
        }
        // Answers may come in another order than they were given in: the one with more counted is the later one.
        if is_next_window || lease.share.limit != charge.share.limit || told.used >= lease.told.used {
            (lease.told, lease.until, lease.share) = (*told, until, charge.share);
        }
        if granted || !is_next_window {
            lease.unspent += back;
        }
        lease.next = lease.next.saturating_mul(2).min(LARGEST);
        lease.is_asked_for = false;
        lease.unspent
    }

    /// Takes what is left of a lease, to give it back.
    pub(super) fn take(&self, key: CellKey, now: Timestamp) -> Option<Returned> {
        let lease = self.shard(key).remove(&key)?;
        let is_left = lease.unspent > 0 && now < lease.until;
        is_left.then_some(Returned { key, share: lease.share, unspent: lease.unspent })
    }

    /// Takes what is left of all leases.
    pub(super) fn take_all(&self, now: Timestamp) -> Vec<Returned> {
        let keys: Vec<CellKey> =
            self.shards.iter().flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).collect();
        keys.into_iter().filter_map(|key| self.take(key, now)).collect()
    }

    /// Forgets the leases of windows that have ended, and those of which nothing is left.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|_, lease| now < lease.until && lease.unspent > 0);
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }
}

impl Lease {
    /// Whether it is of the window and of the limit that `charge` asks for.
    fn covers(&self, charge: &Charge, now: Timestamp) -> bool {
        now < self.until
            && self.share.algorithm == charge.share.algorithm
            && self.share.limit == charge.share.limit
    }

    /// Whether more is to be taken, and nobody is at it.
    fn is_low(&self) -> bool {
        !self.is_asked_for && self.unspent < self.next / 2
    }

    /// What is told after hits were spent: the store's numbers when it was asked last, with what was spent since.
    fn outcome(&self, now: Timestamp) -> Outcome {
        let used = self.told.used.saturating_sub(self.unspent);
        let ends = self.until.since(now);
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
}
