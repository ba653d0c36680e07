//! How several charges of one request go together.

use super::{Cell, Commit, Law};
use crate::model::{Few, Hits, Outcome, Timestamp};

/// One limit's share of a request.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// How hits are counted.
    pub law: Law,
    /// Hits granted per window.
    pub limit: u64,
    /// What is asked of this limit.
    pub hits: Hits,
    /// Whether the limit counts what it refuses.
    pub count_denied: bool,
    /// Whether its refusal refuses the request; a limit in shadow mode only tells.
    pub enforced: bool,
    /// The charges of one stage stand side by side. All of them are one stage under all-or-nothing.
    pub stage: u32,
    /// Where the cell is among those of the request; two charges may share one.
    pub cell: usize,
}

/// What the refusal of one charge means to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing to other stages, as in envoyproxy/ratelimit; those of its own stage are not counted.
    Each,
    /// None is counted.
    #[default]
    AllOrNothing,
    /// Those of its own stage are not counted, and those of later stages not even asked.
    InOrder,
}

/// Decides on all charges of one request at once.
///
/// There is one outcome for each charge, in order; `None` when an earlier stage refused and the charge was not reached.
/// Every `Charge::cell` must lie within `cells`.
pub fn settle(mode: Mode, charges: &[Charge], cells: &mut [Cell], now: Timestamp) -> Few<Option<Outcome>> {
    let mut outcomes = Few::with_capacity(charges.len());
    match mode {
        Mode::Each => {
            for stage in charges.chunk_by(|a, b| a.stage == b.stage) {
                all_or_nothing(stage, cells, now, &mut outcomes);
            }
        }
        Mode::AllOrNothing => {
            all_or_nothing(charges, cells, now, &mut outcomes);
        }
        Mode::InOrder => {
            for stage in charges.chunk_by(|a, b| a.stage == b.stage) {
                if !all_or_nothing(stage, cells, now, &mut outcomes) {
                    break;
                }
            }
            outcomes.resize(charges.len(), None);
        }
    }
    outcomes
}

/// Counts every charge of a stage, or none but what is counted when refused. Tells whether the stage admits.
fn all_or_nothing(
    stage: &[Charge],
    cells: &mut [Cell],
    now: Timestamp,
    outcomes: &mut Few<Option<Outcome>>,
) -> bool {
    if let [charge] = stage {
        let outcome = charge.take(cells, now);
        outcomes.push(Some(outcome));
        return !charge.refuses(&outcome);
    }

    let tried = rehearse(stage, cells, now);
    let admits = !stage.iter().zip(&tried).any(|(charge, outcome)| charge.refuses(outcome));
    for (charge, tried) in stage.iter().zip(tried) {
        let commit = match (admits, tried.admitted) {
            (true, _) => charge.commit(),
            (false, false) if charge.count_denied => Commit::Always,
            (false, _) => Commit::Never,
        };
        let mut outcome = charge.step_as(cells, commit, now);
        // Those that share its cell are asked for together, so it fits when they do, whatever the cell says of it alone.
        outcome.admitted = tried.admitted;
        outcome.retry_after = if tried.admitted {
            None
        } else {
            outcome.retry_after.max(tried.retry_after).filter(|_| charge.fits_with_others(stage))
        };
        outcomes.push(Some(outcome));
    }
    admits
}

/// What each charge would say if those before it were counted. Leaves the cells as they are.
fn rehearse(stage: &[Charge], cells: &mut [Cell], now: Timestamp) -> Few<Outcome> {
    let shared = stage
        .iter()
        .enumerate()
        .any(|(at, charge)| stage[..at].iter().any(|other| other.cell == charge.cell));
    if shared {
        let mut copies = cells.to_vec();
        stage.iter().map(|charge| charge.take(&mut copies, now)).collect()
    } else {
        // Charges of different cells cannot know of each other, and a log is dear to copy.
        stage.iter().map(|charge| charge.step_as(cells, Commit::Never, now)).collect()
    }
}

impl Charge {
    /// When it is counted, as far as it is up to this charge alone.
    fn commit(&self) -> Commit {
        if self.count_denied { Commit::Always } else { Commit::IfAdmitted }
    }

    /// Decides and counts, as long as it stands alone.
    pub fn step(&self, cell: &mut Cell, now: Timestamp) -> Outcome {
        self.law.step(self.limit, cell, self.hits, self.commit(), now)
    }

    fn take(&self, cells: &mut [Cell], now: Timestamp) -> Outcome {
        self.step(&mut cells[self.cell], now)
    }

    fn step_as(&self, cells: &mut [Cell], commit: Commit, now: Timestamp) -> Outcome {
        self.law.step(self.limit, &mut cells[self.cell], self.hits, commit, now)
    }

    /// Whether that outcome refuses the stage. A refund asks for nothing, so it may find its limit exceeded and still
    /// stands in nobody's way.
    fn refuses(&self, outcome: &Outcome) -> bool {
        self.enforced && !outcome.admitted && !matches!(self.hits, Hits::Refund(_))
    }

    /// Whether the limit could ever grant all that the stage asks of its cell.
    fn fits_with_others(&self, stage: &[Charge]) -> bool {
        let asked = stage.iter().filter(|other| other.cell == self.cell).map(|other| other.hits.cost());
        asked.fold(0, u64::saturating_add) <= self.law.capacity(self.limit)
    }
}

#[cfg(test)]
mod tests;
