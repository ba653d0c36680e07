//! The same, charge by charge and as plainly as it can be said, with time to spare: every charge looks at every other.

use crate::algorithm::settle::{Charge, Mode};
use crate::algorithm::{Cell, Commit};
use crate::model::{Outcome, Timestamp};

pub(super) fn settle(
    mode: Mode,
    charges: &[Charge],
    cells: &mut [Cell],
    now: Timestamp,
) -> Vec<Option<Outcome>> {
    if mode == Mode::AllOrNothing {
        return all_or_nothing(charges, cells, now).0.into_iter().map(Some).collect();
    }
    let mut outcomes = Vec::new();
    for stage in charges.chunk_by(|a, b| a.stage == b.stage) {
        let (told, admits) = all_or_nothing(stage, cells, now);
        outcomes.extend(told.into_iter().map(Some));
        if mode == Mode::InOrder && !admits {
            break;
        }
    }
    outcomes.resize(charges.len(), None);
    outcomes
}

fn all_or_nothing(stage: &[Charge], cells: &mut [Cell], now: Timestamp) -> (Vec<Outcome>, bool) {
    if let [charge] = stage {
        let outcome = charge.take(cells, now);
        return (vec![outcome], !charge.refuses(&outcome));
    }
    // What each would say if those before it were counted.
    let shared = |at: usize| stage[..at].iter().any(|other| other.cell == stage[at].cell);
    let tried: Vec<Outcome> = if (0..stage.len()).any(shared) {
        let mut copies = cells.to_vec();
        stage.iter().map(|charge| charge.take(&mut copies, now)).collect()
    } else {
        stage.iter().map(|charge| charge.step_as(cells, Commit::Never, now)).collect()
    };
    let admits = !stage.iter().zip(&tried).any(|(charge, outcome)| charge.refuses(outcome));
    let mut outcomes = Vec::new();
    for (charge, tried) in stage.iter().zip(tried) {
        let commit = match (admits, tried.admitted) {
            (true, _) => charge.commit(),
            (false, false) if charge.count_denied => Commit::Always,
            (false, _) => Commit::Never,
        };
        let mut outcome = charge.step_as(cells, commit, now);
        outcome.admitted = tried.admitted;
        let asked = stage.iter().filter(|other| other.cell == charge.cell).map(|other| other.hits.cost());
        let fits = asked.fold(0, u64::saturating_add) <= charge.law.capacity(charge.limit);
        outcome.retry_after =
            if tried.admitted { None } else { outcome.retry_after.max(tried.retry_after).filter(|_| fits) };
        outcomes.push(outcome);
    }
    (outcomes, admits)
}
