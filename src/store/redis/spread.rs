//! A request whose counters are in several slots of a cluster, which no script can decide on at once.
//!
//! Each slot decides for itself, all at a time, and counts. Where one of them refuses, the others give back what they have counted for
//! charges that stand or fall with it. So a limit is never exceeded; what is counted for the moment in between may refuse a request
//! of somebody else. What cannot be given back, as when a server is killed, stays counted. Nothing is given back to a window that
//! began afterwards: it is too late once the first hit may have left.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::failure::Failure;
use super::options::CountedBy;
use super::session::{Answer, RedisSession, Request, To, Way, given_up, run};
use super::wire::{self, Decided};
use crate::algorithm::{Charge, Mode, Outcomes};
use crate::model::{Few, Hits, Outcome, Timestamp};

/// One slot's part of a request.
#[derive(Debug)]
struct Part {
    slot: u16,
    /// Where its charges are among those of the request.
    places: Vec<usize>,
    /// Where they were sent to, and what is to be answered.
    sent: Option<(To, oneshot::Receiver<Answer>)>,
    made: Option<Made>,
}

/// What one slot has decided.
#[derive(Debug)]
struct Made {
    to: To,
    outcomes: Outcomes,
    /// The server's time.
    time: u64,
}

/// A request in its parts. Where nobody waits for it any more, it gives back what was counted.
struct Spread {
    shared: Arc<Shared>,
    mode: Mode,
    charges: Few<Charge>,
    now: Timestamp,
    parts: Vec<Part>,
}

impl RedisSession {
    pub(super) async fn spread(
        &self,
        mode: Mode,
        charges: &[Charge],
        slots: &[u16],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Decided, Failure> {
        let mut parts: Vec<Part> = Vec::new();
        for (place, &slot) in slots.iter().enumerate() {
            match parts.iter_mut().find(|part| part.slot == slot) {
                Some(part) => part.places.push(place),
                None => parts.push(Part { slot, places: vec![place], sent: None, made: None }),
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut spread = Guard(Some(Spread { shared, mode, charges: Few::from_slice(charges), now, parts }));
        let Some(whole) = &mut spread.0 else { return Err(Failure::unreachable(String::new())) };
        let asked = whole.parts.iter_mut().map(|part| self.ask_part(part, mode, charges, now, deadline));
        let mut ends_badly = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(None) => {}
                Ok(Some(bad)) => ends_badly = Some(Ok(bad)),
                Err(failure) => ends_badly = ends_badly.or(Some(Err(failure))),
            }
        }
        if let Some(end) = ends_badly {
            return end; // and what was counted is given back
        }
        let Some(whole) = spread.0.take() else { return Err(Failure::unreachable(String::new())) };
        if !whole.is_refused() && !is_mixed(charges) {
            return Ok(Decided::Outcomes(whole.outcomes()));
        }
        // Its own task, for it goes on also where the caller gives up.
        let settled = tokio::spawn(whole.settle()).await;
        settled.map(Decided::Outcomes).map_err(|error| Failure::unreachable(error.to_string()))
    }

    /// Asks for one part; tells what has gone wrong with it.
    async fn ask_part(
        &self,
        part: &mut Part,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Option<Decided>, Failure> {
        let is_mixed = is_mixed(charges);
        let asked = |&place: &usize| {
            let mut charge = charges[place];
            if is_mixed && matches!(charge.share.hits, Hits::Refund(_)) {
                charge.share.hits = Hits::Look;
            }
            charge
        };
        let charges: Few<Charge> = part.places.iter().map(asked).collect();
        let mut way = Way::default();
        loop {
            let (sent, link) = self.send(part.slot, &way, mode, &charges, now, deadline).await?;
            let to = To { slot: part.slot, asking: way.is_once(), up: sent.up };
            let (to, answer) = part.sent.insert((to, sent.answer));
            let to = to.clone();
            let answer = poll_fn(|context| Pin::new(&mut *answer).poll(context)).await;
            part.sent = None;
            match given_up(answer) {
                Ok((Decided::Outcomes(outcomes), time)) => {
                    link.learn(time);
                    part.made = Some(Made { to, outcomes, time });
                    return Ok(None);
                }
                Ok((bad, _)) => return Ok(Some(bad)),
                Err(failure) => way = self.another_way(&way, part.slot, failure)?,
            }
        }
    }
}

/// Whether a request gives back and asks for something that may refuse it.
fn is_mixed(charges: &[Charge]) -> bool {
    let gives_back = |charge: &Charge| matches!(charge.share.hits, Hits::Refund(_));
    charges.iter().any(gives_back) && !charges.iter().all(gives_back)
}

/// Gives back what was counted, unless it is taken out.
struct Guard(Option<Spread>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(spread) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(spread.give_all_back());
        }
    }
}

