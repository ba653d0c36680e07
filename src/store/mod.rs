//! Where cells live. A store decides nothing: it lends a cell to an algorithm and keeps what comes back.

mod memory;

use std::future::Future;
use std::time::Duration;

pub use memory::MemoryStore;

use crate::algorithm::{Algorithm, Allowance};
use crate::model::{CellKey, Hits, Outcome, Timestamp};

/// One limit's share of a request.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The counter.
    pub key: CellKey,
    /// The law it counts by.
    pub algorithm: &'static dyn Algorithm,
    /// The numbers it grants.
    pub allowance: Allowance,
    /// What it costs.
    pub hits: Hits,
}

/// Why charges could not be made. A refusal is not among these: it is an outcome.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer in the time a decision has.
    #[error("counter store did not answer within {0:?}")]
    TimedOut(Duration),
}

/// Keeps cells between requests.
pub trait Store: Send + Sync + 'static {
    /// Makes every charge of one request and tells an outcome for each, in order.
    ///
    /// A store gets the whole request at once: one trip, and one place to make it atomic.
    fn apply(
        &self,
        charges: &[Charge],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Outcome>, StoreError>> + Send;
}
