//! Hits that are counted ahead of their time, in a copy of a cell: what a store writes down, so that the cell can change
//! meanwhile without being written each time.
//!
//! A copy *covers* a cell when it never grants more, at any later time. A store that has a covering copy on its disk may lose
//! the cell. [`Algorithm::reserve`] makes a copy that goes on to cover the cell for as many hits as it is made for, if that
//! is possible; whether it does is never assumed, but asked of [`Cell::covers`] after each step.

use super::{Algorithm, Cell, Commit};
use crate::model::{Hits, Timestamp};

impl Algorithm {
    /// `cell` with `hits` more counted, though never more than the limit leaves.
    #[must_use]
    pub fn reserve(self, limit: u64, cell: &Cell, hits: u64, now: Timestamp) -> Cell {
        let mut copy = cell.clone();
        if hits == 0 {
            return copy;
        }
        let mut look = |at| self.step(limit, &mut copy, Hits::Look, Commit::Never, at);
        let ahead = now.plus(self.ahead());
        let (present, later) = (look(now), look(ahead));
        // What ends until then is replaced by later hits, or the copy would grant it again.
        let ending = present.used.saturating_sub(later.used);
        let counted = Hits::charge(hits.min(present.remaining).saturating_add(ending));
        self.step(limit, &mut copy, counted, Commit::Always, ahead);
        copy
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::tests::{Parameters, samples};

    /// Hits, each so many nanoseconds after those before.
    fn history(most: usize) -> impl Strategy<Value = Vec<(u64, i8)>> {
        prop::collection::vec((prop_oneof![Just(0), 0..40_u64, 0..400_u64], -3..6_i8), 0..most)
    }

    fn hits(asked: i8) -> Hits {
        match asked {
            0 => Hits::Look,
            1.. => Hits::charge(asked.unsigned_abs().into()),
            _ => Hits::refund(asked.unsigned_abs().into()),
        }
    }

    proptest! {
        /// For each algorithm: whatever copy is on the disk when the process ends, nobody is granted more by it than the lost
        /// cell would have granted, and little is wasted.
        #[test]
        fn what_covers_a_cell_never_grants_more(
            before in history(30), after in history(30), limit in 1..12_u64, n in 1..6_u64, chunk in 0..4_u64,
            always in any::<bool>(),
        ) {
            let of = Parameters { limit, window: 320, n };
            let commit = if always { Commit::Always } else { Commit::IfAdmitted };
            for sample in samples() {
                let mut now = 1_000_000;
                let (mut cell, mut kept) = (Cell::Empty, Cell::Empty);
                for &(later, asked) in &before {
                    now += later;
                    let at = Timestamp::from_nanos(now);
                    let algorithm = (sample.make)(of, now);
                    algorithm.step(limit, &mut cell, hits(asked), commit, at);
                    if !kept.covers(&cell) {
                        kept = algorithm.reserve(limit, &cell, chunk, at);
                        prop_assert!(kept.covers(&cell), "{sample:?}: {kept:?} does not cover {cell:?}");
                        let used = |cell: &Cell| {
                            algorithm.step(limit, &mut cell.clone(), Hits::Look, Commit::Never, at).used
                        };
                        prop_assert!(used(&kept) <= used(&cell) + chunk, "{sample:?}: more is wasted");
                    }
                }
                let (mut granted, mut would_be) = (0, 0);
                for &(later, asked) in &after {
                    now += later;
                    let at = Timestamp::from_nanos(now);
                    let algorithm = (sample.make)(of, now);
                    let ask = if asked > 0 { Hits::ONE } else { Hits::Look };
                    let restored = algorithm.step(limit, &mut kept, ask, Commit::IfAdmitted, at);
                    let lost = algorithm.step(limit, &mut cell, ask, Commit::IfAdmitted, at);
                    granted += u64::from(asked > 0 && restored.admitted);
                    would_be += u64::from(asked > 0 && lost.admitted);
                    prop_assert!(granted <= would_be, "{sample:?}: {granted} were granted, {would_be} would be");
                }
            }
        }
    }

    #[test]
    fn a_reservation_is_spent_before_another_is_needed() {
        let of = Parameters { limit: 1_000, window: 3_600_000_000_000, n: 1_000 };
        for sample in samples().into_iter().filter(|sample| (sample.holds)(of) >= 1_000) {
            let (mut cell, mut kept, mut written) = (Cell::Empty, Cell::Empty, 0);
            for hit in 0..320 {
                let now = 1_800_000_000_000_000_000 + hit * 1_000;
                let (algorithm, at) = ((sample.make)(of, now), Timestamp::from_nanos(now));
                algorithm.step(1_000, &mut cell, Hits::ONE, Commit::IfAdmitted, at);
                if !kept.covers(&cell) {
                    kept = algorithm.reserve(1_000, &cell, 31, at);
                    written += 1;
                }
            }
            assert_eq!(written, 10, "{sample:?}");
        }
    }
}
