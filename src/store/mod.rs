//! Where cells live. A store decides nothing: it lends cells to the algorithms and keeps what comes back.

mod memory;

use std::future::Future;
use std::time::Duration;

pub use memory::MemoryStore;

use crate::algorithm::{self, Commit, Law, Mode};
use crate::model::{CellKey, Hits, Outcome, Timestamp};

/// One limit's share of a request.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The counter.
    pub key: CellKey,
    /// The law it counts by.
    pub law: Law,
    /// The hits it grants per window.
    pub limit: u64,
    /// What it costs.
    pub hits: Hits,
    /// Whether refused hits are counted too.
    pub count_denied: bool,
    /// Whether a refusal refuses the request; not so in shadow mode.
    pub enforced: bool,
    /// Which of the request's stages it belongs to; stages are numbered in order.
    pub stage: u32,
}

impl Charge {
    /// When its hits are counted, as long as it stands alone.
    fn commit(&self) -> Commit {
        if self.count_denied { Commit::Always } else { Commit::IfAdmitted }
    }

    /// The same for the algorithms, which know cells by their number.
    fn share(&self, cell: usize) -> algorithm::Charge {
        algorithm::Charge {
            law: self.law,
            limit: self.limit,
            hits: self.hits,
            count_denied: self.count_denied,
            enforced: self.enforced,
            stage: self.stage,
            cell,
        }
    }
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
    /// Makes the charges of one request as `mode` has them go together, and tells an outcome for each, in order; none
    /// for a charge that was not reached.
    ///
    /// A store gets the whole request at once: one trip, and one place to make it atomic.
    fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Option<Outcome>>, StoreError>> + Send;
}
