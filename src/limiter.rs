//! One decision from the clock to the verdict: read the time, [plan](Engine::plan), have the store settle the charges,
//! [conclude](crate::engine::Plan::conclude). The server, `explain`, policy tests and benchmarks all come this way.

mod breaker;
mod without_store;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use breaker::{Breaker, Change};
pub use without_store::WithoutStore;

use crate::algorithm::Outcomes;
use crate::clock::Clock;
use crate::engine::{Engine, Plan, Scratch, Verdict};
use crate::model::{Request, Timestamp};
use crate::policy::{Keyer, OnStoreFailure, Policy};
use crate::store::{Answers, Session, Store, StoreError};

/// The most scratches that a worker keeps. More requests than that seldom wait for a store at a time.
const KEPT: usize = 64;

/// What is enforced, where it is counted, and by which clock. All workers share it.
#[derive(Debug)]
pub struct Limiter<S, C> {
    /// What is enforced.
    pub engine: Engine,
    /// Where the counters are kept.
    pub store: S,
    /// What the time is read from.
    pub clock: C,
    /// How long the store is waited for, and what is counted here when it fails.
    pub without_store: WithoutStore,
}

impl<S: Store, C: Clock> Limiter<S, C> {
    /// Enforces `policy` with counters in `store`, which are known by keys that mean nothing outside this process.
    pub fn new(policy: Policy, store: S, clock: C) -> Self {
        Self::with_keys(policy, Keyer::random(), store, clock)
    }

    /// Enforces `policy` with counters in `store`, which `keyer` makes the keys of: the one that goes with the counters, where
    /// these outlive the process or others count in them too.
    pub fn with_keys(policy: Policy, keyer: Keyer, store: S, clock: C) -> Self {
        Self { engine: Engine::new(policy, keyer), store, clock, without_store: WithoutStore::default() }
    }

    /// Enforces `policy` from the next request on. Counters stay, and so do tiers that were reached. Returns the policy before: see
    /// [`Engine::publish`].
    pub fn publish(&self, policy: Policy) -> Arc<Policy> {
        self.engine.publish(policy, self.clock.now())
    }

    /// What decides for the thread that this is called on.
    pub fn worker(self: &Arc<Self>) -> Worker<S, C> {
        Worker {
            session: self.store.session(),
            limiter: Arc::clone(self),
            spare: RefCell::default(),
            started: Instant::now(),
            breaker: RefCell::default(),
            notes: RefCell::default(),
        }
    }
}

/// Why a request was not decided at once.
#[derive(Debug)]
pub enum NotNow {
    /// Its store has to be waited for. Nothing has happened.
    Waits(Scratch),
    /// Its store failed.
    Failed(StoreError),
}

/// What decides on one thread, with a session and buffers of its own.
#[derive(Debug)]
pub struct Worker<S: Store, C> {
    limiter: Arc<Limiter<S, C>>,
    session: S::Session,
    spare: RefCell<Vec<Scratch>>,
    /// What the breaker's times count from.
    started: Instant,
    breaker: RefCell<Breaker>,
    notes: RefCell<Notes>,
}

/// What became of the store in the last decision.
#[derive(Debug, Default)]
pub struct Notes {
    /// Why the store could not be asked, where the request was decided all the same.
    pub failure: Option<StoreError>,
    /// Whether it is asked from now on, if that changed.
    pub change: Option<Change>,
    /// How long it was waited for, where it was asked and did not answer at once.
    pub took: Option<Duration>,
}

impl<S: Store, C: Clock> Worker<S, C> {
    /// What all workers share.
    pub fn limiter(&self) -> &Limiter<S, C> {
        &self.limiter
    }

