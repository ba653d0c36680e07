//! Which counters can be forgotten first.

use crate::model::Outcome;

/// What would be lost with a counter that is forgotten before its end. The more, the greater:
///
/// 1. one hit, below the limit: what every invented key leaves behind,
/// 2. more hits, by the part of the limit that they are,
/// 3. at the limit: the client would get all of it again,
/// 4. over the limit: the client is known to ask for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth(u8);

/// Into how many parts a limit is divided.
const PARTS: u64 = 253;

impl Worth {
    /// One hit at most.
    pub(super) const NOTHING: Self = Self(0);
    const AT_LIMIT: Self = Self(254);
    const REFUSED: Self = Self(255);

    /// As it is kept outside of this process.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// What was written by [`to_byte`](Self::to_byte).
    pub fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// That of a counter whose last answer was `outcome`.
    pub(super) fn after(outcome: &Outcome) -> Self {
        if !outcome.admitted {
            return Self::REFUSED;
        }
        if outcome.remaining > 0 && outcome.used <= 1 {
            return Self::NOTHING;
        }
        if outcome.remaining == 0 {
            return Self::AT_LIMIT;
        }
        let part = if outcome.limit < u64::MAX / PARTS {
            outcome.used * PARTS / outcome.limit.max(1)
        } else {
            outcome.used / (outcome.limit / PARTS)
        };
        Self(1 + u8::try_from(part.min(PARTS - 1)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Worth;
    use crate::algorithm::tests::{Parameters, samples};
    use crate::algorithm::{Algorithm, Cell, Commit};
    use crate::model::{Hits, Timestamp};

    #[test]
    fn the_nearer_to_its_limit_the_more_a_counter_is_worth() {
        let parameters = Parameters { limit: 4, window: 60_000_000_000, n: 4 };
        // What holds one hit only is at its limit with the first.
        for sample in samples().into_iter().filter(|sample| (sample.holds)(parameters) == 4) {
            let algorithm = (sample.make)(parameters, 0);
            let mut cell = Cell::default();
            let worth: Vec<_> = (0..6)
                .map(|_| {
                    algorithm.step(4, &mut cell, Hits::ONE, Commit::IfAdmitted, Timestamp::EPOCH);
                    cell.worth()
                })
                .collect();
            assert_eq!(worth[0], Worth::NOTHING, "{algorithm:?}");
            assert!(worth[..5].is_sorted_by(|less, more| less < more), "{algorithm:?}: {worth:?}");
            assert_eq!(worth[4..], [Worth::REFUSED; 2], "{algorithm:?}");
        }
    }

    #[test]
    fn a_limit_of_any_size_has_its_parts() {
        let algorithm = Algorithm::aligned(Duration::from_secs(60));
        for (limit, hits, reported) in [
            (1, 1, 254),
            (2, 1, 0),
            (1_000_000, 2, 1),
            (1_000_000, 500_000, 127),
            (u64::MAX, 2, 1),
            (u64::MAX, u64::MAX / 2, 127),
            (u64::MAX, u64::MAX - 1, 253),
            (u64::MAX, u64::MAX, 254),
        ] {
            let mut cell = Cell::default();
            algorithm.step(limit, &mut cell, Hits::charge(hits), Commit::Always, Timestamp::EPOCH);
            assert_eq!(cell.worth(), Worth(reported), "{hits} of {limit}");
        }
    }
}
