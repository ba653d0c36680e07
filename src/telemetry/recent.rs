//! The last denials and the last descriptors that reached no rule, for operators who ask «what was that?».
//!
//! They are samples: each worker adds at most ten of a kind a second, so that neither a flood of denials nor a policy that leaves
//! most descriptors alone costs a request anything. Both lists are bounded, and values that may be credentials are not in them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{NoMatch, Timestamp};

/// The time between two samples of one worker, in nanoseconds.
const BETWEEN: u64 = 100_000_000;
/// How many of each kind are kept.
pub const KEPT: usize = 256;

/// A request that was refused, and the limit that its answer reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// The domain of the request.
    pub domain: String,
    /// The descriptor that the limit was charged for, with `…` for credentials.
    pub descriptor: String,
    /// The label of the rule.
    pub rule: String,
    /// The name of the limit.
    pub limit: String,
    /// Who was refused, where the policy knows.
    pub subject: Option<String>,
    /// Hits granted per window.
    pub granted: u64,
    /// Hits counted.
    pub used: u64,
    /// Milliseconds until the same request could pass; `None` if it never will.
    pub retry_after_ms: Option<u64>,
}

/// A descriptor that reached no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// The domain of the request, which may be one that no policy has.
    pub domain: String,
    /// Its entries, with `…` for what may be a credential.
    pub descriptor: String,
    /// The first entry that matched nothing: its key, and its value or `…`; `None` where there is none.
    pub entry: Option<(String, String)>,
    /// Where the node is whose descriptors were looked through, as file, line and column; `None` at the top of the domain.
    pub below: Option<(String, usize, usize)>,
    /// Why it reached none; `None` where no policy has the domain.
    pub reason: Option<NoMatch>,
}

/// One that was seen more than once is listed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it was seen first, by the wall clock.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// How many samples there were of it.
    pub samples: u64,
    /// What it was.
    pub what: Unmatched,
}

/// The last of both kinds, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Recent {
    denials: Mutex<VecDeque<Denial>>,
    unmatched: Mutex<VecDeque<Seen>>,
}

impl Recent {
    pub(super) fn add_denial(&self, denial: Denial) {
        let mut denials = lock(&self.denials);
        if denials.len() >= KEPT {
            denials.pop_front();
        }
        denials.push_back(denial);
    }

    pub(super) fn add_unmatched(&self, what: Unmatched, at: Timestamp) {
        let mut all = lock(&self.unmatched);
        let known = all.iter().position(|seen| seen.what == what).and_then(|place| all.remove(place));
        let (first, samples) = known.map_or((at, 0), |seen| (seen.first, seen.samples));
        if all.len() >= KEPT {
            all.pop_front();
        }
        all.push_back(Seen { first, last: at, samples: samples + 1, what });
    }

    /// The newest first.
    pub(super) fn denials(&self) -> Vec<Denial> {
        lock(&self.denials).iter().rev().cloned().collect()
    }

    /// The newest first.
    pub(super) fn unmatched(&self) -> Vec<Seen> {
        lock(&self.unmatched).iter().rev().cloned().collect()
    }
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values, whatever a thread that held them died of.
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a worker took its last sample.
#[derive(Debug, Default)]
pub(super) struct Sampling(Cell<u64>);

impl Sampling {
    /// Whether one is taken at `now`: at most ten a second are. After a clock was set back it goes on at once.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let (now, last) = (now.as_nanos(), self.0.get());
        let due = now < last || now - last >= BETWEEN;
        if due {
            self.0.set(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmatched(key: &str) -> Unmatched {
        let entry = Some((key.to_owned(), "…".to_owned()));
        let (domain, descriptor) = ("d".to_owned(), format!("{key}=…"));
        Unmatched { domain, descriptor, entry, below: None, reason: Some(NoMatch::UnknownKey) }
    }

    #[test]
    fn what_is_seen_again_is_listed_once_and_the_lists_are_bounded() {
        let recent = Recent::default();
        recent.add_unmatched(unmatched("often"), Timestamp::from_secs(1));
        for n in 0..KEPT as u64 - 1 {
            recent.add_unmatched(unmatched(&n.to_string()), Timestamp::from_secs(2 + n));
        }
        recent.add_unmatched(unmatched("often"), Timestamp::from_secs(900));
        for n in 0..100 {
            recent.add_unmatched(unmatched(&format!("more {n}")), Timestamp::from_secs(1_000));
        }
        let all = recent.unmatched();
        assert_eq!(all.len(), KEPT);
        let often = all.iter().find(|seen| seen.what == unmatched("often")).unwrap();
        let (first, last) = (Timestamp::from_secs(1), Timestamp::from_secs(900));
        assert_eq!((often.first, often.last, often.samples), (first, last, 2));
    }

    #[test]
    fn a_worker_takes_ten_samples_a_second() {
        let sampling = Sampling::default();
        let milliseconds = (1_000..2_000).map(|n| Timestamp::from_nanos(n * 1_000_000));
        assert_eq!(milliseconds.filter(|now| sampling.is_due(*now)).count(), 10);
        assert!(sampling.is_due(Timestamp::from_nanos(5)), "the clock was set back");
    }
}
