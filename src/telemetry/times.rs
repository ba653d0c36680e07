//! How long things take, in buckets around Envoy's default timeout of 20 ms.

use std::time::Duration;

use super::hits::Count;

/// The upper bounds of the buckets, in microseconds: close to each other around what a store may take by default, 10 ms, and
/// around Envoy's default timeout, 20 ms.
pub(super) const BUCKETS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 25_000, 50_000, 100_000, 1_000_000];

/// Times, counted by one worker.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// One more than there are bounds: what took longer than all of them.
    buckets: [Count; BUCKETS.len() + 1],
    nanos: Count,
}

/// Times that several workers counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimeTotals {
    /// How many were up to each bound and longer than the one before, and how many were longer than all.
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    /// Their sum.
    pub(super) seconds: f64,
}

impl Times {
    /// Counts so `many` that took that `time` each.
    pub(super) fn add(&self, time: Duration, many: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(many);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.add(nanos.saturating_mul(many));
    }
}

impl TimeTotals {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn add(&mut self, times: &Times) {
        for (sum, count) in self.buckets.iter_mut().zip(&times.buckets) {
            *sum += count.get();
        }
        self.seconds += Duration::from_nanos(times.nanos.get()).as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_by_the_bucket_that_they_fall_into() {
        let times = Times::default();
        for (micros, many) in
            [(0, 1), (50, 1), (51, 3), (20_000, 1), (20_001, 1), (1_000_000, 1), (1_000_001, 1)]
        {
            times.add(Duration::from_micros(micros), many);
        }
        let mut totals = TimeTotals::default();
        totals.add(&times);
        assert_eq!(totals.buckets, [2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]);
        assert!((totals.seconds - 2.040_205).abs() < 1e-9, "{}", totals.seconds);
    }
}
