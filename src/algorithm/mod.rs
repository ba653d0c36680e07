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
//! | `FixedWindow`, aligned | 2 L | a count |
//! | `FixedWindow`, anchored | 2 L - 1 | a count |
//! | `FixedWindow`, a period | L in the period | a count |
//! | `SlidingWindow` | L | up to L stamps, or 62 sub-buckets |
//! | `TokenBucket` | the burst + L | two times |

mod bytes;
mod cell;
mod fate;
mod fixed_window;
mod log;
mod period;
mod reserve;
mod settle;
mod sliding_window;
mod sub_buckets;
mod table;
mod token_bucket;
mod worth;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use bytes::Malformed;
pub use fate::Fate;
pub use fixed_window::FixedWindow;
pub use log::Log;
pub use period::{Calendar, billing_period, calendar_period};
pub use settle::{Charge, Durability, Mode, Outcomes, Share, settle, settle_together, wait_together};
use table::{Counting, State, algorithms};
pub use table::{Grant, Row, Written};
pub use worth::Worth;

use crate::model::{Hits, Outcome, Timestamp};

// An algorithm is one file and one row. The numbers are in stored counters: none is ever changed or used again.
algorithms! {
    /// A count that is forgotten all at once.
    FixedWindow(fixed_window::FixedWindow) keeps
        /// Hits counted in one window.
        1 = Window(fixed_window::Window),
        /// Hits counted in one period of the calendar.
        2 = Period(fixed_window::Period);
    /// Every interval of the window's length, wherever it begins.
    SlidingWindow(sliding_window::SlidingWindow) keeps
        /// The hits of a sliding window.
        4 = Log(Box<Log>);
    /// A bucket that refills steadily.
    TokenBucket(token_bucket::TokenBucket) keeps
        /// A token bucket.
        3 = Bucket(token_bucket::Bucket);
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
    /// None: report what would be answered, with the numbers as they are.
    Never,
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
