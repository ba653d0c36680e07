//! What is done here when the store fails.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;

use crate::algorithm::{Charge, Outcomes};
use crate::engine::{Plan, Verdict};
use crate::model::{Few, Reading, Request};
use crate::store::{MemoryStore, Session};

/// The most counters, and bytes of them, that are kept here.
const COUNTERS: usize = 100_000;
const BYTES: usize = 64 << 20;

/// How long a store is waited for, and where `on_store_failure: local` counts.
#[derive(Debug)]
pub struct WithoutStore {
    /// The longest that a store is waited for. Callers say how long they wait (Envoy always does, unless its `timeout` is
    /// `0s`).
    pub timeout: Duration,
    /// How many replicas share the limits: each lets pass as large a part of them.
    pub replicas: NonZeroU32,
    /// Made when it is needed: most never need it.
    counters: OnceLock<MemoryStore>,
}

impl Default for WithoutStore {
    fn default() -> Self {
        Self::new(Duration::from_secs(10), NonZeroU32::MIN)
    }
}

impl WithoutStore {
    /// Waits for the store for `timeout`, and then counts for one of `replicas`.
    pub fn new(timeout: Duration, replicas: NonZeroU32) -> Self {
        Self { timeout, replicas, counters: OnceLock::new() }
    }

    /// Decides by what `session` knows of the counters where nobody else counts in them, and else by others, in memory.
    pub(super) fn decide<'p>(
        &self,
        plan: Plan<'p>,
        request: &Request<'_>,
        now: Reading,
        session: &impl Session,
    ) -> Verdict<'p> {
        // What nobody shares is not divided.
        let replicas = if session.is_alone() { NonZeroU32::MIN } else { self.replicas };
        let local = plan.local_charges(request, replicas, now);
        let charges: Few<Charge> = local.iter().copied().flatten().collect();
        let made = session.apply_alone(plan.mode(), &charges, now.steady).or_else(|| {
            let counters = self.counters.get_or_init(|| MemoryStore::holding(COUNTERS, BYTES));
            counters.apply_now(plan.mode(), &charges, now.steady)
        });
        let made = made.unwrap_or_default();
        let mut made = made.into_iter();
        let outcomes = local.into_iter().map(|charge| charge.and_then(|_| made.next().flatten()));
        plan.conclude_partly(&outcomes.collect::<Outcomes>())
    }
}