    /// Buffers for one request. While some requests wait for the store, others have buffers of their own.
    pub fn scratch(&self) -> Scratch {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes buffers back.
    pub fn reuse(&self, scratch: Scratch) {
        let mut spare = self.spare.borrow_mut();
        // A rare long request is not to be paid for ever after.
        if spare.len() < KEPT && scratch.is_small() {
            spare.push(scratch);
        }
    }

    /// Whether [`decide_now`](Self::decide_now) is worth a try.
    pub fn may_decide_now(&self) -> bool {
        self.session.answers() != Answers::Later
    }

    /// Decides `request` against `policy` and charges what it costs, if the store needs no waiting.
    pub fn decide_now<'p>(
        &self,
        scratch: Scratch,
        policy: &'p Policy,
        request: &Request<'_>,
    ) -> Result<Verdict<'p>, NotNow> {
        let now = self.limiter.clock.read();
        let plan = self.limiter.engine.plan(scratch, policy, request, now);
        match self.session.apply_now(plan.mode(), plan.charges(), now.steady) {
            Some(outcomes) => {
                if self.session.answers() == Answers::MostlyNow {
                    self.breaker.borrow_mut().answers();
                }
                conclude(plan, &outcomes).map_err(NotNow::Failed)
            }
            None => Err(NotNow::Waits(plan.into_scratch())),
        }
    }

    /// Decides `request` against `policy` and charges what it costs. The store is waited for until `deadline`, and not
    /// for longer than [`WithoutStore::timeout`]. When it fails, each limit's `on_store_failure` says what happens; see
    /// [`take_notes`](Self::take_notes).
    ///
    /// Dropped before it is ready, it has made all charges of the request, or none.
    ///
    /// # Errors
    ///
    /// When the store does not say in time, or cannot say, whether the request passes.
    pub async fn decide<'p>(
        &self,
        scratch: Scratch,
        policy: &'p Policy,
        request: &Request<'_>,
        deadline: Option<Instant>,
    ) -> Result<Verdict<'p>, StoreError> {
        let now = self.limiter.clock.read();
        let plan = self.limiter.engine.plan(scratch, policy, request, now);
        if plan.charges().is_empty() {
            return Ok(plan.conclude(&Outcomes::new()));
        }
        if self.may_decide_now()
            && let Some(outcomes) = self.session.apply_now(plan.mode(), plan.charges(), now.steady)
        {
            self.breaker.borrow_mut().answers();
            return conclude(plan, &outcomes);
        }
        let longest = Instant::now() + self.limiter.without_store.timeout;
        let mut settled = self.ask(&plan, now.steady, deadline, longest).await;
        let mut plan = plan;
        if let Err(StoreError::Rekeyed) = settled {
            plan = self.limiter.engine.plan(plan.into_scratch(), policy, request, now);
            settled = self.ask(&plan, now.steady, deadline, longest).await;
        }
        let error = match settled {
            Ok(outcomes) => return conclude(plan, &outcomes),
            Err(error) => error,
        };
        let decided = match plan.on_store_failure() {
            OnStoreFailure::Open => {
                self.reuse(plan.into_scratch());
                return Err(error);
            }
            OnStoreFailure::Closed => plan.refuse(),
            OnStoreFailure::Local => self.limiter.without_store.decide(plan, request, now, &self.session),
        };
        self.notes.borrow_mut().failure = Some(error);
        Ok(decided)
    }

    /// Has the store make the charges of `plan`, unless it failed lately; the caller waits until `deadline`, and the server until `longest`.
    async fn ask(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
        deadline: Option<Instant>,
        longest: Instant,
    ) -> Result<Outcomes, StoreError> {
        let asked = Instant::now();
        let permit = self.breaker.borrow_mut().ask(asked - self.started).ok_or(StoreError::Resting)?;
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        let settled = self.session.apply(plan.mode(), plan.charges(), now, until);
        let settled = match tokio::time::timeout_at(until, settled).await {
            Ok(settled) => settled,
            Err(_) => Err(StoreError::TimedOut { after: asked.elapsed() }),
        };
        self.notes.borrow_mut().took = Some(asked.elapsed());
        let answered = match &settled {
            // A caller who waits for a moment only learns nothing about the store.
            Err(StoreError::TimedOut { .. } | StoreError::Late)
                if until < longest && Instant::now() >= until =>
            {
                return settled;
            }
            Err(
                StoreError::TimedOut { .. }
                | StoreError::Late
                | StoreError::Unreachable { .. }
                | StoreError::Refused { .. },
            ) => false,
            // Of this counter, not of all.
            Ok(_) | Err(_) => true,
        };
        if let Some(change) = self.breaker.borrow_mut().record(permit, answered, self.started.elapsed()) {
            self.notes.borrow_mut().change = Some(change);
        }
        settled
    }

    /// What became of the store since this was called last.
    pub fn take_notes(&self) -> Notes {
        self.notes.take()
    }
}

fn conclude<'p>(plan: Plan<'p>, outcomes: &Outcomes) -> Result<Verdict<'p>, StoreError> {
    let (expected, found) = (plan.charges().len(), outcomes.len());
    if expected == found {
        Ok(plan.conclude(outcomes))
    } else {
        Err(StoreError::Incomplete { expected, found })
    }
}
