//! Where cells live. A store decides nothing: it lends cells to the algorithms and keeps what comes back.

mod memory;

use std::future::Future;
use std::time::Duration;

pub use memory::MemoryStore;

use crate::algorithm::{Charge as Share, Mode};
use crate::model::{CellKey, Few, Outcome, Timestamp};

/// One limit's share of a request, and the counter it is charged to.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The counter.
    pub key: CellKey,
    /// What is charged. Which cell that is, is up to the store.
    pub share: Share,
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
    /// Whether [`apply`](Self::apply) answers without ever waiting.
    const AT_ONCE: bool;

    /// Makes the charges of one request as `mode` has them go together, and tells an outcome for each, in order; none
    /// for a charge that was not reached.
    ///
    /// A store gets the whole request at once: one trip, and one place to make it atomic.
    fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
    ) -> impl Future<Output = Result<Few<Option<Outcome>>, StoreError>> + Send;
}
