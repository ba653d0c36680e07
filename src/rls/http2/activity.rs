//! The number of calls of a connection, and the time of the last one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The number of calls of a connection, and the time of the last one. Other threads may read it.
#[derive(Debug)]
pub struct Activity {
    since: Instant,
    /// The time of the last call in milliseconds after `since`, plus one; 0 before the first call.
    last: AtomicU64,
    calls: AtomicU64,
}

impl Activity {
    /// The activity of a connection that was accepted at `since`.
    pub fn since(since: Instant) -> Self {
        Self { since, last: AtomicU64::new(0), calls: AtomicU64::new(0) }
    }

    /// Counts a call at `now`. Only the thread that serves the connection may call this.
    pub fn call(&self, now: Instant) {
        let millis = u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis.saturating_add(1), Ordering::Relaxed);
        self.calls.store(self.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The number of calls.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The time of the last call, if there was one.
    pub fn last_call(&self) -> Option<Instant> {
        let millis = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        self.since.checked_add(Duration::from_millis(millis))
    }
}
