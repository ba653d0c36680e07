//! What is known of the clock at the other end of a connection.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How long a bound of the server's clock is good for: clocks drift, and are set.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How far the server's clock is ahead of this process's, at least: an answer was given before it was received. The largest
/// difference is the closest one.
#[derive(Debug)]
pub(super) struct ClockBound {
    start: Instant,
    /// Microseconds that the server's clock is ahead of the time since `start`: the most of this second and of the one before.
    most: Cell<[Option<i64>; 2]>,
    since: Cell<Instant>,
}

impl Default for ClockBound {
    fn default() -> Self {
        let start = Instant::now();
        Self { start, most: Cell::default(), since: Cell::new(start) }
    }
}

impl ClockBound {
    pub(super) fn learn(&self, time: u64, received: Instant) {
        let ahead = i64::try_from(time).unwrap_or(i64::MAX).saturating_sub(self.micros(received));
        let [mut now, mut before] = self.most.get();
        if received.saturating_duration_since(self.since.get()) > GOOD_FOR {
            (now, before) = (None, now);
            self.since.set(received);
        }
        self.most.set([now.max(Some(ahead)), before]);
    }

    pub(super) fn forget(&self) {
        self.most.set([None, None]);
    }

    pub(super) fn at(&self, at: Instant) -> u64 {
        let ahead = self.most.get().into_iter().max().flatten().unwrap_or_default();
        u64::try_from(self.micros(at).saturating_add(ahead)).unwrap_or_default()
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(i64::MAX)
    }
}
