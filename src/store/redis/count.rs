//! Requests and outcomes as `count.lua` reads and writes them: whole numbers, little-endian, eight bytes each where nothing else is said.
//!
//! | Sent | Bytes |
//! |---|---|
//! | the server's time after which it is too late for the first of the requests, and the time to count at; -1 for the server's own | 8 + 8 |
//! | how many requests there are, and how many shares | 1 + 1 |
//! | for each share, which charges can have in common: its algorithm; its hits, its limit and the window's length | 1 + 3 × 8 |
//! | for each request: the number of its charges, plus 2^7 where each is counted whatever is refused | 1 |
//! | for each charge of it: the place of its counter, and four times that of its share, less three | 1 + 1 |
//! | for each request: the server's time after which it is too late | 8 |
//!
//! | Received | Bytes |
//! |---|---|
//! | the server's time | 8 |
//! | for each request: whether it was counted, or refused and not counted; or it was too late, or a counter of it is unreadable | 8 |
//! | for each charge of one that was decided: the count before, and the time until its window ends | 2 × 8 |

use std::time::Duration;

use super::numbers::{Asked, Decided, Garbled, MOST_COUNTED, MOST_HITS, Numbers, Reader, put};
use crate::algorithm::{Charge, Share};
use crate::model::Outcome;

/// The most charges that one run is asked for. The places of them, and of their shares, are a byte.
pub(super) const CHARGES: usize = 63;

/// Requests that one run decides on.
#[derive(Debug, Default)]
pub(super) struct Requests {
    first_deadline: Option<u64>,
    at: Option<i64>,
    count: u8,
    /// The algorithm, the hits, the limit and the window's length.
    shares: Vec<(u8, [u64; 3])>,
    plan: Vec<u8>,
    deadlines: Vec<u8>,
}

impl Requests {
    /// Adds a request, the counters of whose charges are at `places` among the keys. All requests are to be counted at the same time.
    pub(super) fn push(&mut self, asked: Asked, charges: &[Charge], places: &[u16]) {
        let deadline = asked.deadline();
        self.first_deadline = Some(self.first_deadline.map_or(deadline, |first| first.min(deadline)));
        self.at = Some(asked.time());
        self.count = self.count.saturating_add(1);
        put(&mut self.deadlines, deadline);
        let each = charges.iter().any(|charge| charge.share.count_denied);
        self.plan.push(byte(charges.len()) | u8::from(each) << 7);
        for (charge, place) in charges.iter().zip(places) {
            let share = self.share(&charge.share);
            self.plan.extend([byte(usize::from(*place) + 1), byte(share * 4 + 1)]);
        }
    }

    /// The place of a share.
    fn share(&mut self, share: &Share) -> usize {
        let Numbers { algorithm, parameters: [window, ..], .. } = Numbers::of(share);
        let share = (algorithm, [share.hits.cost().min(MOST_HITS + 1), share.limit.min(MOST_HITS), window]);
        self.shares.iter().position(|known| *known == share).unwrap_or_else(|| {
            self.shares.push(share);
            self.shares.len() - 1
        })
    }

    /// All of them.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(18 + 25 * self.shares.len() + self.plan.len() + self.deadlines.len());
        put(&mut bytes, self.first_deadline.unwrap_or_default());
        bytes.extend(self.at.unwrap_or(-1).to_le_bytes());
        bytes.extend([self.count, byte(self.shares.len())]);
        for (algorithm, numbers) in self.shares {
            bytes.push(algorithm);
            for number in numbers {
                put(&mut bytes, number);
            }
        }
        bytes.extend(self.plan);
        bytes.extend(self.deadlines);
        bytes
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// What became of the next request, whose charges these are.
pub(super) fn next(reply: &mut Reader, charges: &[Charge]) -> Result<Decided, Garbled> {
    match reply.number()?.ok_or(Garbled)? {
        state @ (0 | 1) => {
            let outcome = |charge: &Charge| counted(reply, &charge.share, state == 0).map(Some);
            Ok(Decided::Outcomes(charges.iter().map(outcome).collect::<Result<_, _>>()?))
        }
        2 => Ok(Decided::Late),
        3 => Ok(Decided::Unreadable),
        _ => Err(Garbled),
    }
}

/// What became of hits for a window, which were counted or not.
fn counted(reply: &mut Reader, share: &Share, is_counted: bool) -> Result<Outcome, Garbled> {
    let before = reply.number()?.ok_or(Garbled)?;
    let left = Duration::from_micros(reply.number()?.ok_or(Garbled)?);
    // As the script was told them.
    let (hits, limit) = (share.hits.cost().min(MOST_HITS + 1), share.limit.min(MOST_HITS));
    let after = before.saturating_add(hits);
    let admitted = after <= limit;
    let used = if is_counted { after.min(MOST_COUNTED) } else { before };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Algorithm, Durability, Mode};
    use crate::model::{CellKey, Hits};

    #[test]
    fn what_charges_have_in_common_is_sent_once() {
        let charge = |seconds| {
            let algorithm = Algorithm::aligned(Duration::from_secs(seconds));
            let share = Share {
                algorithm,
                limit: 5,
                hits: Hits::ONE,
                count_denied: seconds == 2,
                settles: false,
                enforced: true,
                stage: 0,
                cell: 0,
            };
            Charge { key: CellKey { high: 0, low: 0 }, durability: Durability::None, share }
        };
        let asked = |deadline| Asked { mode: Mode::Each, undoes: None, deadline, at: None };
        let mut requests = Requests::default();
        requests.push(asked(8), &[charge(1), charge(3)], &[0, 1]);
        requests.push(asked(7), &[charge(2)], &[2]);
        requests.push(asked(9), &[charge(1), charge(3)], &[3, 0]);
        let numbers = |numbers: &[i64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let share = |seconds: i64| [vec![1], numbers(&[1, 5, seconds * 1_000_000])].concat();
        let expected = [
            numbers(&[7, -1]),
            vec![3, 3],
            share(1),
            share(3),
            share(2),
            vec![2, 1, 1, 2, 5],
            vec![1 | 1 << 7, 3, 9],
            vec![2, 4, 1, 1, 5],
            numbers(&[8, 7, 9]),
        ];
        assert_eq!(requests.into_bytes(), expected.concat());
    }
}
