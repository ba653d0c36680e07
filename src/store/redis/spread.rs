//! A request whose counters are in several slots of a cluster, which no script can decide on at once. Nor can one where some counters of a slot
//! that is handed over are here and some there, and new ones at neither server: each counter is a part for itself then.
//!
//! Each slot decides for itself, all at a time, and counts. Where one of them refuses, the others give back what they have counted for
//! charges that stand or fall with it. So a limit is never exceeded; what is counted for the moment in between may refuse a request
//! of somebody else. Nothing is given back to a window that began afterwards, or to a bucket that has refilled meanwhile: it is too
//! late once the first of these hits may have left.
//!
//! The answer is known after one trip, and tells what is counted once the hits are given back. It does not wait for that: a refusal
//! that took two trips would be late where an admission, which takes one, is not. What cannot be given back, as when a server is
//! killed, stays counted.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::failure::Failure;
use super::numbers::{self, Decided};
use super::options::CountedBy;
use super::session::{Answer, REDIRECTIONS, RedisSession, Request, To, Way, given_up, run};
use super::{link, wire};
use crate::algorithm::{Algorithm, Charge, Fate, FixedWindow, Mode, Outcomes, Share};
use crate::model::{Few, Hits, Outcome, Timestamp};

/// The time in which what was counted can usually be given back.
const TRIP: Duration = Duration::from_millis(20);

/// The part of a request that one slot decides on.
#[derive(Debug)]
struct Part {
    slot: u16,
    /// Where its charges are among those of the request.
    places: Vec<usize>,
    /// Where they were sent to, and what is to be answered.
    sent: Option<(To, oneshot::Receiver<Answer>)>,
    made: Option<Made>,
}

impl Part {
    /// One for each slot, of charges that are in these slots.
    fn by_slot(slots: &[u16]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for (place, &slot) in slots.iter().enumerate() {
            match parts.iter_mut().find(|part| part.slot == slot) {
                Some(part) => part.places.push(place),
                None => parts.push(Self::new(slot, place)),
            }
        }
        parts
    }

    /// One for each counter, of charges that are all in one slot.
    fn by_counter(slot: u16, charges: &[Charge]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for (place, charge) in charges.iter().enumerate() {
            match parts.iter_mut().find(|part| charges[part.places[0]].key == charge.key) {
                Some(part) => part.places.push(place),
                None => parts.push(Self::new(slot, place)),
            }
        }
        parts
    }

    fn new(slot: u16, place: usize) -> Self {
        Self { slot, places: vec![place], sent: None, made: None }
    }
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
    /// What gives back waits for the server as requests do, and is counted among them.
    waiting: Weak<()>,
}

