//! Hits that this process took from a shared store ahead of time, and spends without asking it again.
//!
//! A *lease* is a part of one window of one counter. The store counts it as used when it is taken, so however many processes
//! take leases, they never admit more than the limit together. What a process has not spent is denied to the others until it is
//! given back or the window ends: at most [`LARGEST`](table::LARGEST) hits, and at most an even share of half of what is left; of a limit that
//! is `durable` a thousandth, and 64.
//!
//! What the store refused is refused here, too, until the window ends; it is asked again from time to time
//! ([`DENIED_FOR`](table::DENIED_FOR)), for others may have given back what they did not spend.
//!
//! Only fixed windows and periods are leased, which forget all of their hits at once. Hits of a sliding window or of a bucket count
//! from when they are made: those that were taken early would leave it early, and let more through than the limit. A request with
//! one of those, a look, a refund, a limit that is `durable: exact`, or two charges of one counter goes to the store
//! as it is, and so does one with a window that is not twice as long as the store is waited for; what was leased of its counters is given back first, so its numbers are exact.
//!
//! Limits that count what they refuse are leased where each charge stands for itself, as in envoyproxy/ratelimit. What is refused here is
//! counted with the next question to the store. Others may have counted beyond the limit meanwhile: what was leased is spent all the
//! same, for it was counted before.

mod mark;
mod table;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use self::table::{Known, Leases, Returned, Taken};
use super::{Answers, Session, Statistics, Store, StoreError};
use crate::algorithm::{Algorithm, Charge, Durability, Fate, Mode, Outcomes, Share};
use crate::model::{Few, Hits, Outcome, Timestamp};

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
        give_back(&session, &self.leases, leased, now, deadline).await
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

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        if !may_be_leased(mode, charges) {
            return None;
        }
        let mut known = Few::with_capacity(charges.len());
        for charge in charges {
            let Some(one) = self.leases.spend(charge, now) else {
                charges.iter().zip(&known).for_each(|(charge, one)| self.undo(charge, one));
                return None;
            };
            known.push(one);
        }
        let mut outcomes: Outcomes = known.iter().map(|one| Some(one.outcome())).collect();
        if known.iter().any(|one| matches!(one, Known::Denied(..))) {
            for (at, fate) in fates(mode, charges, &outcomes).into_iter().enumerate() {
                if fate == Fate::Stands {
                    continue;
                }
                if let Known::Spent(..) = known[at] {
                    self.undo(&charges[at], &known[at]);
                }
                let is_reached = fate != Fate::NotReached;
                outcomes[at] = is_reached.then(|| known[at].uncounted(charges[at].share.hits));
            }
        }
        Some(outcomes)
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        let longest = deadline.saturating_duration_since(Instant::now());
        if !may_be_leased(mode, charges) || !charges.iter().all(|charge| outlasts(charge, longest)) {
            self.give_back_of(charges, now, deadline).await?;
            return self.inner.apply(mode, charges, now, deadline).await;
        }
        let parts: Vec<Part> = charges.iter().map(|charge| Part::of(&self.leases, charge, now)).collect();
        let asked: Few<Charge> =
            parts.iter().flat_map(|part| [Some(part.charge()), part.charge_ahead()]).flatten().collect();
        let outcomes = self.inner.apply(mode, &asked, now, deadline).await?;
        if outcomes.len() != asked.len() {
            return Err(StoreError::Incomplete { expected: asked.len(), found: outcomes.len() });
        }
        let mut outcomes = outcomes.into_iter();
        let mut next = || outcomes.next().flatten();
        let mut told = Outcomes::with_capacity(parts.len());
        let mut told_ahead = Outcomes::with_capacity(parts.len());
        for part in &parts {
            told.push(next().map(|told| part.told(told)));
            told_ahead.push(if part.taken.ahead > 0 { next() } else { None });
        }
        let fates = fates(mode, charges, &told);
        let each = parts.into_iter().zip(told).zip(told_ahead).enumerate();
        let settled = each.map(|(at, ((part, told), ahead))| {
            // One that was not reached has nothing to say.
            Some(part.settled(told?, ahead, fates[at] == Fate::Stands, now))
        });
        Ok(settled.collect())
    }

    /// Marks the counters as reset, and then resets them: leases of before are void from the mark on.
    async fn reset(
        &self,
        refunds: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        self.give_back_of(refunds, now, deadline).await?;
        let is_leased = |charge: &&Charge| matches!(charge.share.algorithm, Algorithm::FixedWindow(_));
        let leased = refunds.iter().filter(is_leased);
        let marks: Vec<Charge> = leased.zip(0..).map(|(of, stage)| mark::set(of, stage)).collect();
        self.inner.apply(Mode::Each, &marks, now, deadline).await?;
        self.inner.apply(Mode::Each, refunds, now, deadline).await
    }
}

impl<S: Session> LeasedSession<S> {
    /// Gives back what is leased of the counters of `charges`.
    async fn give_back_of(
        &self,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        // Given back later than that, they could be another window's.
        let late = now.plus(deadline.saturating_duration_since(Instant::now()));
        let leased = charges.iter().filter_map(|charge| self.leases.take(charge.key, late)).collect();
        give_back(&self.inner, &self.leases, leased, now, deadline).await
    }
}

impl<S> LeasedSession<S> {
    /// Has the lease as it was before a charge was decided on here.
    fn undo(&self, charge: &Charge, known: &Known) {
        match known {
            Known::Denied(..) if !charge.share.count_denied => {}
            Known::Spent(_, until) | Known::Denied(_, until) => {
                self.leases.put_back(charge, charge.share.hits.cost(), *until);
            }
        }
    }
}

