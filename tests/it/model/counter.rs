//! One counter: the list of all that was counted, and every question answered by reading it from the beginning.

use super::policy::{Ask, Counting, DAY};

/// How a counter counts, for whoever is granted `number`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) counting: Counting,
    pub(super) length: u64,
    pub(super) number: u64,
    /// Of a bucket.
    pub(super) burst: u64,
    /// Whether it is charged after the fact, so that whoever finds anything left is admitted.
    pub(super) settles: bool,
}

/// Something that a counter was asked. What was refused and not counted stands there as a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) ask: Ask,
    /// A limit that comes with a request may grant another number than the one before it.
    pub(super) terms: Terms,
}

pub(super) type History = Vec<Event>;

/// What a counter says at some time.
#[derive(Debug)]
pub(super) struct State {
    pub(super) used: u64,
    /// When hits become free, the first one first.
    pub(super) frees: Vec<u64>,
}

impl Terms {
    /// The most that can be asked for at once.
    pub(super) fn limit(&self) -> u64 {
        match self.counting {
            Counting::Bucket { .. } if self.number == 0 => 0,
            Counting::Bucket { .. } => self.burst,
            _ => self.number,
        }
    }

    pub(super) fn state(&self, history: &History, now: u64) -> State {
        match self.counting {
            Counting::Clock => self.fixed(history, now, now / self.length * self.length),
            Counting::Day => self.fixed(history, now, now / DAY * DAY),
            Counting::FirstHit => self.first_hit(history, now),
            Counting::Sliding => self.sliding(history, now),
            Counting::Bucket { .. } => self.bucket(history, now),
        }
    }

    /// Whether `ask` stays within the limit. A refund asks for nothing.
    pub(super) fn admits(&self, history: &History, ask: Ask, now: u64) -> bool {
        let used = self.state(history, now).used;
        match ask {
            Ask::Look | Ask::Charge(_) if self.settles => used < self.limit(),
            Ask::Look => used <= self.limit(),
            Ask::Charge(hits) => used + hits <= self.limit(),
            Ask::Refund(_) => true,
        }
    }

    fn fixed(&self, history: &History, now: u64, start: u64) -> State {
        let mut used = 0;
        for Event { at, ask, .. } in history {
            if *at >= start && *at <= now {
                used = applied(used, *ask);
            }
        }
        State { used, frees: vec![start + self.length] }
    }

    /// The first hit that is counted opens a window, and nothing else does.
    fn first_hit(&self, history: &History, now: u64) -> State {
        let mut window: Option<(u64, u64)> = None;
        for Event { at, ask, .. } in history {
            window = window.filter(|(start, _)| *at < start + self.length);
            window = match (window, ask) {
                (Some((start, used)), ask) => Some((start, applied(used, *ask))),
                (None, Ask::Charge(hits)) => Some((*at, *hits)),
                (None, _) => None,
            };
        }
        match window.filter(|(start, _)| now < start + self.length) {
            Some((start, used)) => State { used, frees: vec![start + self.length] },
            None => State { used: 0, frees: Vec::new() },
        }
    }

    /// A stamp for each hit, which is live while it is younger than the window. Refunds take the newest ones. Where refusals
    /// are counted, no more than twice the limit and one are kept, the newest.
    fn sliding(&self, history: &History, now: u64) -> State {
        let mut stamps: Vec<u64> = Vec::new();
        for Event { at, ask, terms } in history {
            stamps.retain(|stamp| *at < stamp + self.length);
            match ask {
                Ask::Look => {}
                Ask::Charge(hits) => {
                    let most = (2 * terms.number + 1).max(stamps.len() as u64);
                    stamps.extend((0..*hits).map(|_| *at));
                    let kept = usize::try_from(most).unwrap();
                    stamps.drain(..stamps.len().saturating_sub(kept));
                }
                Ask::Refund(hits) => {
                    let left = stamps.len().saturating_sub(usize::try_from(*hits).unwrap());
                    stamps.truncate(left);
                }
            }
        }
        stamps.retain(|stamp| now < stamp + self.length);
        State { used: stamps.len() as u64, frees: stamps.iter().map(|stamp| stamp + self.length).collect() }
    }

    /// What is missing is counted as the time in which it refills. It is never more than the burst; what another number of
    /// hits emptied counts by the time that it takes.
    fn bucket(&self, history: &History, now: u64) -> State {
        let mut full_at = 0;
        for Event { at, ask, terms } in history.iter().filter(|event| event.terms.limit() > 0) {
            let (price, most) = (terms.price(), terms.limit() * terms.price());
            let missing = most.min(full_at.max(*at) - at);
            let missing = match ask {
                Ask::Look => missing,
                Ask::Charge(hits) => most.min(missing + hits * price),
                Ask::Refund(hits) => missing.saturating_sub(hits * price),
            };
            full_at = at + missing;
        }
        let (price, most) = (self.price(), self.limit() * self.price());
        let level = most - most.min(full_at.max(now) - now);
        let whole = level / price;
        let frees = (whole + 1..=self.limit()).map(|hits| now + hits * price - level).collect();
        State { used: self.limit() - whole, frees }
    }

    /// Nanoseconds in which one hit refills.
    fn price(&self) -> u64 {
        self.length.div_ceil(self.number.max(1))
    }
}

pub(super) fn applied(used: u64, ask: Ask) -> u64 {
    match ask {
        Ask::Look => used,
        Ask::Charge(hits) => used + hits,
        Ask::Refund(hits) => used.saturating_sub(hits),
    }
}