impl RedisSession {
    /// Has each of these slots decide on its charges.
    pub(super) async fn spread_over_slots(
        &self,
        slots: &[u16],
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Decided, Failure> {
        self.spread(Part::by_slot(slots), mode, charges, now, deadline).await
    }

    /// Has each counter decided on alone, all of which are in this slot.
    pub(super) async fn spread_over_counters(
        &self,
        slot: u16,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Decided, Failure> {
        self.spread(Part::by_counter(slot, charges), mode, charges, now, deadline).await
    }

    async fn spread(
        &self,
        parts: Vec<Part>,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Decided, Failure> {
        let (shared, waiting) = (Arc::clone(&self.shared), Arc::downgrade(&self.waiting));
        let charges_of = Few::from_slice(charges);
        let mut spread = Guard(Some(Spread { shared, mode, charges: charges_of, now, parts, waiting }));
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
        let (outcomes, places) = whole.conclude();
        if places.iter().any(|places| !places.is_empty()) {
            // Its own task: nobody waits for it.
            tokio::spawn(async move { whole.give_back_all(places).await });
        }
        Ok(Decided::Outcomes(outcomes))
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
            let queued = self.queue(part.slot, &way, mode, &charges, now, deadline).await?;
            // Whoever sends it: once it may be on its way, somebody has to hear what became of it.
            let (to, answer) = part.sent.insert((queued.to, queued.answer));
            let to = to.clone();
            self.sent(queued.number).await;
            let answer = poll_fn(|context| Pin::new(&mut *answer).poll(context)).await;
            part.sent = None;
            match given_up(answer) {
                Ok((Decided::Outcomes(outcomes), time)) => {
                    queued.link.learn(to.up.generation, time);
                    part.made = Some(Made { to, outcomes, time });
                    return Ok(None);
                }
                Ok((Decided::Late, time)) if Instant::now() < deadline && way.may_be_late() => {
                    queued.link.learn(to.up.generation, time);
                }
                Ok((bad, _)) => return Ok(Some(bad)),
                Err(failure) => way = self.another_way(&way, part.slot, failure)?,
            }
        }
    }
}

/// How much of a charge can be given back, and for how long after it was counted.
#[derive(Clone, Copy, Debug)]
struct Back {
    hits: Hits,
    within: Duration,
}

impl Back {
    /// Of a charge that has `added` hits, and was told that `outcome`: as long as all of them are there, for others' hits are not to be
    /// given away. It will not be given back before a `trip` is over.
    fn of(share: &Share, outcome: &Outcome, added: u64, trip: Duration) -> Self {
        let (hits, within) = match share.algorithm {
            Algorithm::FixedWindow(_) => (added, outcome.reset_after),
            Algorithm::SlidingWindow(sliding) => (added, sliding.window),
            Algorithm::TokenBucket(bucket) => {
                // A bucket refills the hits first that were there first. Of one that was nearly full, some of those that were added are gone
                // until anything can be given back.
                let per_hit = per_hit(bucket.window, share.limit);
                let full = outcome.full_after.as_nanos();
                let within = full.saturating_sub(per_hit * u128::from(added)).max(trip.as_nanos());
                let hits = (full.saturating_sub(within) / per_hit).min(added.into());
                let nanos = u64::try_from(within).unwrap_or(u64::MAX);
                (u64::try_from(hits).unwrap_or(added), Duration::from_nanos(nanos))
            }
        };
        Self { hits: Hits::refund(hits), within }
    }

    /// What a charge that was told `outcome` is told of its counter once this is given back. When the last hit of a sliding window
    /// leaves is not known any more then; it is told as if it were the one that is given back, which is no earlier.
    fn told(&self, share: &Share, outcome: &Outcome) -> Outcome {
        let used = self.hits.applied_to(outcome.used);
        let (mut reset_after, mut full_after) = (outcome.reset_after, outcome.full_after);
        match share.algorithm {
            Algorithm::TokenBucket(bucket) => {
                let given = per_hit(bucket.window, share.limit).saturating_mul((outcome.used - used).into());
                let given = Duration::from_nanos(u64::try_from(given).unwrap_or(u64::MAX));
                full_after = full_after.saturating_sub(given);
                reset_after = reset_after.min(full_after);
            }
            Algorithm::SlidingWindow(_) | Algorithm::FixedWindow(FixedWindow::Anchored { .. })
                if used == 0 =>
            {
                (reset_after, full_after) = (Duration::ZERO, Duration::ZERO);
            }
            Algorithm::SlidingWindow(_) | Algorithm::FixedWindow(_) => {}
        }
        let remaining = outcome.limit.saturating_sub(used);
        Outcome { used, remaining, reset_after, full_after, ..*outcome }
    }
}

/// In how many nanoseconds a bucket refills by one hit.
fn per_hit(window: Duration, limit: u64) -> u128 {
    window.as_nanos().div_ceil(u128::from(limit.max(1))).max(1)
}

/// How hits are given back.
#[derive(Clone, Copy, Debug)]
struct GivenBack {
    /// When they were counted, if that is to be as if it had never been; in microseconds.
    undoes: Option<u64>,
    /// The time to count at.
    at: Option<Timestamp>,
    /// The server's time after which it is too late.
    deadline: u64,
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
        self.mode.joins(self.charges[one].share.stage, self.charges[other].share.stage)
    }

    fn refuses(&self, place: usize, outcomes: &Outcomes) -> bool {
        self.charges[place].share.enforced && outcomes[place].is_some_and(|outcome| !outcome.admitted)
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

    /// The outcomes of the whole request, and the charges of each part that are to be given back.
    fn conclude(&self) -> (Outcomes, Vec<Vec<usize>>) {
        let mut outcomes = self.outcomes();
        let told = outcomes.clone();
        let is_mixed = is_mixed(&self.charges);
        let fates = self.mode.fates(&self.charges, |place| self.refuses(place, &told));
        if !is_mixed && fates.iter().all(|fate| *fate == Fate::Stands) {
            return (outcomes, Vec::new());
        }
        // What the request itself gives back, it gives back once it is known that this stands: it could not be taken again.
        let is_refund = |place: usize| matches!(self.charges[place].share.hits, Hits::Refund(_));
        let is_due = |place: &usize| is_mixed && is_refund(*place) && fates[*place] == Fate::Stands;
        let mut places = Vec::new();
        for part in &self.parts {
            let counted = part.places.iter().copied().filter(|&place| self.is_counted(part, place, &told));
            let has_fallen = |place: &usize| {
                let share = &self.charges[*place].share;
                let stays = share.settles || !told[*place].is_some_and(|outcome| outcome.admitted);
                fates[*place] == Fate::NotReached || (fates[*place] == Fate::Falls && !stays)
            };
            let due = part.places.iter().copied().filter(is_due);
            places.push(counted.filter(has_fallen).chain(due).collect::<Vec<usize>>());
        }
        for &place in places.iter().flatten() {
            let (Some(back), Some(outcome)) = (self.back(place, &told), &mut outcomes[place]) else {
                continue;
            };
            let share = &self.charges[place].share;
            *outcome = back.told(share, outcome);
            if is_due(&place) {
                (outcome.admitted, outcome.retry_after) = (true, None);
                outcome.attempted = outcome.used;
            } else {
                // As if it had only been asked about.
                outcome.attempted = share.hits.applied_to(outcome.used);
            }
        }
        for (place, outcome) in outcomes.iter_mut().enumerate() {
            if fates[place] == Fate::NotReached {
                *outcome = None;
            } else if let (Some(told), true, false) = (outcome, is_refund(place), is_due(&place)) {
                told.attempted = self.charges[place].share.hits.applied_to(told.used);
            }
        }
        (outcomes, places)
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
        let counted = |part: &Part| {
            part.places.iter().copied().filter(|&place| self.is_counted(part, place, &outcomes)).collect()
        };
        let places = self.parts.iter().map(counted).collect();
        self.give_back_all(places).await;
    }

    /// Gives back the hits of the charges at these places of each part. A server that does not answer is not waited for longer than
    /// for any other answer.
    async fn give_back_all(&self, places: Vec<Vec<usize>>) {
        let is_refund = |place: &usize| matches!(self.charges[*place].share.hits, Hits::Refund(_));
        let back = self.parts.iter().zip(places).flat_map(|(part, places)| {
            let (due, counted): (Vec<usize>, Vec<usize>) = places.into_iter().partition(is_refund);
            [self.give_back(part, counted, true), self.give_back(part, due, false)]
        });
        join_all(back).await;
    }

    /// What can be given back of a charge: that which was counted, or what the request itself gives back.
    fn back(&self, place: usize, told: &Outcomes) -> Option<Back> {
        let (share, outcome) = (&self.charges[place].share, told[place]?);
        let trip = match self.shared.options.clock {
            CountedBy::Caller => Duration::ZERO,
            CountedBy::Server => TRIP,
        };
        let back = match share.hits {
            Hits::Charge(_) => Back::of(share, &outcome, self.added(place, told), trip),
            _ if outcome.full_after.is_zero() => return None,
            hits => Back { hits, within: outcome.full_after },
        };
        (back.hits != Hits::Look).then_some(back)
    }

    /// Gives back the hits of the charges at `places`. What it `undoes` is as if it had never been counted.
    async fn give_back(&self, part: &Part, places: Vec<usize>, undoes: bool) {
        let Some(made) = &part.made else { return };
        let told = self.outcomes();
        let (mut charges, mut within): (Few<Charge>, _) = (Few::new(), Duration::MAX);
        for place in places {
            let Some(back) = self.back(place, &told) else { continue };
            let mut charge = self.charges[place];
            charge.share.hits = back.hits;
            within = within.min(back.within);
            charges.push(charge);
        }
        if charges.is_empty() {
            return;
        }
        let deadline = match self.shared.options.clock {
            CountedBy::Caller => u64::MAX,
            CountedBy::Server => {
                let within = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
                made.time.saturating_add(within).saturating_sub(1)
            }
        };
        let at = self.shared.at(self.now);
        let undoes = undoes.then_some(at.map_or(made.time, numbers::micros));
        let back = GivenBack { undoes, at, deadline };
        if let Err(Failure::OnItsWay(_)) = self.send_back(&back, made.to.clone(), &charges).await {
            // Some of these counters are at another server by now. Each is found alone.
            let each = charges.chunks(1).map(|charge| self.send_back(&back, made.to.clone(), charge));
            join_all(each).await;
        }
    }

    /// Has the server give back `charges`, or the one that it names instead as the slot has moved.
    async fn send_back(&self, back: &GivenBack, mut to: To, charges: &[Charge]) -> Result<(), Failure> {
        let form = wire::form(Mode::Each, charges);
        let mut tried = 0;
        loop {
            let (answer, answered) = oneshot::channel();
            let request = Request {
                secret: None,
                number: 0,
                form,
                mode: Mode::Each,
                undoes: back.undoes,
                alone: true,
                charges: Few::from_slice(charges),
                at: back.at,
                deadline: back.deadline,
                answer,
                _waits: self.waiting.upgrade().unwrap_or_default(),
            };
            run(Arc::clone(&self.shared), to.clone(), form, vec![request]).await;
            match given_up(answered.await) {
                Err(Failure::Elsewhere { server, once }) if tried < REDIRECTIONS => {
                    tried += 1;
                    if !once {
                        self.shared.cluster.moved(to.slot, &server);
                    }
                    // The session has one, perhaps, but may be gone.
                    let up = link::connect(&self.shared, Some(&server)).await?.up();
                    to = To { asking: once, up, ..to };
                }
                answer => return answer.map(drop),
            }
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
