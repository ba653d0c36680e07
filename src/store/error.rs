//! Why a store could not say whether a request passes.

use std::io;
use std::time::Duration;

/// Why the charges of a request could not be made. A refusal is not among these: it is an outcome.
///
/// The caller is answered by an error (`UNAVAILABLE`, or `DATA_LOSS` where a counter is unreadable), for which Envoy has its own
/// failure mode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There was no answer before the deadline. Whether the charges were made is not known: all of them, or none.
    #[error("the counter store did not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// It came to the request when nobody waited any more, by its clock. No charge was made.
    #[error("the counter store came to the request after its deadline, and charged nothing")]
    Late,
    /// There is no way to it at the moment.
    #[error("the counter store at `{address}` cannot be reached")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What went wrong on the way.
        source: io::Error,
    },
    /// It answered that it will not, as one that may only be read from does, or one without memory. No charge was made.
    #[error("the counter store refused: {reason}")]
    Refused {
        /// In its own words.
        reason: String,
    },
    /// It has failed, and writes nothing any more until it is opened again. No charge was made.
    #[error("the counter store `{store}` has failed: {reason}")]
    Failed {
        /// Where it is.
        store: String,
        /// What failed.
        reason: String,
    },
    /// The write that should have made the change did not end well, or has not ended. Whether the change was made is not known:
    /// all of it, or nothing.
    #[error("whether the counter store `{store}` made the change is not known: {reason}")]
    InDoubt {
        /// Where it is.
        store: String,
        /// What became of the write.
        reason: String,
    },
    /// It did not tell an outcome for each charge, which is an internal error (bug). What was charged is not known.
    #[error("the counter store told {found} outcomes for {expected} charges")]
    Incomplete {
        /// How many charges there were.
        expected: usize,
        /// How many outcomes.
        found: usize,
    },
    /// Only now it has told the secret that counters' keys are made under, and these keys are made under another one. No charge was made.
    #[error("the counter store has just told what its counters are called by")]
    Rekeyed,
    /// It failed lately, and is not asked for a moment. No charge was made.
    #[error("the counter store failed lately, and is not asked for a moment")]
    Resting,
    /// What it keeps cannot be read. No charge was made, and nothing was overwritten.
    #[error("a counter cannot be read")]
    Unreadable {
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether no charge was made for certain.
    pub const fn has_charged_nothing(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::InDoubt { .. }
            | Self::Incomplete { .. } => false,
            Self::Late
            | Self::Refused { .. }
            | Self::Failed { .. }
            | Self::Rekeyed
            | Self::Resting
            | Self::Unreadable { .. } => true,
        }
    }

    /// Its name in metrics, one for each kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "timed_out",
            Self::Late => "late",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::InDoubt { .. } => "in_doubt",
            Self::Incomplete { .. } => "incomplete",
            Self::Rekeyed => "rekeyed",
            Self::Resting => "resting",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}