/// A charge, of which a part is covered by a lease. Dropped before it is settled, it gives that part back to the lease.
#[derive(Debug)]
struct Part<'a> {
    leases: &'a Leases,
    of: Charge,
    taken: Taken,
}

impl<'a> Part<'a> {
    /// Takes what a lease has of `charge`.
    fn of(leases: &'a Leases, charge: &Charge, now: Timestamp) -> Self {
        Self { leases, of: *charge, taken: leases.prepare(charge, now) }
    }

    /// What the store is asked for.
    fn charge(&self) -> Charge {
        let hits = self.of.share.hits.cost() - self.taken.covered;
        let hits = Hits::charge(hits.saturating_add(self.taken.owed));
        Charge { share: Share { hits, ..self.of.share }, ..self.of }
    }

    /// What it is asked for besides: hits that are counted if those of the whole stage are and these fit as well, and refuse nothing.
    fn charge_ahead(&self) -> Option<Charge> {
        let hits = Hits::charge(self.taken.ahead);
        let share = Share { hits, enforced: false, count_denied: false, ..self.of.share };
        (self.taken.ahead > 0).then_some(Charge { share, ..self.of })
    }

    /// What the store told of what it was asked for, as it is of the charge's own hits.
    fn told(&self, told: Outcome) -> Outcome {
        let Share { hits, count_denied, .. } = self.of.share;
        // What others were refused is counted beyond the limit, and came after what was leased.
        let admitted = told.admitted || (count_denied && hits.cost() <= self.taken.covered);
        let may_pass_later = !admitted && hits.cost() <= told.limit;
        Outcome { admitted, retry_after: may_pass_later.then_some(told.reset_after), ..told }
    }

    /// What the store told of a part of a charge, as it is of all of it. `passes` says whether its stage was counted.
    fn settled(mut self, told: Outcome, ahead: Option<Outcome>, passes: bool, now: Timestamp) -> Outcome {
        let is_counted = (passes && told.admitted) || self.of.share.count_denied;
        // A limit in shadow mode lets pass what it does not count, and the hits ahead may still fit.
        let ahead = ahead.filter(|ahead| passes && ahead.admitted);
        let granted = if ahead.is_some() { self.taken.ahead } else { 0 };
        let latest = ahead.unwrap_or(told);
        if is_counted {
            (self.taken.covered, self.taken.owed) = (0, 0);
        }
        // What is covered and was not counted goes back to where it came from.
        let (leases, of) = (self.leases, self.of);
        drop(self);
        let unspent = leases.keep(&of, &latest, granted, now);
        let used = latest.used.saturating_sub(unspent);
        let attempted = if is_counted { used } else { of.share.hits.applied_to(used) };
        Outcome { used, attempted, remaining: told.limit.saturating_sub(used), ..told }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.leases.release(&self.of, &self.taken);
    }
}

/// Whether all of `charges` can be spent from leases.
fn may_be_leased(mode: Mode, charges: &[Charge]) -> bool {
    let stand_alone = mode.joins_none(charges);
    let each = charges.iter().all(|Charge { share, durability, .. }| {
        matches!(share.algorithm, Algorithm::FixedWindow(_))
            && matches!(share.hits, Hits::Charge(_))
            && *durability != Durability::Exact
            && (stand_alone || !share.count_denied)
            && !share.settles
    });
    each && charges.iter().enumerate().all(|(at, one)| charges[..at].iter().all(|other| other.key != one.key))
}

/// Whether the window of `charge` is long enough to know the next one by its end, which is told by an answer that may take `longest`: else
/// what was left of a window could be spent in the next one.
fn outlasts(charge: &Charge, longest: Duration) -> bool {
    charge.share.algorithm.window().is_none_or(|window| window / 2 > longest)
}

/// What becomes of each of `charges`. One that has no outcome was not reached by the store either.
fn fates(mode: Mode, charges: &[Charge], outcomes: &[Option<Outcome>]) -> Few<Fate> {
    mode.fates(charges, |at| outcomes[at].is_none_or(|outcome| charges[at].share.refuses(&outcome)))
}

/// Gives leases back, as many at a time as go in few trips; each for itself, so that it is known of each what became of it.
async fn give_back(
    session: &impl Session,
    leases: &Arc<Leases>,
    returned: Vec<Returned>,
    now: Timestamp,
    deadline: Instant,
) -> Result<(), StoreError> {
    let mut given = Ok(());
    let mut returned = returned.into_iter().peekable();
    while returned.peek().is_some() {
        let some = returned.by_ref().take(MOST_AT_ONCE);
        let some = join_all(some.map(|lease| give_one_back(session, leases, lease, now, deadline)));
        // One that fails is no reason to keep the others.
        given = some.await.into_iter().fold(given, Result::and);
    }
    given
}

/// Gives one lease back. It stays here where the store did not count it as given back, as one that came to it too late; where that is not
/// known it is denied to all until its window ends.
async fn give_one_back(
    session: &impl Session,
    leases: &Arc<Leases>,
    lease: Returned,
    now: Timestamp,
    deadline: Instant,
) -> Result<(), StoreError> {
    let late = now.plus(deadline.saturating_duration_since(Instant::now()));
    let charges = lease.settled(late);
    let (kept, of) = (lease.clone(), Arc::clone(leases));
    let outcomes = session.apply_or(Mode::Each, &charges, now, deadline, move || of.retain(kept)).await?;
    if lease.was_reset(&outcomes) {
        leases.void(lease);
    }
    Ok(())
}

/// How long a store that does not answer is left alone.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Leases that are given back at a time.
const MOST_AT_ONCE: usize = 100;
