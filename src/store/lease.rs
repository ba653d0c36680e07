//! Hits that this process took from a shared store ahead of time, and spends without asking it again.
//!
//! A *lease* is a part of one window of one counter. The store counts it as used when it is taken, so however many processes
//! take leases, they never admit more than the limit together. What a process has not spent is denied to the others until it is
//! given back or the window ends: at most [`LARGEST`](table::LARGEST) hits, and at most an even share of half of what is left.
//!
//! Only fixed windows and periods are leased, which forget all of their hits at once. Hits of a sliding window or of a bucket count
//! from when they are made: those that were taken early would leave it early, and let more through than the limit. A request with
//! one of those, a look, a refund, a charge that is counted though it is refused, or two charges of one counter goes to the store
//! as it is; what was leased of its counters is given back first, so its numbers are exact.

mod table;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::table::{Leases, Returned};
use super::{Answers, Session, Statistics, Store, StoreError};
use crate::algorithm::{Algorithm, Charge, Durability, Mode, Outcomes, Share};
use crate::model::{Hits, Outcome, Timestamp};

/// A shared store, of whose fixed windows leases are taken.
#[derive(Debug)]
pub struct LeasedStore<S> {
    inner: S,
    leases: Arc<Leases>,
}

impl<S> LeasedStore<S> {
    /// Takes leases of `inner`, which `replicas` processes share.
    pub fn new(inner: S, replicas: u64) -> Self {
        Self { inner, leases: Arc::new(Leases::new(replicas)) }
    }

    /// Hits that were taken and not spent.
    pub fn unspent(&self) -> u64 {
        self.leases.unspent()
    }
}

impl<S: Store> LeasedStore<S> {
    /// Gives back what was not spent, as a process does that is about to end. Windows that end before the `deadline` take their hits
    /// with them: given back late, these would be the next window's.
    ///
    /// # Errors
    ///
    /// That of the store. What was not given back is denied to all until its window ends.
    pub async fn give_back(&self, now: Timestamp, deadline: Instant) -> Result<(), StoreError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let leased = self.leases.take_all(now.plus(left));
        let Some(first) = leased.first() else { return Ok(()) };
        // A connection may have to be made. A refund that is tried twice may be made twice, so a look finds out whether it is there.
        let (session, look) = (self.inner.session(), [first.look()]);
        while let Err(error) = session.apply(Mode::Each, &look, now, deadline).await {
            if Instant::now() + AGAIN_AFTER >= deadline {
                return Err(error);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        give_back(&session, leased, now, deadline).await
    }
}

impl<S: Store> Store for LeasedStore<S> {
    type Session = LeasedSession<S::Session>;

    fn session(&self) -> Self::Session {
        LeasedSession { inner: self.inner.session(), leases: Arc::clone(&self.leases) }
    }

    fn statistics(&self) -> Statistics {
        let (of_inner, (leases, bytes)) = (self.inner.statistics(), self.leases.size());
        Statistics { counters: of_inner.counters + leases, bytes: of_inner.bytes + bytes, ..of_inner }
    }

    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        self.leases.sweep(now);
        self.inner.sweep(now)
    }
}

/// A session of the shared store, with the leases of its process.
#[derive(Debug)]
pub struct LeasedSession<S> {
    inner: S,
    leases: Arc<Leases>,
}

impl<S: Session> Session for LeasedSession<S> {
    const ANSWERS: Answers = Answers::MostlyNow;

    fn apply_now(&self, _: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        if !may_be_leased(charges) {
            return None;
        }
        let mut outcomes = Outcomes::with_capacity(charges.len());
        for (at, charge) in charges.iter().enumerate() {
            let Some(outcome) = self.leases.spend(charge, now) else {
                charges[..at].iter().for_each(|spent| self.leases.put_back(spent, spent.share.hits.cost()));
                return None;
            };
            outcomes.push(Some(outcome));
        }
        // Each of them passes, so it does not matter how they go together.
        Some(outcomes)
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        if !may_be_leased(charges) {
            let leased = charges.iter().filter_map(|charge| self.leases.take(charge.key, now)).collect();
            give_back(&self.inner, leased, now, deadline).await?;
            return self.inner.apply(mode, charges, now, deadline).await;
        }
        let mut parts: Vec<Part> = charges.iter().map(|charge| self.part(charge, now)).collect();
        let asked: Vec<Charge> = parts.iter().map(Part::charge).collect();
        let mut outcomes = self.inner.apply(mode, &asked, now, deadline).await?;

        // What was refused may have been so for the hits ahead. Nothing was counted of it, so it can be asked again.
        let refused = refused(mode, charges, &outcomes);
        if refused.iter().any(|&at| parts[at].ahead > 0) {
            for &at in &refused {
                parts[at].ahead = 0;
            }
            let asked: Vec<Charge> = refused.iter().map(|&at| parts[at].charge()).collect();
            match self.inner.apply(mode, &asked, now, deadline).await {
                Ok(again) => refused.iter().zip(again).for_each(|(&at, outcome)| outcomes[at] = outcome),
                Err(error) => {
                    // All or none: hits that were counted already are leased, and not spent.
                    for (at, (part, outcome)) in parts.iter().zip(&outcomes).enumerate() {
                        if let (false, Some(outcome)) = (refused.contains(&at), outcome) {
                            self.leases.keep(
                                &part.of,
                                outcome,
                                part.of.share.hits.cost() + part.ahead,
                                true,
                                now,
                            );
                        }
                    }
                    return Err(error);
                }
            }
        }
        let refused = self::refused(mode, charges, &outcomes);
        let settled = parts.iter().zip(outcomes).enumerate().map(|(at, (part, outcome))| {
            let Some(outcome) = outcome else {
                // It was not reached.
                self.leases.put_back(&part.of, part.covered);
                return None;
            };
            Some(self.settled(part, outcome, !refused.contains(&at), now))
        });
        Ok(settled.collect())
    }
}

