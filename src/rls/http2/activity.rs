//! How many calls a connection made, and when it made its last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How many calls a connection made, and when it made its last, as seen from other threads.
#[derive(Debug)]
pub struct Activity {
    since: Instant,
    /// In milliseconds after `since`, and one more; 0 for never.
    last: AtomicU64,
    calls: AtomicU64,
}

impl Activity {
    /// Of a connection that was made at `since`.
    pub fn since(since: Instant) -> Self {
        Self { since, last: AtomicU64::new(0), calls: AtomicU64::new(0) }
    }

    /// A call was made at `now`. Only the thread that serves the connection says so.
    pub fn call(&self, now: Instant) {
        let millis = u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis.saturating_add(1), Ordering::Relaxed);
        self.calls.store(self.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// When the last call was made, if there was one.
    pub fn last_call(&self) -> Option<Instant> {
        let millis = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        self.since.checked_add(Duration::from_millis(millis))
    }
}
