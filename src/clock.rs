//! The only reader of clocks.

mod steady;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::steady::{Shown, Steady};
use crate::model::{Reading, Timestamp};

/// Says what time it is. The engine asks once per request.
pub trait Clock: Send + Sync + 'static {
    /// The time to count by, and what the wall clock shows, of one instant.
    fn read(&self) -> Reading;

    /// What the wall clock shows.
    fn now(&self) -> Timestamp {
        self.read().wall
    }

    /// How the wall clock was set since this was asked last.
    fn take_steps(&self) -> Vec<Step> {
        Vec::new()
    }
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It shows so much more than before.
    Forward(Duration),
    /// It shows so much less than before.
    Back(Duration),
}

/// How long the wall clock is believed to go as the clock that is never set does, in nanoseconds. Each reading costs some
/// twenty of them, and waits for all that the core has begun.
const BELIEVED: u64 = 1_000_000;

/// The operating system's wall clock, and beside it a time that is never set back.
///
/// The wall clock itself is looked at once a millisecond. In between it is what the clock that is never set says, so it is
/// noticed a millisecond later at most that somebody has set it.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    steady: Steady,
    /// When the wall clock was looked at last, in nanoseconds since `start`.
    looked: AtomicU64,
}

impl SystemClock {
    /// Both show the same from here on, until the wall clock is set back.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads clocks")]
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, steady: Steady::new(show(start)), looked: AtomicU64::new(0) }
    }

    /// Nanoseconds since the start.
    fn elapsed(&self) -> u64 {
        nanos(self.start.elapsed())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads clocks")]
fn show(start: Instant) -> Shown {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Shown { wall: nanos(wall), elapsed: nanos(start.elapsed()) }
}

const fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos() as u64)
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        let elapsed = self.elapsed();
        if elapsed.saturating_sub(self.looked.load(Ordering::Relaxed)) < BELIEVED {
            return self.steady.believed(elapsed);
        }
        self.looked.store(elapsed, Ordering::Relaxed);
        self.steady.read(|| show(self.start))
    }

    fn take_steps(&self) -> Vec<Step> {
        // Also where nobody has asked for the time since it was set.
        self.steady.read(|| show(self.start));
        self.steady.take_steps()
    }
}

/// A clock that stands still until it is moved, for tests and for `explain --at`.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall: AtomicU64,
    steady: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub const fn at(now: Timestamp) -> Self {
        Self { wall: AtomicU64::new(now.as_nanos()), steady: AtomicU64::new(now.as_nanos()) }
    }

    /// Shows `now` from here on. When that is later, so much time has passed; when it is earlier, none has, and the wall clock
    /// was set back.
    pub fn set(&self, now: Timestamp) {
        let Reading { steady, wall } = self.read();
        self.steady.store(steady.plus(now.since(wall)).as_nanos(), Ordering::SeqCst);
        self.wall.store(now.as_nanos(), Ordering::SeqCst);
    }

    /// Lets so much time pass.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn read(&self) -> Reading {
        let show = |nanos: &AtomicU64| Timestamp::from_nanos(nanos.load(Ordering::SeqCst));
        Reading { steady: show(&self.steady), wall: show(&self.wall) }
    }
}

impl<C: Clock> Clock for std::sync::Arc<C> {
    fn read(&self) -> Reading {
        C::read(self)
    }

    fn take_steps(&self) -> Vec<Step> {
        C::take_steps(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is compared with the system's clocks")]
    fn the_wall_clock_is_shown_as_it_is_also_where_it_was_not_looked_at() {
        let clock = SystemClock::new();
        let shown = || nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let (mut last, mut between) = (0, 0);
        // Some fifty readings for each look.
        for _ in 0..100_000 {
            let before = shown();
            let looked = clock.looked.load(Ordering::Relaxed);
            let reading = clock.read();
            between += u32::from(clock.looked.load(Ordering::Relaxed) == looked);
            let (wall, after) = (reading.wall.as_nanos(), shown());
            assert!(
                before.saturating_sub(2_000_000) <= wall && wall <= after + 2_000_000,
                "{before} {wall} {after}"
            );
            assert!(reading.steady.as_nanos() >= last);
            last = reading.steady.as_nanos();
        }
        assert!(between > 50_000, "{between}");
    }
}