impl Spread {
    /// The outcome of each charge, as its slot has told it.
    fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::new();
        outcomes.resize(self.charges.len(), None);
        for part in &self.parts {
            for (&place, outcome) in part.places.iter().zip(part.made.iter().flat_map(|made| &made.outcomes))
            {
                outcomes[place] = *outcome;
            }
        }
        outcomes
    }

    /// Whether two charges stand or fall together.
    fn together(&self, one: usize, other: usize) -> bool {
        self.mode == Mode::AllOrNothing || self.charges[one].share.stage == self.charges[other].share.stage
    }

    fn refuses(&self, place: usize, outcomes: &Outcomes) -> bool {
        self.charges[place].share.enforced && outcomes[place].is_some_and(|outcome| !outcome.admitted)
    }

    fn is_refused(&self) -> bool {
        let outcomes = self.outcomes();
        (0..self.charges.len()).any(|place| self.refuses(place, &outcomes))
    }

    /// Whether a charge was counted by its slot, which knows of its own charges only.
    fn is_counted(&self, part: &Part, place: usize, outcomes: &Outcomes) -> bool {
        let share = &self.charges[place].share;
        let Some(outcome) = outcomes[place].filter(|_| matches!(share.hits, Hits::Charge(_))) else {
            return false;
        };
        let stood =
            || !part.places.iter().any(|&other| self.together(place, other) && self.refuses(other, outcomes));
        share.settles || (share.count_denied && !outcome.admitted) || (outcome.admitted && stood())
    }

    /// Gives back what does not count, and tells the outcomes of the whole request.
    async fn settle(self) -> Outcomes {
        let mut outcomes = self.outcomes();
        let told = outcomes.clone();
        let refusing: Vec<usize> = (0..told.len()).filter(|&place| self.refuses(place, &told)).collect();
        let first_refusal = refusing.iter().min().copied().unwrap_or(usize::MAX);
        let is_reached = |place: usize| {
            self.mode != Mode::InOrder || place <= first_refusal || self.together(place, first_refusal)
        };
        let falls = |place: usize| refusing.iter().any(|&other| self.together(place, other));
        // What the request itself gives back, it gives back once it is known that this stands: it could not be taken again.
        let is_due = |place: &usize| {
            let is_refund = matches!(self.charges[*place].share.hits, Hits::Refund(_));
            is_refund && is_mixed(&self.charges) && is_reached(*place) && !falls(*place)
        };
        let mut back = Vec::new();
        for part in &self.parts {
            let counted = part.places.iter().copied().filter(|&place| self.is_counted(part, place, &told));
            let has_fallen = |place: &usize| {
                let share = &self.charges[*place].share;
                let stays = share.settles || !told[*place].is_some_and(|outcome| outcome.admitted);
                !is_reached(*place) || (falls(*place) && !stays)
            };
            let fallen = counted.filter(has_fallen);
            let places: Vec<usize> = fallen.chain(part.places.iter().copied().filter(is_due)).collect();
            back.push(self.give_back(part, places));
        }
        let back = join_all(back).await;
        for (place, outcome) in back.into_iter().flatten() {
            let Some(before) = &mut outcomes[place] else { continue };
            if is_due(&place) {
                *before = outcome.unwrap_or(*before);
                continue;
            }
            // As if it had only been asked about.
            let used = outcome
                .map_or_else(|| before.used.saturating_sub(self.added(place, &told)), |given| given.used);
            *before = Outcome {
                used,
                attempted: self.charges[place].share.hits.applied_to(used),
                remaining: before.limit.saturating_sub(used),
                reset_after: outcome.map_or(before.reset_after, |given| given.reset_after),
                full_after: outcome.map_or(before.full_after, |given| given.full_after),
                ..*before
            };
        }
        for (place, outcome) in outcomes.iter_mut().enumerate() {
            let hits = self.charges[place].share.hits;
            if !is_reached(place) {
                *outcome = None;
            } else if let (Some(told), Hits::Refund(_), false) = (outcome, hits, is_due(&place)) {
                told.attempted = hits.applied_to(told.used);
            }
        }
        outcomes
    }

    /// Waits for all answers, and gives back whatever was counted: nobody was told.
    async fn give_all_back(mut self) {
        for part in &mut self.parts {
            let Some((to, answer)) = part.sent.take() else { continue };
            if let Ok((Decided::Outcomes(outcomes), time)) = given_up(answer.await) {
                part.made = Some(Made { to, outcomes, time });
            }
        }
        let outcomes = self.outcomes();
        let back = self.parts.iter().map(|part| {
            let counted =
                part.places.iter().copied().filter(|&place| self.is_counted(part, place, &outcomes));
            self.give_back(part, counted.collect())
        });
        join_all(back).await;
    }

    /// Gives back the hits of the charges at `places`, each of which is told with its counter's state afterwards.
    async fn give_back(&self, part: &Part, places: Vec<usize>) -> Vec<(usize, Option<Outcome>)> {
        let nothing = |places: Vec<usize>| places.into_iter().map(|place| (place, None)).collect();
        let Some(made) = part.made.as_ref().filter(|_| !places.is_empty()) else { return nothing(places) };
        let told = self.outcomes();
        let first_leaves =
            places.iter().filter_map(|&place| told[place]).map(|outcome| outcome.reset_after).min();
        let deadline = match self.shared.options.clock {
            CountedBy::Caller => u64::MAX,
            CountedBy::Server => {
                let micros = first_leaves.unwrap_or_default().as_micros();
                made.time.saturating_add(u64::try_from(micros).unwrap_or(u64::MAX)).saturating_sub(1)
            }
        };
        let charges: Few<Charge> = places
            .iter()
            .map(|&place| {
                let mut charge = self.charges[place];
                charge.share.hits = match charge.share.hits {
                    Hits::Charge(_) => Hits::refund(self.added(place, &told)),
                    hits => hits,
                };
                charge
            })
            .collect();
        let (answer, answered) = oneshot::channel();
        let at = self.shared.at(self.now);
        let form = wire::form(Mode::Each, &charges);
        let request = Request { form, mode: Mode::Each, charges, at, deadline, answer, _waits: Arc::new(()) };
        run(Arc::clone(&self.shared), made.to.clone(), form, vec![request]).await;
        match given_up(answered.await) {
            Ok((Decided::Outcomes(outcomes), _)) => places.into_iter().zip(outcomes).collect(),
            _ => nothing(places),
        }
    }

    /// How many hits a charge that was counted has added: a bucket that is empty takes no more of them, whatever is refused. Never more
    /// than there are, for what is given back too much is granted twice.
    fn added(&self, place: usize, told: &Outcomes) -> u64 {
        let cost = self.charges[place].share.hits.cost();
        let Some(outcome) = told[place] else { return 0 };
        let key = self.charges[place].key;
        let shares_its_counter = self.charges.iter().filter(|other| other.key == key).count() > 1;
        if shares_its_counter && !outcome.admitted {
            return 0;
        }
        let before = outcome.attempted.saturating_sub(cost);
        outcome.used.saturating_sub(before).min(cost)
    }
}
