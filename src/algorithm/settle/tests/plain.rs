//! The same, charge by charge and as plainly as it can be said, with time to spare: every charge looks at every other.

use std::time::Duration;

use crate::algorithm::settle::{Mode, Share};
use crate::algorithm::{Algorithm, Cell, Commit};
use crate::model::{Hits, Outcome, Timestamp};

pub(super) fn settle(
    mode: Mode,
    charges: &[Share],
    cells: &mut [Cell],
    now: Timestamp,
) -> Vec<Option<Outcome>> {
    if mode == Mode::AllOrNothing {
        return all_or_nothing(charges, cells, now).0.into_iter().map(Some).collect();
    }
    let mut outcomes = Vec::new();
    for stage in charges.chunk_by(|a, b| a.stage == b.stage) {
        let (reported, admits) = all_or_nothing(stage, cells, now);
        outcomes.extend(reported.into_iter().map(Some));
        if mode == Mode::InOrder && !admits {
            break;
        }
    }
    outcomes.resize(charges.len(), None);
    wait_together(charges, cells, now, &mut outcomes);
    outcomes
}

fn all_or_nothing(stage: &[Share], cells: &mut [Cell], now: Timestamp) -> (Vec<Outcome>, bool) {
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
            (false, _) if charge.settles => Commit::Always,
            (false, false) if charge.count_denied => Commit::Always,
            (false, _) => Commit::Never,
        };
        let mut outcome = charge.step_as(cells, commit, now);
        outcome.admitted = tried.admitted;
        outcome.attempted = tried.attempted;
        outcome.retry_after = if tried.admitted { None } else { outcome.retry_after };
        outcomes.push(outcome);
    }
    let mut reported: Vec<Option<Outcome>> = outcomes.into_iter().map(Some).collect();
    wait_together(stage, cells, now, &mut reported);
    (reported.into_iter().flatten().collect(), admits)
}

fn wait_together(charges: &[Share], cells: &mut [Cell], now: Timestamp, outcomes: &mut [Option<Outcome>]) {
    for (charge, outcome) in charges.iter().zip(outcomes) {
        let of_cell: Vec<&Share> = charges.iter().filter(|other| other.cell == charge.cell).collect();
        let Some(outcome) = outcome else { continue };
        if !charge.refuses(outcome) || of_cell.len() < 2 {
            continue;
        }
        let waits = waits(&of_cell, cells, now);
        if waits.is_empty() {
            continue;
        }
        let wait = if waits.contains(&None) { None } else { waits.into_iter().max().flatten() };
        outcome.retry_after = wait;
        if let (Algorithm::SlidingWindow(_), Some(wait)) = (charge.algorithm, wait) {
            outcome.reset_after = wait;
        }
    }
}

/// How long until each of those charges of one cell passes that can refuse anything, beside those before it.
fn waits(of_cell: &[&Share], cells: &mut [Cell], now: Timestamp) -> Vec<Option<Duration>> {
    let is_refund = |charge: &Share| matches!(charge.hits, Hits::Refund(_));
    let mut waits = Vec::new();
    for (at, charge) in of_cell.iter().enumerate().filter(|(_, charge)| charge.enforced && !is_refund(charge))
    {
        let counts = |other: &&&Share| {
            let can_pass = other.hits.cost() <= other.algorithm.capacity(other.limit);
            other.enforced || other.count_denied || can_pass
        };
        let cost = of_cell[..=at].iter().filter(counts).map(|other| other.hits.cost());
        let together = Share { hits: Hits::charge(cost.fold(0, u64::saturating_add)), ..**charge };
        let outcome = together.step_as(cells, Commit::Never, now);
        waits.push(if outcome.admitted { Some(Duration::ZERO) } else { outcome.retry_after });
    }
    waits
}
