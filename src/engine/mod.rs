//! Deciding, in two steps around the counters: [`Engine::plan`] matches a request and says what it costs which counter, and
//! [`Plan::conclude`] judges by what the counters answered. In between the caller has a store settle the charges.
//!
//! Nothing here waits, locks, reads a clock or knows where counters are kept.

mod answer;
mod conclude;
mod counted_by;
mod disposition;
mod plan;
mod scratch;
mod sent;
mod series;
mod subject;
mod trace;
mod verdict;
mod without_store;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

pub use answer::{Answer, Texts, answer};
pub use counted_by::{Hidden, counted_by};
pub use plan::Plan;
pub use scratch::Scratch;
pub use subject::{Elsewhere, OfSubject, SubjectCounter};
pub use trace::{Trace, trace};
pub(crate) use verdict::report_priority;
pub use verdict::{Charged, Counted, Decision, RuleRef, Unmatched, Verdict};
pub use without_store::Closed;

use crate::model::Timestamp;
use crate::policy::{Keyer, Policy};

/// Matches requests with a policy that can be replaced while it runs, and judges them.
#[derive(Debug)]
pub struct Engine {
    policy: ArcSwap<Policy>,
    keyer: Keyer,
}

impl Engine {
    /// An engine that enforces `policy`, with counters that are known by keys of `keyer`: two engines that share counters
    /// need one secret.
    pub fn new(mut policy: Policy, keyer: Keyer) -> Self {
        policy.prepare();
        Self { policy: ArcSwap::from_pointee(policy), keyer }
    }

    /// The policy in force; a request sees one from start to end. Nothing is written that other threads read.
    pub fn policy(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Enforces `policy` from the next request on. Counters stay, and so do tiers that were reached by `now`. Returns the policy
    /// before, which requests may still see: whoever drops it last frees it, and of very many rules that takes its time.
    pub fn publish(&self, mut policy: Policy, now: Timestamp) -> Arc<Policy> {
        policy.prepare();
        policy.succeed(&self.policy(), now);
        self.policy.swap(Arc::new(policy))
    }
}

#[cfg(test)]
mod tests;
