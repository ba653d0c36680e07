//! Requests and outcomes as the scripts read and write them: whole numbers, little-endian, eight bytes each where nothing else is said.
//!
//! | Sent to `decide.lua` | Bytes |
//! |---|---|
//! | for each request: its mode, plus 4 where two of its charges share a counter and 8 where it undoes others; the number of its charges | 1 + 2 |
//! | the server's time after which it is too late, and the time to count at; -1 for the server's own | 8 + 8 |
//! | where it undoes others: the time at which these were counted | 8 |
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
//! What is sent to `count.lua` and received from it is in `count`.
//!
//! Times are microseconds, rounded up where somebody is told to wait; those of buckets are nanoseconds where these fit.

use std::time::Duration;

use super::count;
use super::numbers::{Asked, Decided, Garbled, MOST_HITS, Numbers, Reader, put};
use crate::algorithm::{Algorithm, Charge, FixedWindow, Mode, Share};
use crate::model::{CellKey, Few, Hits, Outcome};

/// Which script is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `count.lua`, where all requests only have hits for windows.
    Count,
    /// `decide.lua`, for all.
    Decide,
}

/// Requests that one run of a script decides on.
#[derive(Debug)]
pub(super) enum Requests {
    Count(count::Requests),
    Decide(Vec<u8>),
}

impl Requests {
    pub(super) fn new(form: Form) -> Self {
        match form {
            Form::Count => Self::Count(count::Requests::default()),
            Form::Decide => Self::Decide(Vec::new()),
        }
    }

    /// Adds a request, the counters of whose charges are at `places` among the keys.
    pub(super) fn push(&mut self, asked: Asked, charges: &[Charge], places: &[u16]) {
        match self {
            Self::Count(requests) => requests.push(asked, charges, places),
            Self::Decide(bytes) => write(bytes, asked, charges, places),
        }
    }

    /// All of them.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Count(requests) => requests.into_bytes(),
            Self::Decide(bytes) => bytes,
        }
    }
}

/// Appends one request for `decide.lua`.
fn write(bytes: &mut Vec<u8>, asked: Asked, charges: &[Charge], places: &[u16]) {
    let mode = match asked.mode {
        Mode::Each => 0,
        Mode::AllOrNothing => 1,
        Mode::InOrder => 2,
    };
    bytes.push(mode | u8::from(share_a_counter(charges)) << 2 | u8::from(asked.undoes.is_some()) << 3);
    bytes.extend(u16::try_from(charges.len()).unwrap_or(u16::MAX).to_le_bytes());
    put(bytes, asked.deadline());
    bytes.extend(asked.time().to_le_bytes());
    if let Some(counted_at) = asked.undoes {
        put(bytes, counted_at);
    }
    let mut stage = None;
    for (charge, place) in charges.iter().zip(places) {
        let share = &charge.share;
        let begins_stage = stage.is_some_and(|stage| stage != share.stage);
        stage = Some(share.stage);
        let numbers = Numbers::of(share);
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

/// Which script is to decide on a request. Most only have hits for windows, each with a counter of its own. Of those that stand or fall
/// together all are counted, or none; those that count what they refuse are all counted, if each stands for itself.
pub(super) fn form(mode: Mode, charges: &[Charge]) -> Form {
    let is_plain = |Charge { share: Share { algorithm, hits, settles, .. }, .. }: &Charge| {
        let is_window = matches!(
            algorithm,
            Algorithm::FixedWindow(FixedWindow::Aligned { .. } | FixedWindow::Anchored { .. })
        );
        is_window && matches!(hits, Hits::Charge(_)) && !settles
    };
    let all = |is: fn(&Share) -> bool| charges.iter().all(|charge| is(&charge.share));
    let all_or_none = || mode.joins_all(charges) && all(|share| share.enforced && !share.count_denied);
    let each = || mode.joins_none(charges) && all(|share| share.count_denied);
    let is_plain = charges.len() <= count::CHARGES
        && charges.iter().all(is_plain)
        && (all_or_none() || each())
        && !share_a_counter(charges);
    if is_plain { Form::Count } else { Form::Decide }
}

/// What an outcome's times are in, in nanoseconds.
fn unit(share: &Share) -> u64 {
    match share.algorithm {
        Algorithm::TokenBucket(_) if Numbers::of(share).is_fine => 1,
        _ => 1_000,
    }
}

/// A reply that is being read.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    form: Form,
    numbers: Reader<'a>,
    /// The server's time, in microseconds since 1970.
    pub(super) time: u64,
}

impl<'a> Reply<'a> {
    /// Begins to read a reply.
    pub(super) fn new(form: Form, bytes: &'a [u8]) -> Result<Self, Garbled> {
        let mut numbers = Reader(bytes);
        let time = numbers.number()?.ok_or(Garbled)?;
        Ok(Self { form, numbers, time })
    }

    /// What became of the next request, whose charges these are.
    pub(super) fn next(&mut self, charges: &[Charge]) -> Result<Decided, Garbled> {
        if self.form == Form::Count {
            return count::next(&mut self.numbers, charges);
        }
        match self.numbers.byte()? {
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
        let admitted = match self.numbers.byte()? {
            0 => false,
            1 => true,
            2 => return Ok(None),
            _ => return Err(Garbled),
        };
        let before = self.numbers.number()?.ok_or(Garbled)?;
        let used = self.numbers.number()?.ok_or(Garbled)?;
        let unit = unit(share);
        let mut wait = || {
            self.numbers.number().map(|number| number.map(|n| Duration::from_nanos(n.saturating_mul(unit))))
        };
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
        let asked = Asked { mode: Mode::InOrder, undoes: None, deadline: 7, at: None };
        let mut bytes = Vec::new();
        write(&mut bytes, asked, &charges, &[1, 0]);
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
