//! What would be answered now, by counters that others count in: they are looked at, and not charged.
//!
//! The counters of a request are asked for their numbers once. What a call would do to them is then tried on counters in memory
//! that have the same numbers, with the same algorithms and the same words as any request. Of a sliding window only the number of
//! hits is known, and not when each was counted; they are taken to be as old as they can be.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::limit::LimitExplained;
use super::{Explanation, call, explain, readable};
use crate::algorithm::{Algorithm, Charge, FixedWindow, Mode, Outcomes, Share};
use crate::engine::{Decision, Engine, Scratch, Verdict};
use crate::model::{CellKey, Hits, Outcome, Reading, Request, Timestamp, lossy};
use crate::policy::Policy;
use crate::store::{MemoryStore, Session, Store, StoreError};

/// Why a request would be answered as it would be, and how its counters stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveExplanation {
    /// What would be answered, with the numbers after the call.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// For each descriptor, its counters as they are now.
    pub counters: Vec<Vec<LimitExplained>>,
    /// The next call like this that passes; `None` where none ever will.
    pub next_ok: Option<Next>,
    /// The next call like this that is refused; `None` where none ever is.
    pub next_refusal: Option<Next>,
}

/// An answer that is yet to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    /// In how many milliseconds it comes, if nobody else calls; `None` where that depends on how many calls there are.
    pub after_ms: Option<u64>,
    /// Headers for the client, in order.
    pub response_headers: Vec<(String, String)>,
    /// Headers for the upstream, in order.
    pub request_headers: Vec<(String, String)>,
    /// The body of a refusal; empty where there is none.
    pub body: String,
}

/// The numbers of the counters that `request` would be charged to, as they are: nothing is charged.
///
/// # Errors
///
/// That of the store.
pub async fn look<S: Session>(
    session: &S,
    engine: &Engine,
    policy: &Policy,
    request: &Request<'_>,
    now: Reading,
    deadline: Instant,
) -> Result<Explanation, StoreError> {
    let looking = only_looking(request);
    let plan = engine.plan(Scratch::default(), policy, &looking, now);
    let outcomes = ask(session, plan.charges(), now.steady, deadline).await?;
    let verdict = plan.conclude(&outcomes);
    Ok(explain(policy, &looking, &verdict))
}

/// What would be answered to `request` at a time that is `later` than `now`, or at a time `at` that is over, with no count of it.
///
/// # Errors
///
/// That of the store.
pub async fn explain_live<S: Session>(
    session: &S,
    engine: &Engine,
    policy: &Policy,
    (request, stand_in): (&Request<'_>, Option<&str>),
    (now, at): (Reading, Option<Timestamp>),
    deadline: Instant,
) -> Result<LiveExplanation, StoreError> {
    let looking = only_looking(request);
    let plan = engine.plan(Scratch::standing_in(stand_in), policy, &looking, now);
    let outcomes = ask(session, plan.charges(), now.steady, deadline).await?;
    let is_past = at.is_some_and(|at| at < now.wall);
    let known = Known { charges: plan.charges().to_vec(), outcomes: outcomes.to_vec(), now, is_past };
    let looked = explain(policy, &looking, &plan.conclude(&outcomes));
    let counters = looked.call.descriptors.into_iter().map(|descriptor| descriptor.limits).collect();

    let when = match at {
        Some(at) if is_past => Reading::from(at),
        Some(at) => shifted(now, at.since(now.wall)),
        None => now,
    };
    let trial = Trial { engine, policy, request, stand_in };
    let verdict = trial.decide(&known.store(None), when);
    let (next_ok, next_refusal) = if verdict.over_limit {
        (trial.next_ok(&known, when, &verdict), Some(trial.next(&verdict, Some(Duration::ZERO))))
    } else {
        (Some(trial.next(&verdict, Some(Duration::ZERO))), trial.next_refusal(&known, when, &verdict))
    };
    let explanation = Explanation {
        domain: lossy(request.domain).into_owned(),
        at: readable(verdict.now),
        call: call(policy, request, &verdict),
        then: None,
    };
    Ok(LiveExplanation { explanation, counters, next_ok, next_refusal })
}

fn only_looking<'r>(request: &Request<'r>) -> Request<'r> {
    let mut looking = request.clone();
    looking.descriptors.iter_mut().for_each(|descriptor| descriptor.hits = Hits::Look);
    looking
}

