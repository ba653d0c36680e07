//! What became of the spans of calls.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the spans of calls.
#[derive(Debug, Default)]
pub struct SpanCounts {
    /// A collector took them.
    pub sent: AtomicU64,
    /// Too many waited already: calls, of which each has one or two spans.
    pub queue_full: AtomicU64,
    /// No collector could be reached in time.
    pub unsent: AtomicU64,
    /// A collector refused them.
    pub refused: AtomicU64,
}

impl SpanCounts {
    /// All that no collector has.
    pub fn dropped(&self) -> u64 {
        self.dropped_by_reason().iter().map(|(_, count)| count).sum()
    }

    /// The same by reason.
    pub(super) fn dropped_by_reason(&self) -> [(&'static str, u64); 3] {
        [("queue_full", &self.queue_full), ("refused", &self.refused), ("unsent", &self.unsent)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}
