//! The arithmetic of limits: `(algorithm, limit, cell, hits, now) → outcome`. The cell is brought up to date in place.
//!
//! Pure functions. Nothing here reads a clock, waits, locks or knows where a cell is kept. All times are whole
//! nanoseconds; nothing is rounded but `remaining`, and that downwards. Windows are half-open: a hit at `h` is live
//! while `now < h + window`.
//!
//! The most that each algorithm lets through in any interval as long as its window, for a limit of L:
//!
//! | Algorithm | At most | Its cell keeps |
//! |---|---|---|
//! | `Aligned` | 2 L | a count |
//! | `Anchored` | 2 L - 1 | a count |
//! | `Period` | L in the period | a count |
//! | `Sliding` | L | up to L stamps, or 62 sub-buckets |
//! | `Bucket` | the burst + L | one time |

mod cell;
mod fixed_window;
mod log;
mod period;
mod settle;
mod sliding_window;
mod sub_buckets;
mod token_bucket;
mod worth;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use cell::Cell;
pub use log::Log;
pub use period::{Calendar, billing_period, calendar_period};
pub use settle::{Charge, Mode, Outcomes, Share, settle, wait_together};
pub use worth::Worth;

use crate::model::{Hits, Outcome, Timestamp};

/// A way to count hits, with its parameters. No window is ever zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// A fixed window between two multiples of its length since the Unix epoch in UTC, as envoyproxy/ratelimit counts.
    Aligned {
        /// The window's length.
        window: Duration,
        /// How far the wall clock, which the epoch is of, is behind the time that is counted by.
        behind: Duration,
    },
    /// A fixed window that starts at its first hit.
    Anchored {
        /// The window's length.
        window: Duration,
    },
    /// A calendar or billing period. Its bounds are what the caller computed for `now`: `start <= now < end`.
    Period {
        /// The first instant of the period.
        start: Timestamp,
        /// The first instant after it.
        end: Timestamp,
    },
    /// Every interval of the window's length, wherever it begins: a log of hits, exact for limits up to 1,024 and
    /// conservative to a sixtieth of the window above.
    Sliding {
        /// The window's length.
        window: Duration,
    },
    /// A token bucket (GCRA): `burst` hits at once, refilled at `limit` hits per window.
    Bucket {
        /// The time in which `limit` hits refill.
        window: Duration,
        /// The most hits that pass at once.
        burst: u64,
    },
}

/// When hits are counted. It never changes what is answered to the question whether the request is admitted.
///
/// A refund is given back by `IfAdmitted` and `Always` alike: it asks for nothing that could be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Only those of a request that is admitted.
    IfAdmitted,
    /// Those of a refused request too.
    Always,
    /// None: tell what would be answered, with the numbers as they are.
    Never,
}

impl Algorithm {
    /// `Aligned`, by a clock that was never set back.
    pub const fn aligned(window: Duration) -> Self {
        Self::Aligned { window, behind: Duration::ZERO }
    }

    /// Decides on `hits` at `now` and brings `cell` up to date.
    ///
    /// A cell that another kind of algorithm wrote counts as empty; one that this algorithm wrote under another limit or
    /// another window keeps its counts. A look, and `Commit::Never`, leave the cell as it is, unless a clock that stepped
    /// back or an edited policy left there what this algorithm cannot have written: whoever sees such a cell corrects it.
    pub fn step(self, limit: u64, cell: &mut Cell, hits: Hits, commit: Commit, now: Timestamp) -> Outcome {
        let outcome = match self {
            Self::Aligned { window, behind } => {
                fixed_window::aligned((window, behind), limit, cell, hits, commit, now)
            }
            Self::Anchored { window } => fixed_window::anchored(window, limit, cell, hits, commit, now),
            Self::Period { start, end } => fixed_window::period((start, end), limit, cell, hits, commit, now),
            Self::Sliding { window } => sliding_window::step(window, limit, cell, hits, commit, now),
            Self::Bucket { window, burst } => {
                token_bucket::step(token_bucket::Rate::new(limit, window, burst), cell, hits, commit, now)
            }
        };
        if commit != Commit::Never && hits != Hits::Look {
            cell.set_worth(Worth::after(&outcome));
        }
        outcome
    }

    /// The most that one request can ever be granted under `limit`.
    fn capacity(self, limit: u64) -> u64 {
        match self {
            Self::Bucket { burst, .. } if limit > 0 => burst,
            _ => limit,
        }
    }
}

/// How far behind the time in a cell a reading of the clock may be and still belong to the same clock: a thread reads the
/// clock before it reaches the cell, and clocks are set back by a little. At most one window.
///
/// What lies further ahead was written while the clock was wrong: the count stays, its end is cut.
fn tolerance(window: Duration) -> Duration {
    window.min(Duration::from_secs(1))
}

/// What a request may do to a count.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    admitted: bool,
    /// Whether its hits are to be counted, or given back.
    applies: bool,
}

/// Judges `hits` against a count of `used` out of `limit`.
///
/// A look is admitted while the count is within the limit. A refund asks for nothing, so it always is, also where it
/// leaves the limit exceeded.
fn judge(limit: u64, used: u64, hits: Hits, commit: Commit) -> Verdict {
    match hits {
        Hits::Look => Verdict { admitted: used <= limit, applies: false },
        Hits::Refund(_) => Verdict { admitted: true, applies: commit != Commit::Never },
        Hits::Charge(n) => {
            let admitted = used.checked_add(n.get()).is_some_and(|after| after <= limit);
            let applies = match commit {
                Commit::IfAdmitted => admitted,
                Commit::Always => true,
                Commit::Never => false,
            };
            Verdict { admitted, applies }
        }
    }
}
