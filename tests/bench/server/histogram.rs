//! Latencies, to within two percent.

use std::time::Duration;

/// Buckets for each power of two.
const FINE: u64 = 64;

/// Counts of nanoseconds in buckets that grow with what they count.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, nanos: u64) {
        let at = bucket(nanos);
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += 1;
        self.count += 1;
        self.longest = self.longest.max(nanos);
    }

    /// So many of a thousand took at most this long.
    pub(crate) fn per_mille(&self, part: u64) -> Duration {
        let wanted = (self.count * part).div_ceil(1000);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        // The bucket's upper end, so that no percentile is told too low.
        Duration::from_nanos(at.map_or(0, |at| lowest(at + 1).min(self.longest)))
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }
}

fn bucket(nanos: u64) -> usize {
    let power = (nanos / FINE).checked_ilog2().map_or(0, |log| log + 1);
    // In the first two groups a bucket is one nanosecond wide; after that each group's are twice the last's.
    let shift = power.saturating_sub(1);
    usize::try_from(u64::from(shift) * FINE + (nanos >> shift)).expect("a few thousand")
}

fn lowest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / FINE).saturating_sub(1);
    (bucket - shift * FINE) << shift
}
