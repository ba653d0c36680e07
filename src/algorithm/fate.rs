//! What the refusals of a request mean to its charges, where they were asked apart: [`settle`](super::settle) asks them together.

use super::{Charge, Mode};
use crate::model::Few;

/// What becomes of a charge through the refusals of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is counted, as far as it is up to the others.
    Stands,
    /// It stands or falls with one that refuses, which it may be itself.
    Falls,
    /// An earlier stage refuses, so it is not made.
    NotReached,
}

impl Mode {
    /// What becomes of each of `charges`, of which those refuse whose places `refuses` names. The work grows with the number of
    /// charges, and not with its square.
    pub fn fates(self, charges: &[Charge], refuses: impl Fn(usize) -> bool) -> Few<Fate> {
        let stage = |place: usize| charges[place].share.stage;
        let mut refusing: Few<u32> = (0..charges.len()).filter(|&place| refuses(place)).map(stage).collect();
        refusing.sort_unstable();
        let fate = |place: usize| {
            let stage = stage(place);
            let Some(&first) = refusing.first() else { return Fate::Stands };
            if !self.reaches(stage, first) {
                Fate::NotReached
            } else if self == Self::AllOrNothing || refusing.binary_search(&stage).is_ok() {
                Fate::Falls
            } else {
                Fate::Stands
            }
        };
        (0..charges.len()).map(fate).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Fate::{Falls, NotReached, Stands};
    use super::*;
    use crate::algorithm::{Algorithm, Cell, Durability, Share, settle};
    use crate::model::{CellKey, Hits, Timestamp};

    const MODES: [Mode; 3] = [Mode::Each, Mode::AllOrNothing, Mode::InOrder];

    fn charges(stages: [u32; 5], limits: [u64; 5]) -> Vec<Charge> {
        let charge = |(cell, (stage, limit))| {
            let share = Share {
                algorithm: Algorithm::aligned(Duration::from_secs(1)),
                limit,
                hits: Hits::ONE,
                count_denied: false,
                settles: false,
                enforced: true,
                stage,
                cell,
            };
            Charge { key: CellKey { high: 0, low: cell as u64 }, durability: Durability::None, share }
        };
        stages.into_iter().zip(limits).enumerate().map(charge).collect()
    }

    #[test]
    fn what_refuses_takes_with_it_what_the_mode_says() {
        let stages = [0, 0, 1, 2, 2];
        let fates = |mode: Mode, refusing: &[usize]| {
            mode.fates(&charges(stages, [1; 5]), |place| refusing.contains(&place)).to_vec()
        };
        assert_eq!(fates(Mode::Each, &[1]), [Falls, Falls, Stands, Stands, Stands]);
        assert_eq!(fates(Mode::InOrder, &[2]), [Stands, Stands, Falls, NotReached, NotReached]);
        assert_eq!(fates(Mode::AllOrNothing, &[4]), [Falls; 5]);
        for mode in MODES {
            assert_eq!(fates(mode, &[]), [Stands; 5]);
        }
    }

    /// Whatever refuses, what stands is what is counted where all are asked together.
    #[test]
    fn what_is_asked_apart_ends_as_what_is_asked_together() {
        for mode in MODES {
            for refusing in 0..1_u32 << 5 {
                let refuses = |place: usize| refusing & 1 << place != 0;
                let limits = [0, 1, 2, 3, 4].map(|place| u64::from(!refuses(place)));
                let charges = charges([0, 0, 1, 2, 2], limits);
                let shares: Vec<Share> = charges.iter().map(|charge| charge.share).collect();
                let mut cells = vec![Cell::default(); 5];
                let outcomes = settle(mode, &shares, &mut cells, Timestamp::from_secs(5));
                for (fate, outcome) in mode.fates(&charges, refuses).iter().zip(&outcomes) {
                    let used = outcome.map(|outcome| outcome.used);
                    let expected = match fate {
                        Stands => Some(1),
                        Falls => Some(0),
                        NotReached => None,
                    };
                    assert_eq!(used, expected, "{mode:?}, {refusing:b}");
                }
            }
        }
    }
}
