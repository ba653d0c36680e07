//! Stores that have to be waited for, and stores that fail: what every store over a network does sooner or later.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use spillway::algorithm::{Charge, Mode, Outcomes};
use spillway::model::Timestamp;
use spillway::store::{Answers, MemoryStore, Session, Statistics, Store, StoreError};
use tokio::time::{Instant, sleep};

/// A store that keeps its counters in a [`MemoryStore`] and is its own session.
macro_rules! over_memory {
    ($store:ty: $counters:tt) => {
        impl Store for $store {
            type Session = Self;

            fn session(&self) -> Self {
                self.clone()
            }

            fn statistics(&self) -> Statistics {
                self.$counters.statistics()
            }

            fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
                self.$counters.sweep(now)
            }
        }
    };
}

/// Counters in memory behind a way that takes as long to and fro.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    counters: MemoryStore,
    way: Duration,
}

impl Slow {
    pub(crate) fn by(way: Duration) -> Self {
        Self { counters: MemoryStore::default(), way }
    }
}

over_memory!(Slow: counters);

impl Session for Slow {
    const ANSWERS: Answers = Answers::Later;

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> Result<Outcomes, StoreError> {
        sleep(self.way).await;
        let outcomes = self.counters.apply_now(mode, charges, now);
        sleep(self.way).await;
        Ok(outcomes.expect("counters in memory answer at once"))
    }
}

/// Counters in memory that count so much later than they were asked, by no clock that is waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delayed {
    counters: MemoryStore,
    pub(crate) by: Arc<Mutex<Duration>>,
}

over_memory!(Delayed: counters);

impl Session for Delayed {
    const ANSWERS: Answers = Answers::Later;

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        let now = now.plus(*self.by.lock());
        self.counters.apply(mode, charges, now, deadline).await
    }
}

/// Counters in memory that are asked when the caller has waited for a turn, and told about after another one.
#[derive(Clone, Debug)]
pub(crate) struct Yielding(pub(crate) MemoryStore);

over_memory!(Yielding: 0);

impl Session for Yielding {
    const ANSWERS: Answers = Answers::Later;

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> Result<Outcomes, StoreError> {
        tokio::task::yield_now().await;
        let outcomes = self.0.apply_now(mode, charges, now);
        tokio::task::yield_now().await;
        Ok(outcomes.expect("counters in memory answer at once"))
    }
}

/// When a [`Failing`] store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    /// Before anything is charged.
    Before,
    /// After everything was: the answer is lost.
    After,
    /// By never answering.
    ByHanging,
}

/// Counters in memory that fail in turn as `turns` says, over and over; `None` is success.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    counters: MemoryStore,
    turns: &'static [Option<Fails>],
    asked: Arc<AtomicUsize>,
}

impl Failing {
    pub(crate) fn in_turn(turns: &'static [Option<Fails>]) -> Self {
        Self { counters: MemoryStore::default(), turns, asked: Arc::default() }
    }
}

over_memory!(Failing: counters);

impl Session for Failing {
    const ANSWERS: Answers = Answers::MostlyNow;

    /// Answers where it is not to fail, as a store does that only sometimes has to be waited for.
    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        let turn = self.turns[self.asked.load(Ordering::Relaxed) % self.turns.len()];
        if turn.is_some() {
            return None;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.counters.apply_now(mode, charges, now)
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> Result<Outcomes, StoreError> {
        let turn = self.turns[self.asked.fetch_add(1, Ordering::Relaxed) % self.turns.len()];
        let source = || io::Error::from(io::ErrorKind::ConnectionReset);
        let lost = || StoreError::Unreachable { address: "counters:6379".to_owned(), source: source() };
        tokio::task::yield_now().await;
        let charge =
            || self.counters.apply_now(mode, charges, now).expect("counters in memory answer at once");
        match turn {
            None => Ok(charge()),
            Some(Fails::Before) => Err(lost()),
            Some(Fails::After) => {
                charge();
                Err(lost())
            }
            Some(Fails::ByHanging) => std::future::pending().await,
        }
    }
}

/// A store that charges bit by bit, as one would that makes a trip for each counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piecemeal(MemoryStore);

over_memory!(Piecemeal: 0);

impl Session for Piecemeal {
    const ANSWERS: Answers = Answers::Later;

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> Result<Outcomes, StoreError> {
        let mut outcomes = Outcomes::new();
        for charge in charges {
            outcomes.extend(self.0.apply_now(mode, &[*charge], now).into_iter().flatten());
            tokio::task::yield_now().await;
        }
        Ok(outcomes)
    }
}
