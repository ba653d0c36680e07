//! At most one line of a kind a second, however often clients cause it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(1);

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
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = last || state.last.is_some_and(|last| now.duration_since(last) >= EVERY);
        if !is_over || state.held_back == 0 {
            return None;
        }
        Some(std::mem::take(&mut state.held_back))
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // Two plain values are whole whatever a thread that held them died of.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
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
