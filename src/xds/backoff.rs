//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter: any time up to a bound, which doubles with each attempt that fails. So replicas that
/// lost the same server do not come back together.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    bound: Duration,
}

impl Backoff {
    /// The least that is waited: some attempts more a second harm nobody, a thousand do.
    const LEAST: Duration = Duration::from_millis(50);

    /// From `first` to `most`.
    pub(super) fn new((first, most): (Duration, Duration)) -> Self {
        Self { first, most, bound: first.min(most) }
    }

    /// How long to wait now: `part` is any part of one.
    pub(super) fn next(&mut self, part: f64) -> Duration {
        let pause = self.bound.mul_f64(part);
        self.bound = (self.bound * 2).min(self.most);
        pause.max(Self::LEAST)
    }

    /// After an attempt that was good.
    pub(super) fn reset(&mut self) {
        self.bound = self.first.min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_most_and_a_good_attempt_resets_it() {
        let mut backoff = Backoff::new((Duration::from_secs(1), Duration::from_secs(30)));
        let bounds: Vec<u64> = (0..7).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
        assert_eq!(backoff.next(0.5), Duration::from_secs(1), "any time up to the bound, which is 2 s");
        assert_eq!(backoff.next(0.0), Backoff::LEAST);
    }
}
