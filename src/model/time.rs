//! A point in time, as an argument.

use std::time::Duration;

/// Nanoseconds since 1970-01-01T00:00:00Z. Good until the year 2554.
///
/// There is no `now()` here on purpose: only the `clock` module reads a clock, once per request, and every number of
/// an answer is computed from that one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch, to which windows named by a unit are aligned.
    pub const EPOCH: Self = Self(0);

    /// `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `secs` whole seconds after the epoch, at most the largest time that can be written.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This time `earlier`, at least the epoch.
    #[must_use]
    pub fn minus(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This time `later`, at most the largest time that can be written.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What is counted by: it runs as fast as time does, follows the wall clock when that is set forward, and never goes back.
    pub steady: Timestamp,
    /// What the wall clock shows: what calendars go by, and what clients see. Never later than `steady`.
    pub wall: Timestamp,
}

impl Reading {
    /// How far the wall clock was set back.
    pub const fn behind(self) -> Duration {
        self.steady.since(self.wall)
    }
}

/// A clock that was never set back.
impl From<Timestamp> for Reading {
    fn from(now: Timestamp) -> Self {
        Self { steady: now, wall: now }
    }
}
