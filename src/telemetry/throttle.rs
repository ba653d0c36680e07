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
}
