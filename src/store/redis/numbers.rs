//! What both scripts are told and tell: numbers in the ranges that they can count in, and their bytes.

use std::time::Duration;

use crate::algorithm::{Algorithm, FixedWindow, Mode, Outcomes, Share};
use crate::model::Timestamp;

/// The most that is counted: a larger limit is as good as this one. Sums of two and more of them are below 2^53, up to which the
/// script's numbers are exact.
pub(super) const MOST_HITS: u64 = 1 << 50;
/// The most that a counter can have: numbers of the script are exact up to it.
pub(super) const MOST_COUNTED: u64 = 1 << 53;
/// The latest time, and the longest window, in microseconds: 142 years.
const MOST_MICROS: u64 = 1 << 52;
/// The deepest bucket that is counted in nanoseconds: 52 days.
const MOST_NANOS: u128 = 1 << 52;
/// The longest sub-bucket that is counted in nanoseconds, of a window of 570 days.
const LONGEST_PART: u128 = (1 << 53) / 11;
/// Up to this limit each hit of a sliding window has its own stamp.
const EXACT_UP_TO: u64 = 1_024;
/// Sub-buckets of a sliding window above.
const PARTS: u128 = 60;

/// What a request's bytes begin with, and how many are to be decided by when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How the charges go together.
    pub(super) mode: Mode,
    /// When that was counted what it gives back as if it had never been, also a window that began with it; in microseconds.
    pub(super) undoes: Option<u64>,
    /// The server's time after which nobody waits for the answer any more.
    pub(super) deadline: u64,
    /// The time to count at; the server's own if there is none.
    pub(super) at: Option<Timestamp>,
}

impl Asked {
    pub(super) fn deadline(&self) -> u64 {
        self.deadline.min(MOST_MICROS)
    }

    /// The time to count at; -1 for the server's own.
    pub(super) fn time(&self) -> i64 {
        self.at.map_or(-1, |at| i64::try_from(micros(at)).unwrap_or(i64::MAX))
    }
}

/// What became of one request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is the large one, nearly always")]
pub(super) enum Decided {
    /// It was decided.
    Outcomes(Outcomes),
    /// It came too late, and nothing was charged.
    Late,
    /// One of its counters cannot be read, and nothing was charged.
    Unreadable,
}

/// The reply is not what the script answers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer of the script is cut off or of another kind")]
pub(super) struct Garbled;

/// An algorithm as the script is told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// Its number in the script.
    pub(super) algorithm: u8,
    /// Whether its times are nanoseconds.
    pub(super) is_fine: bool,
    pub(super) parameters: [u64; 3],
}

impl Numbers {
    pub(super) fn of(share: &Share) -> Self {
        match share.algorithm {
            Algorithm::FixedWindow(FixedWindow::Aligned { window, .. }) => Self::window(1, window),
            Algorithm::FixedWindow(FixedWindow::Anchored { window }) => Self::window(2, window),
            Algorithm::FixedWindow(FixedWindow::Period { start, end }) => {
                // A period that ends where time does has an end that can be told.
                let (start, end) = (micros(start), micros(end));
                Self { algorithm: 3, is_fine: false, parameters: [start.min(MOST_MICROS - 1), end, 0] }
            }
            Algorithm::SlidingWindow(sliding) => {
                let part = sliding.window.as_nanos().div_ceil(PARTS);
                let (length, is_fine) = if share.limit <= EXACT_UP_TO {
                    (0, false)
                } else if part <= LONGEST_PART {
                    (part, true)
                } else {
                    (part.div_ceil(1_000), false)
                };
                let length = u64::try_from(length).unwrap_or(u64::MAX).min(MOST_MICROS);
                Self { algorithm: 4, is_fine, parameters: [length_of(sliding.window), length, 0] }
            }
            Algorithm::TokenBucket(bucket) => {
                let burst =
                    if share.limit == 0 { 0 } else { bucket.burst.unwrap_or(share.limit).min(MOST_HITS) };
                let limit = u128::from(share.limit.max(1));
                let fine = bucket.window.as_nanos().div_ceil(limit).max(1);
                let is_fine = fine.saturating_mul(burst.into()) <= MOST_NANOS && fine <= MOST_NANOS;
                let per_hit = if is_fine { fine } else { fine.div_ceil(1_000) };
                let per_hit = u64::try_from(per_hit).unwrap_or(u64::MAX).min(MOST_MICROS);
                Self { algorithm: 5, is_fine, parameters: [length_of(bucket.window), burst, per_hit] }
            }
        }
    }

    fn window(algorithm: u8, window: Duration) -> Self {
        Self { algorithm, is_fine: false, parameters: [length_of(window), 0, 0] }
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend(number.to_le_bytes());
}

/// A time in whole microseconds.
pub(super) fn micros(time: Timestamp) -> u64 {
    (time.as_nanos() / 1_000).min(MOST_MICROS)
}

/// A length in microseconds, never too short.
fn length_of(window: Duration) -> u64 {
    u64::try_from(window.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX).clamp(1, MOST_MICROS)
}

/// Numbers that are being read.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn byte(&mut self) -> Result<u8, Garbled> {
        let (&first, rest) = self.0.split_first().ok_or(Garbled)?;
        self.0 = rest;
        Ok(first)
    }

    /// A number, or none where it is negative.
    pub(super) fn number(&mut self) -> Result<Option<u64>, Garbled> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Garbled)?;
        self.0 = rest;
        Ok(u64::try_from(i64::from_le_bytes(*bytes)).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hits;

    /// The script counts in doubles, which are exact up to 2^53.
    #[test]
    fn no_number_is_larger_than_the_script_can_count() {
        let longest = Duration::MAX;
        for algorithm in [
            Algorithm::aligned(longest),
            Algorithm::anchored(longest),
            Algorithm::period(Timestamp::EPOCH, Timestamp::from_nanos(u64::MAX)),
            Algorithm::sliding_window(longest),
            Algorithm::token_bucket(longest, u64::MAX),
        ] {
            for limit in [0, 1, 1_024, 1_025, u64::MAX] {
                let share = Share {
                    algorithm,
                    limit,
                    hits: Hits::charge(u64::MAX),
                    count_denied: true,
                    settles: false,
                    enforced: true,
                    stage: 0,
                    cell: 0,
                };
                let numbers = Numbers::of(&share);
                assert!(numbers.parameters.iter().all(|number| *number <= 1 << 52), "{numbers:?}");
            }
        }
    }
}
