//! At most one line of a kind a second, however often clients cause it; and of what goes on and on one a minute.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(1);
/// How often what lasts is told again.
const LASTING_EVERY: Duration = Duration::from_secs(60);
/// The most names that are remembered: clients choose them.
const MOST_NAMES: usize = 100;

/// Admits one line a second, and counts those that it holds back.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

/// The same for each of some kinds of lines.
#[derive(Debug, Default)]
pub(super) struct Throttles(Mutex<BTreeMap<&'static str, Throttle>>);

impl Throttles {
    /// Whether a line of that kind may be written now, and then how many were held back since the last one.
    pub(super) fn admit(&self, kind: &'static str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().admit()
    }

    /// How many of each kind were held back after the last line. See [`Throttle::left`].
    pub(super) fn left(&self, last: bool) -> Vec<(&'static str, u64)> {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().filter_map(|(kind, throttle)| Some((*kind, throttle.left(last)?))).collect()
    }
}

/// Admits one line a minute for each name, and of names that it has not heard of lately one a second.
#[derive(Debug, Default)]
pub(super) struct Lasting(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    known: HashMap<Box<[u8]>, State>,
    new: State,
}

impl Lasting {
    /// Whether a line about `name` may be written now, and then how many were held back since the last one about it; about a new
    /// name, how many were about other new ones.
    pub(super) fn admit(&self, name: &[u8]) -> Option<u64> {
        self.admit_at(name, Instant::now())
    }

    /// As [`Throttle::left`], of all names.
    pub(super) fn left(&self, last: bool) -> Option<u64> {
        self.left_at(Instant::now(), last)
    }

    fn admit_at(&self, name: &[u8], now: Instant) -> Option<u64> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Names { known, new } = &mut *names;
        if let Some(state) = known.get_mut(name) {
            return state.admit(now, LASTING_EVERY);
        }
        let admitted = new.admit(now, EVERY)?;
        if known.len() >= MOST_NAMES {
            known.retain(|_, state| state.held_back > 0 || !state.is_over(now, LASTING_EVERY));
        }
        // Of more names each is as if it were new.
        if known.len() < MOST_NAMES {
            known.insert(name.into(), State { last: Some(now), held_back: 0 });
        }
        Some(admitted)
    }

    fn left_at(&self, now: Instant, last: bool) -> Option<u64> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Names { known, new } = &mut *names;
        let of_known = known.values_mut().filter_map(|state| state.left(now, LASTING_EVERY, last));
        let left = of_known.sum::<u64>() + new.left(now, EVERY, last).unwrap_or_default();
        (left > 0).then_some(left)
    }
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Whether a line may be written now, and then how many were held back since the last one.
    pub(super) fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    /// How many lines were held back after the last one, if any were. Within a second of that line a next one may still report
    /// them, unless none will come: `last`.
    pub(super) fn left(&self, last: bool) -> Option<u64> {
        self.left_at(Instant::now(), last)
    }

    fn left_at(&self, now: Instant, last: bool) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left(now, EVERY, last)
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // Two plain values are whole whatever a thread that held them died of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).admit(now, EVERY)
    }
}

impl State {
    fn admit(&mut self, now: Instant, every: Duration) -> Option<u64> {
        if self.last.is_some() && !self.is_over(now, every) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }

    fn left(&mut self, now: Instant, every: Duration, last: bool) -> Option<u64> {
        if !(last || self.is_over(now, every)) || self.held_back == 0 {
            return None;
        }
        Some(std::mem::take(&mut self.held_back))
    }

    /// Whether there was a last line, and so long ago.
    fn is_over(&self, now: Instant, every: Duration) -> bool {
        self.last.is_some_and(|last| now.duration_since(last) >= every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_held_back() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let at = |millis| throttle.admit_at(start + Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(1), at(999), at(1_000), at(1_001), at(2_500)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }

    #[test]
    fn what_lasts_is_told_once_a_minute_by_its_name() {
        let (lasting, start) = (Lasting::default(), Instant::now());
        let at =
            |name: &str, millis| lasting.admit_at(name.as_bytes(), start + Duration::from_millis(millis));
        assert_eq!([at("a", 0), at("a", 1_500), at("a", 59_999)], [Some(0), None, None]);
        // Another name does not wait for the first one's minute, but for the second of new ones.
        assert_eq!([at("b", 500), at("b", 1_000), at("b", 30_000)], [None, Some(1), None]);
        assert_eq!([at("a", 60_000), at("a", 60_001), at("a", 120_000)], [Some(2), None, Some(1)]);
        let left = |millis, last| lasting.left_at(start + Duration::from_millis(millis), last);
        assert_eq!([left(60_999, false), left(61_000, false), left(61_000, true)], [None, Some(1), None]);
    }

    #[test]
    fn however_many_names_there_are_little_is_remembered_and_a_line_a_second_is_written() {
        let (lasting, start) = (Lasting::default(), Instant::now());
        let mut lines = 0;
        for n in 0..100_000_u64 {
            let at = start + Duration::from_millis(n);
            lines += u64::from(lasting.admit_at(&n.to_le_bytes(), at).is_some());
        }
        assert_eq!(lines, 100);
        assert!(lasting.0.lock().unwrap().known.len() <= MOST_NAMES);
    }

    #[test]
    fn what_was_held_back_last_is_reported_once_the_second_is_over() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(
            [throttle.admit_at(at(0)), throttle.admit_at(at(1)), throttle.admit_at(at(2))],
            [Some(0), None, None]
        );
        let left = [500, 1_000, 1_001].map(|millis| throttle.left_at(at(millis), false));
        assert_eq!(left, [None, Some(2), None]);
        assert_eq!(throttle.admit_at(at(1_002)), Some(0), "it was reported");
        assert_eq!(throttle.admit_at(at(1_003)), None);
        assert_eq!(throttle.left_at(at(1_004), true), Some(1), "at the end nothing is waited for");
    }
}
