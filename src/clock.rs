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

/// The operating system's wall clock, and beside it a time that is never set back.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    steady: Steady,
}

impl SystemClock {
    /// Both show the same from here on, until the wall clock is set back.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads clocks")]
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, steady: Steady::new(show(start)) }
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
    let elapsed = start.elapsed();
    let nanos = |time: Duration| {
        time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
    };
    Shown { wall: nanos(wall), elapsed: nanos(elapsed) }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        self.steady.read(|| show(self.start))
    }

    fn take_steps(&self) -> Vec<Step> {
        // Also where nobody has asked for the time since it was set.
        self.read();
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
