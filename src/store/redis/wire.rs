//! Requests and outcomes as the scripts `decide.lua` and `count.lua` read and write them: whole numbers, little-endian, eight bytes each where
//! nothing else is said.
//!
//! | Sent to `decide.lua` | Bytes |
//! |---|---|
//! | for each request: its mode, plus 4 where two of its charges share a counter; the number of its charges | 1 + 2 |
//! | the server's time after which it is too late, and the time to count at; -1 for the server's own | 8 + 8 |
//! | for each charge: its counter's place among the keys, its algorithm, five flags | 2 + 1 + 5 |
//! | its hits (a refund's are negative), its limit, and three parameters of its algorithm | 5 × 8 |
//!
//! | Received | Bytes |
//! |---|---|
//! | the server's time | 8 |
//! | for each request: whether it was decided, was too late, or a counter of it is unreadable | 1 |
//! | for each charge of one that was decided: refused, admitted, or not made, and then nothing more | 1 |
//! | the count before, the count after, the times until the first hit leaves, until the last one does, and to wait; -1 for none | 5 × 8 |
//!
//! | Sent to `count.lua` | Bytes |
//! |---|---|
//! | for each request: the number of its charges, and its two times | 2 + 8 + 8 |
//! | for each charge: its counter's place and its algorithm; its hits, its limit and the window's length | 2 + 1 + 3 × 8 |
//!
//! | Received | Bytes |
//! |---|---|
//! | the server's time | 8 |
//! | for each request: whether all of it was counted, or nothing; or it was too late, or a counter of it is unreadable | 8 |
//! | for each charge of one that was decided: the count before, and the time until its window ends | 2 × 8 |
//!
//! Times are microseconds, rounded up where somebody is told to wait; those of buckets are nanoseconds where these fit.

use std::time::Duration;

use crate::algorithm::{Algorithm, Charge, FixedWindow, Mode, Outcomes, Share};
use crate::model::{CellKey, Few, Hits, Outcome, Timestamp};

/// The most that is counted: a larger limit is as good as this one. Sums of two and more of them are below 2^53, up to which the
/// script's numbers are exact.
pub(super) const MOST_HITS: u64 = 1 << 50;
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

/// Which script is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `count.lua`, where all requests only have hits for windows.
    Count,
    /// `decide.lua`, for all.
    Decide,
}

/// What a request's bytes begin with, and how many are to be decided by when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How the charges go together.
    pub(super) mode: Mode,
    /// The server's time after which nobody waits for the answer any more.
    pub(super) deadline: u64,
    /// The time to count at; the server's own if there is none.
    pub(super) at: Option<Timestamp>,
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

/// Appends one request, the counters of whose charges are at `places` among the keys.
pub(super) fn write(bytes: &mut Vec<u8>, form: Form, asked: Asked, charges: &[Charge], places: &[u16]) {
    if form == Form::Decide {
        let mode = match asked.mode {
            Mode::Each => 0,
            Mode::AllOrNothing => 1,
            Mode::InOrder => 2,
        };
        bytes.push(mode | u8::from(share_a_counter(charges)) << 2);
    }
    bytes.extend(u16::try_from(charges.len()).unwrap_or(u16::MAX).to_le_bytes());
    put(bytes, asked.deadline.min(MOST_MICROS));
    match asked.at {
        Some(at) => put(bytes, micros(at)),
        None => bytes.extend((-1_i64).to_le_bytes()),
    }
    let mut stage = None;
    for (charge, place) in charges.iter().zip(places) {
        let share = &charge.share;
        let begins_stage = stage.is_some_and(|stage| stage != share.stage);
        stage = Some(share.stage);
        let numbers = Numbers::of(share);
        if form == Form::Count {
            bytes.extend(place.to_le_bytes());
            bytes.push(numbers.algorithm);
            put(bytes, share.hits.cost().min(MOST_HITS + 1));
            put(bytes, share.limit.min(MOST_HITS));
            put(bytes, numbers.parameters[0]);
            continue;
        }
        bytes.extend(place.to_le_bytes());
        bytes.push(numbers.algorithm);
        let flags = [share.count_denied, share.settles, share.enforced, begins_stage, numbers.is_fine];
        bytes.extend(flags.map(u8::from));
        let hits = |n: u64| i64::try_from(n.min(MOST_HITS + 1)).unwrap_or(i64::MAX);
        let hits = match share.hits {
            Hits::Look => 0,
            Hits::Charge(n) => hits(n.get()),
            Hits::Refund(n) => -hits(n.get()),
        };
        bytes.extend(hits.to_le_bytes());
        put(bytes, share.limit.min(MOST_HITS));
        numbers.parameters.into_iter().for_each(|number| put(bytes, number));
    }
}