impl<S> LeasedSession<S> {
    /// What of `charge` is covered by a lease, and how much more is asked for.
    fn part(&self, charge: &Charge, now: Timestamp) -> Part {
        let (covered, ahead) = self.leases.prepare(charge, now);
        Part { of: *charge, covered, ahead }
    }

    /// What the store told of a part of a charge, as it is of all of it. `passes` says whether its stage was counted.
    fn settled(&self, part: &Part, told: Outcome, passes: bool, now: Timestamp) -> Outcome {
        let is_counted = passes && told.admitted;
        let back = if is_counted { part.ahead } else { part.covered };
        let unspent = self.leases.keep(&part.of, &told, back, is_counted, now);
        let used = told.used.saturating_sub(unspent);
        let attempted = if is_counted { used } else { part.of.share.hits.applied_to(used) };
        Outcome { used, attempted, remaining: told.limit.saturating_sub(used), ..told }
    }
}

/// A charge, of which a part is covered by a lease.
#[derive(Debug)]
struct Part {
    of: Charge,
    /// Hits that the lease had. They are not in the lease any more.
    covered: u64,
    /// Hits that are asked for beyond those of the charge.
    ahead: u64,
}

impl Part {
    /// What the store is asked for.
    fn charge(&self) -> Charge {
        let hits = Hits::charge((self.of.share.hits.cost() - self.covered).saturating_add(self.ahead));
        Charge { share: Share { hits, ..self.of.share }, ..self.of }
    }
}

/// Whether all of `charges` can be spent from leases.
fn may_be_leased(charges: &[Charge]) -> bool {
    let each = charges.iter().all(|Charge { share, durability, .. }| {
        matches!(share.algorithm, Algorithm::FixedWindow(_))
            && matches!(share.hits, Hits::Charge(_))
            && *durability == Durability::None
            && !share.count_denied
            && !share.settles
    });
    each && charges.iter().enumerate().all(|(at, one)| charges[..at].iter().all(|other| other.key != one.key))
}

/// The places of those charges whose stage was refused, or was not reached.
fn refused(mode: Mode, charges: &[Charge], outcomes: &[Option<Outcome>]) -> Vec<usize> {
    let refuses = |at: usize| outcomes[at].is_none_or(|outcome| charges[at].share.refuses(&outcome));
    let stage = |at: usize| charges[at].share.stage;
    let refusing: Vec<u32> = (0..charges.len()).filter(|&at| refuses(at)).map(stage).collect();
    let is_refused = |at: &usize| match mode {
        Mode::Each => refusing.contains(&stage(*at)),
        Mode::AllOrNothing => !refusing.is_empty(),
        Mode::InOrder => refusing.first().is_some_and(|first| stage(*at) >= *first),
    };
    (0..charges.len()).filter(is_refused).collect()
}

async fn give_back(
    session: &impl Session,
    leased: Vec<Returned>,
    now: Timestamp,
    deadline: Instant,
) -> Result<(), StoreError> {
    if leased.is_empty() {
        return Ok(());
    }
    let refunds: Vec<Charge> = (0..).zip(leased).map(|(stage, lease)| lease.refund(stage)).collect();
    let mut given = Ok(());
    for some in refunds.chunks(MOST_AT_ONCE) {
        // One that fails is no reason to keep the others.
        if let Err(error) = session.apply(Mode::Each, some, now, deadline).await {
            given = Err(error);
        }
    }
    given
}

/// How long a store that does not answer is left alone.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Leases that are given back in one request.
const MOST_AT_ONCE: usize = 100;
