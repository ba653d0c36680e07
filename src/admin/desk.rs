//! Asks the store what operators ask. It has a session of its own, as each worker has, on the thread of the admin port; workers
//! are not asked and wait for nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::answer::Problem;
use super::api::Job;
use super::asked::{Call, Question, Used, known};
use super::shown;
use crate::algorithm::{Charge, Durability, Mode, Outcomes, Share};
use crate::clock::Clock;
use crate::engine::{Engine, OfSubject, Scratch};
use crate::explain::{explain_live, look};
use crate::limiter::Limiter;
use crate::model::{Hits, Outcome, Reading};
use crate::policy::{Domain, Policy};
use crate::store::{Session, Store, StoreError};
use crate::subjects::Subject;

/// How long the store is waited for. Nobody at a port for people waits for 10 ms.
const WITHIN: Duration = Duration::from_secs(1);
/// The most questions that wait for the store at a time.
const AT_ONCE: usize = 16;
/// The most limits of a subject that are shown, and the most counters that are reset in one trip to the store.
const MOST_LIMITS: usize = 1_000;
/// The most counters of a subject that are reset.
const MOST_RESET: usize = 100_000;

/// Answers what comes, until nobody asks any more. It has to run in a `LocalSet`.
pub(super) async fn answer<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, mut jobs: mpsc::Receiver<Job>) {
    let desk = Rc::new(Desk { session: limiter.store.session(), limiter });
    let open = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(Job { question, answer }) = jobs.recv().await {
        // It is never closed.
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
        let desk = Rc::clone(&desk);
        tokio::task::spawn_local(async move {
            // Whoever asked may have gone.
            let _ = answer.send(desk.answer(question).await);
            drop(permit);
        });
    }
}

struct Desk<S: Store, C> {
    limiter: Arc<Limiter<S, C>>,
    session: S::Session,
}

type Told = Result<Value, Problem>;

impl<S: Store, C: Clock> Desk<S, C> {
    async fn answer(&self, question: Question) -> Told {
        match question {
            Question::Explain(call, at) => {
                let (engine, now) = (&self.limiter.engine, self.limiter.clock.read());
                let policy = engine.policy();
                let until = Instant::now() + WITHIN;
                let (request, stand_in) = (call.request(), call.stand_in.as_deref());
                let told =
                    explain_live(&self.session, engine, &policy, (&request, stand_in), (now, at), until);
                let mut told = json!(told.await?);
                told["unknown_values"] = json!(call.unknown_values);
                Ok(told)
            }
            Question::Lookup(call) => self.look(&call).await,
            Question::Reset(call) => self.reset(&call).await,
            Question::Subject { domain, id, used } => self.subject(&domain, &id, used).await,
            Question::ResetSubject { domain, id } => self.reset_subject(&domain, &id).await,
        }
    }

    async fn look(&self, call: &Call) -> Told {
        let (engine, now) = (&self.limiter.engine, self.limiter.clock.read());
        let policy = engine.policy();
        let until = Instant::now() + WITHIN;
        let seen = look(&self.session, engine, &policy, &call.request(), now, until).await?;
        let mut descriptors = seen.call.descriptors;
        let Some(one) = descriptors.pop() else { return Err(Problem::wrong("there is no descriptor")) };
        Ok(json!({
            "domain": seen.domain,
            "at": seen.at,
            "descriptor": one.descriptor,
            "rule": one.rule,
            "subject": one.subject,
            "counters": one.limits,
        }))
    }

    /// Gives all hits back that the counters of a descriptor have.
    async fn reset(&self, call: &Call) -> Told {
        let before = self.look(call).await?;
        if before["counters"].as_array().is_none_or(Vec::is_empty) {
            let rule = before["rule"].as_str().unwrap_or_default();
            return Err(Problem::missing(format!("the descriptor has no counter; rule {rule}")));
        }
        let (engine, now) = (&self.limiter.engine, self.limiter.clock.read());
        let policy = engine.policy();
        let mut request = call.request();
        request.descriptors.iter_mut().for_each(|descriptor| descriptor.hits = Hits::Look);
        let plan = engine.plan(Scratch::default(), &policy, &request, now);
        let in_doubt = json!({"domain": before["domain"], "descriptor": before["descriptor"], "before": before["counters"]});
        self.give_back(plan.charges(), in_doubt).await?;
        // The hits are given back, whether or not the counters can be looked at once more.
        let after = self.look(call).await.map_or(Value::Null, |mut after| after["counters"].take());
        Ok(
            json!({"domain": before["domain"], "descriptor": before["descriptor"], "before": before["counters"], "after": after}),
        )
    }

    /// Has each counter give back as many hits as it has now. Hits that are counted meanwhile stay. `in_doubt` is what the reset is of.
    async fn give_back(&self, charges: &[Charge], in_doubt: Value) -> Result<(), Problem> {
        let outcomes = self.ask(charges).await?;
        let refund = |(charge, outcome): (&Charge, &Option<Outcome>)| {
            let used = outcome.as_ref().map_or(0, |outcome| outcome.used);
            let share = Share { hits: Hits::refund(used), ..charge.share };
            // What was reserved ahead of the hits goes as well: a reset that was answered outlives a crash.
            let durability = match charge.durability {
                Durability::Reserve => Durability::Exact,
                durability => durability,
            };
            (used > 0).then_some(Charge { durability, share, ..*charge })
        };
        let refunds: Vec<Charge> = charges.iter().zip(&outcomes).filter_map(refund).collect();
        self.reset_counters(&refunds).await.map_err(|error| match error {
            error if error.has_charged_nothing() => error.into(),
            error => not_known(&error).of_change_in_doubt(in_doubt.clone()),
        })?;
        match self.limiter.store.records() {
            // A request does not wait for what is given back. Whoever asked for it does.
            Some(records) if !refunds.is_empty() => {
                let written = tokio::task::spawn_blocking(move || records.flush()).await;
                // The counters have given their hits back, and what the file has of them is what counts after a failure.
                let written = written.unwrap_or(Err(StoreError::Resting));
                written.map_err(|error| not_known(&error).of_change_in_doubt(in_doubt))
            }
            _ => Ok(()),
        }
    }