/// Whether two charges of a request share a counter.
fn share_a_counter(charges: &[Charge]) -> bool {
    let mut keys: Few<CellKey> = charges.iter().map(|charge| charge.key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

/// Which script is to decide on a request. Most only have hits for windows, each with a counter of its own, all of which are counted,
/// or none.
pub(super) fn form(mode: Mode, charges: &[Charge]) -> Form {
    let is_plain = |Share { algorithm, hits, count_denied, settles, enforced, .. }: &Share| {
        let is_window = matches!(
            algorithm,
            Algorithm::FixedWindow(FixedWindow::Aligned { .. } | FixedWindow::Anchored { .. })
        );
        is_window && matches!(hits, Hits::Charge(_)) && *enforced && !count_denied && !settles
    };
    let one_stage = charges.windows(2).all(|pair| pair[0].share.stage == pair[1].share.stage);
    let is_plain = (one_stage || mode == Mode::AllOrNothing)
        && charges.iter().all(|charge| is_plain(&charge.share))
        && !share_a_counter(charges);
    if is_plain { Form::Count } else { Form::Decide }
}

/// An algorithm as the script is told of it.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    /// Its number in the script.
    algorithm: u8,
    /// Whether its times are nanoseconds.
    is_fine: bool,
    parameters: [u64; 3],
}

impl Numbers {
    fn of(share: &Share) -> Self {
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

/// What an outcome's times are in, in nanoseconds.
fn unit(share: &Share) -> u64 {
    match share.algorithm {
        Algorithm::TokenBucket(_) if Numbers::of(share).is_fine => 1,
        _ => 1_000,
    }
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend(number.to_le_bytes());
}

/// A time in whole microseconds.
fn micros(time: Timestamp) -> u64 {
    (time.as_nanos() / 1_000).min(MOST_MICROS)
}

/// A length in microseconds, never too short.
fn length_of(window: Duration) -> u64 {
    u64::try_from(window.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX).clamp(1, MOST_MICROS)
}

/// A reply that is being read.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    form: Form,
    rest: &'a [u8],
    /// The server's time, in microseconds since 1970.
    pub(super) time: u64,
}

impl<'a> Reply<'a> {
    /// Begins to read a reply.
    pub(super) fn new(form: Form, bytes: &'a [u8]) -> Result<Self, Garbled> {
        let mut reply = Self { form, rest: bytes, time: 0 };
        reply.time = reply.number()?.ok_or(Garbled)?;
        Ok(reply)
    }

    /// What became of the next request, whose charges these are.
    pub(super) fn next(&mut self, charges: &[Charge]) -> Result<Decided, Garbled> {
        if self.form == Form::Count {
            return match self.number()?.ok_or(Garbled)? {
                state @ (0 | 1) => {
                    let outcome = |charge: &Charge| self.counted(&charge.share, state == 0).map(Some);
                    Ok(Decided::Outcomes(charges.iter().map(outcome).collect::<Result<_, _>>()?))
                }
                2 => Ok(Decided::Late),
                3 => Ok(Decided::Unreadable),
                _ => Err(Garbled),
            };
        }
        match self.byte()? {
            0 => charges
                .iter()
                .map(|charge| self.outcome(&charge.share))
                .collect::<Result<_, _>>()
                .map(|outcomes: Few<Option<Outcome>>| Decided::Outcomes(outcomes)),
            1 => Ok(Decided::Late),
            2 => Ok(Decided::Unreadable),
            _ => Err(Garbled),
        }
    }

    fn outcome(&mut self, share: &Share) -> Result<Option<Outcome>, Garbled> {
        let admitted = match self.byte()? {
            0 => false,
            1 => true,
            2 => return Ok(None),
            _ => return Err(Garbled),
        };
        let before = self.number()?.ok_or(Garbled)?;
        let used = self.number()?.ok_or(Garbled)?;
        let unit = unit(share);
        let mut wait =
            || self.number().map(|number| number.map(|n| Duration::from_nanos(n.saturating_mul(unit))));
        let (reset_after, full_after) = (wait()?.ok_or(Garbled)?, wait()?.ok_or(Garbled)?);
        let retry_after = wait()?;
        let (limit, window) = match share.algorithm {
            Algorithm::FixedWindow(FixedWindow::Period { start, end }) => (share.limit, end.since(start)),
            Algorithm::TokenBucket(bucket) => {
                let burst = if share.limit == 0 { 0 } else { bucket.burst.unwrap_or(share.limit) };
                (burst, bucket.window)
            }
            algorithm => (share.limit, algorithm.window().unwrap_or_default()),
        };
        Ok(Some(Outcome {
            admitted,
            limit,
            quota: share.limit,
            used,
            attempted: share.hits.applied_to(before),
            remaining: limit.saturating_sub(used),
            window,
            reset_after,
            full_after,
            retry_after,
        }))
    }

    /// What became of hits for a window, which were counted or not with all others of the request.
    fn counted(&mut self, share: &Share, is_counted: bool) -> Result<Outcome, Garbled> {
        let before = self.number()?.ok_or(Garbled)?;
        let left = Duration::from_micros(self.number()?.ok_or(Garbled)?);
        // As the script was told them.
        let (hits, limit) = (share.hits.cost().min(MOST_HITS + 1), share.limit.min(MOST_HITS));
        let admitted = is_counted || before.saturating_add(hits) <= limit;
        let used = if is_counted { before.saturating_add(hits) } else { before };
        Ok(Outcome {
            admitted,
            limit: share.limit,
            quota: share.limit,
            used,
            attempted: share.hits.applied_to(before),
            remaining: share.limit.saturating_sub(used),
            window: share.algorithm.window().unwrap_or_default(),
            reset_after: left,
            full_after: left,
            retry_after: (!admitted && hits <= limit).then_some(left),
        })
    }

    fn byte(&mut self) -> Result<u8, Garbled> {
        let (&first, rest) = self.rest.split_first().ok_or(Garbled)?;
        self.rest = rest;
        Ok(first)
    }

    /// A number, or none where it is negative.
    fn number(&mut self) -> Result<Option<u64>, Garbled> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Garbled)?;
        self.rest = rest;
        Ok(u64::try_from(i64::from_le_bytes(*bytes)).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::Durability;

    fn charge(algorithm: Algorithm, limit: u64, hits: Hits, stage: u32) -> Charge {
        let share = Share {
            algorithm,
            limit,
            hits,
            count_denied: true,
            settles: false,
            enforced: true,
            stage,
            cell: 0,
        };
        Charge { key: CellKey { high: 0, low: 0 }, durability: Durability::None, share }
    }

    #[test]
    fn a_request_is_its_numbers_in_a_row() {
        let second = Duration::from_secs(1);
        let charges = [
            charge(Algorithm::aligned(second), u64::MAX, Hits::refund(2), 3),
            charge(Algorithm::token_bucket(second, 5), 3, Hits::ONE, 4),
        ];
        let asked = Asked { mode: Mode::InOrder, deadline: 7, at: None };
        let mut bytes = Vec::new();
        write(&mut bytes, Form::Decide, asked, &charges, &[1, 0]);
        let numbers = |numbers: &[i64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let expected = [
            // In order, and two of them ask for one counter.
            vec![2 | 1 << 2, 2, 0],
            numbers(&[7, -1]),
            vec![1, 0, 1, 1, 0, 1, 0, 0],
            numbers(&[-2, 1 << 50, 1_000_000, 0, 0]),
            vec![0, 0, 5, 1, 0, 1, 1, 1],
            numbers(&[1, 3, 1_000_000, 5, 333_333_334]),
        ];
        assert_eq!(bytes, expected.concat());
    }

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
                let share = charge(algorithm, limit, Hits::charge(u64::MAX), 0).share;
                let numbers = Numbers::of(&share);
                assert!(numbers.parameters.iter().all(|number| *number <= 1 << 52), "{numbers:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_reply_panics(bytes in prop::collection::vec(0..4_u8, 0..120)) {
            let charges = [charge(Algorithm::aligned(Duration::from_secs(1)), 1, Hits::ONE, 0); 2];
            for form in [Form::Decide, Form::Count] {
                if let Ok(mut reply) = Reply::new(form, &bytes) {
                    while reply.next(&charges).is_ok() {}
                }
            }
        }
    }
}