async fn ask<S: Session>(
    session: &S,
    charges: &[Charge],
    now: Timestamp,
    deadline: Instant,
) -> Result<Outcomes, StoreError> {
    if charges.is_empty() {
        return Ok(Outcomes::new());
    }
    let begun = Instant::now();
    let asked = session.apply(Mode::Each, charges, now, deadline);
    let late = |_| StoreError::TimedOut { after: begun.elapsed() };
    let outcomes = tokio::time::timeout_at(deadline, asked).await.map_err(late)??;
    let (expected, found) = (charges.len(), outcomes.len());
    if expected == found { Ok(outcomes) } else { Err(StoreError::Incomplete { expected, found }) }
}

fn shifted(now: Reading, by: Duration) -> Reading {
    Reading { steady: now.steady.plus(by), wall: now.wall.plus(by) }
}

/// Counters as they were found.
struct Known {
    charges: Vec<Charge>,
    outcomes: Vec<Option<Outcome>>,
    now: Reading,
    /// A time is asked for that is over: what is counted now was not counted then.
    is_past: bool,
}

/// The most counters that a trial has; more no request has that is looked at.
const MOST: usize = 10_000;

impl Known {
    /// Counters in memory with the same numbers; those that `used_up` picks have nothing left.
    fn store(&self, used_up: Option<&dyn Fn(&CellKey) -> bool>) -> MemoryStore {
        let store = MemoryStore::holding(MOST, usize::MAX);
        let session = store.session();
        let mut done: Vec<CellKey> = Vec::new();
        for (charge, outcome) in self.charges.iter().zip(&self.outcomes) {
            let Some(outcome) = outcome else { continue };
            if done.contains(&charge.key) {
                continue;
            }
            done.push(charge.key);
            let used_up = used_up.is_some_and(|picks| picks(&charge.key));
            let used = if used_up { outcome.used.max(outcome.limit) } else { outcome.used };
            if used == 0 || self.is_past && !used_up {
                continue;
            }
            // Counted whether it is over the limit or not.
            let share = Share { hits: Hits::charge(used), count_denied: true, ..charge.share };
            // Memory answers at once.
            let _ =
                session.apply_now(Mode::Each, &[Charge { share, ..*charge }], self.begun(charge, outcome));
        }
        store
    }

    /// When the window began of which `outcome` tells.
    fn begun(&self, charge: &Charge, outcome: &Outcome) -> Timestamp {
        match charge.share.algorithm {
            // Where a window of the clock lies is known. By a server's clock, which is another, it may have begun a little earlier,
            // and the time reckoned back from its end would lie in the window before.
            Algorithm::TokenBucket(_) | Algorithm::FixedWindow(FixedWindow::Aligned { .. }) => {
                self.now.steady
            }
            _ if outcome.used == 0 => self.now.steady,
            _ => self.now.steady.minus(outcome.window.saturating_sub(outcome.reset_after)),
        }
    }
}

/// A request that is tried.
struct Trial<'a, 'p, 'r> {
    engine: &'a Engine,
    policy: &'p Policy,
    request: &'a Request<'r>,
    stand_in: Option<&'a str>,
}

impl<'p> Trial<'_, 'p, '_> {
    fn decide(&self, store: &MemoryStore, now: Reading) -> Verdict<'p> {
        let plan = self.engine.plan(Scratch::standing_in(self.stand_in), self.policy, self.request, now);
        let outcomes = store.session().apply_now(plan.mode(), plan.charges(), now.steady);
        plan.conclude(&outcomes.unwrap_or_default())
    }

    fn next(&self, verdict: &Verdict<'_>, after: Option<Duration>) -> Next {
        let call = call(self.policy, self.request, verdict);
        Next {
            after_ms: after
                .map(|after| u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)),
            response_headers: call.response_headers,
            request_headers: call.request_headers,
            body: call.body,
        }
    }

    /// What is answered when the time is over that the refusal asks to wait for.
    fn next_ok(&self, known: &Known, now: Reading, refused: &Verdict<'_>) -> Option<Next> {
        let after = refused.retry_after()?;
        let verdict = self.decide(&known.store(None), shifted(now, after));
        (!verdict.over_limit).then(|| self.next(&verdict, Some(after)))
    }

    /// What is answered when the limit is used up that is nearest to it; or all are, where that refuses nothing.
    fn next_refusal(&self, known: &Known, now: Reading, passed: &Verdict<'_>) -> Option<Next> {
        let charged = passed.decisions.iter().flat_map(|decision| match decision {
            Decision::Counted(counted) => counted.limits.as_slice(),
            _ => &[],
        });
        let nearest =
            charged.filter(|charged| !charged.watched).min_by_key(|charged| charged.outcome.remaining)?.key;
        let picks: [&dyn Fn(&CellKey) -> bool; 2] = [&|key| *key == nearest, &|_| true];
        picks.into_iter().find_map(|picks| {
            let verdict = self.decide(&known.store(Some(picks)), now);
            verdict.over_limit.then(|| self.next(&verdict, None))
        })
    }
}