    async fn ask(&self, charges: &[Charge]) -> Result<Outcomes, StoreError> {
        if charges.is_empty() {
            return Ok(Outcomes::new());
        }
        let (begun, now) = (Instant::now(), self.limiter.clock.read().steady);
        let until = begun + WITHIN;
        let asked = self.session.apply(Mode::Each, charges, now, until);
        let late = |_| StoreError::TimedOut { after: begun.elapsed() };
        tokio::time::timeout_at(until, asked).await.map_err(late)?
    }

    async fn reset_counters(&self, refunds: &[Charge]) -> Result<(), StoreError> {
        if refunds.is_empty() {
            return Ok(());
        }
        let (begun, now) = (Instant::now(), self.limiter.clock.read().steady);
        let until = begun + WITHIN;
        let late = |_| StoreError::TimedOut { after: begun.elapsed() };
        tokio::time::timeout_at(until, self.session.reset(refunds, now, until)).await.map_err(late)?.map(drop)
    }

    async fn subject(&self, domain_name: &str, id: &str, used: Used) -> Told {
        let (engine, now) = (&self.limiter.engine, self.limiter.clock.read());
        let policy = engine.policy();
        known(domain_name, &policy)?;
        let (domain, subject) = found(&policy, domain_name, id)?;
        let limits = engine.of_subject(domain, subject, Hits::Look, MOST_LIMITS, now);
        let charges: Vec<Charge> = limits.counters.iter().map(|counter| counter.charge).collect();
        let unknown = || charges.iter().map(|_| None).collect();
        let outcomes = match used {
            Used::Needed => self.ask(&charges).await?,
            Used::IfKnown => self.ask(&charges).await.unwrap_or_else(|_| unknown()),
        };
        Ok(shown::subject(domain, subject, &limits, &outcomes, now.wall))
    }

    /// Gives all hits back that a subject has used, as far as its counters are known.
    async fn reset_subject(&self, domain: &str, id: &str) -> Told {
        let before = self.subject(domain, id, Used::Needed).await?;
        {
            let (engine, now) = (&self.limiter.engine, self.limiter.clock.read());
            let policy = engine.policy();
            let (of_domain, subject) = found(&policy, domain, id)?;
            let OfSubject { counters, left_out, .. } =
                engine.of_subject(of_domain, subject, Hits::Look, MOST_RESET, now);
            if left_out > 0 {
                let hint = "reset them by descriptor, or give it fewer credentials".to_owned();
                let wrong = format!("`{id}` has more than {MOST_RESET} counters, and none was reset");
                return Err(Problem::wrong(wrong).hint(hint));
            }
            let charges: Vec<Charge> = counters.iter().map(|counter| counter.charge).collect();
            let in_doubt = json!({"domain": domain, "subject": id, "before": before["limits"]});
            for (number, part) in charges.chunks(MOST_LIMITS).enumerate() {
                let given_back = self.give_back(part, in_doubt.clone()).await;
                given_back.map_err(|problem| match number * MOST_LIMITS {
                    0 => problem,
                    reset => {
                        let (all, why) = (charges.len(), problem.message());
                        Problem::away(format!(
                            "{reset} of {all} counters of `{id}` are reset; of those behind them: {why}"
                        ))
                        .hint("reset it again when the store answers".to_owned())
                        .of_change_in_doubt(in_doubt.clone())
                    }
                })?;
            }
        }
        let after = self.subject(domain, id, Used::Needed).await;
        let after = after.map_or(Value::Null, |mut after| after["limits"].take());
        Ok(json!({
            "domain": domain,
            "subject": id,
            "before": before["limits"],
            "after": after,
            "not_reset": before["other_limits"],
        }))
    }
}

/// Hits were given back, or will be, or not.
fn not_known(error: &StoreError) -> Problem {
    Problem::away(format!("whether the hits were given back is not known: {error}")).hint(
        "look at the counters when the store answers again, and reset them again if they still have hits"
            .to_owned(),
    )
}

fn found<'p>(policy: &'p Policy, domain: &str, id: &str) -> Result<(&'p Domain, Subject<'p>), Problem> {
    let of_domain = policy.domain(domain.as_bytes());
    let found = of_domain.and_then(|domain| Some((domain, domain.directory.as_ref()?.subject(id)?)));
    found.ok_or_else(|| Problem::missing(format!("the domain `{domain}` has no subject `{id}`")))
}

/// A subject as [`Question::Subject`] has it told, but for what it has used: that is known without a question to the store.
pub(super) fn subject_as_configured(engine: &Engine, now: Reading, domain: &str, id: &str) -> Told {
    let policy = engine.policy();
    let (domain, subject) = found(&policy, domain, id)?;
    let limits = engine.of_subject(domain, subject, Hits::Look, MOST_LIMITS, now);
    let outcomes = limits.counters.iter().map(|_| None).collect();
    Ok(shown::subject(domain, subject, &limits, &outcomes, now.wall))
}
