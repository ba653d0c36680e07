//! How several charges of one request go together.

use std::time::Duration;

use super::{Algorithm, Cell, Commit, Worth};
use crate::model::{CellKey, Few, Hits, Outcome, Timestamp};

/// One limit's share of a request.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// How hits are counted.
    pub algorithm: Algorithm,
    /// Hits granted per window.
    pub limit: u64,
    /// The hits that the request asks this limit for.
    pub hits: Hits,
    /// Whether the limit counts what it refuses.
    pub count_denied: bool,
    /// Whether its charges report what has happened already (`settle: true`): they are always counted, also where the request is
    /// refused, and the next request is refused once the limit is reached.
    pub settles: bool,
    /// Whether its refusal refuses the request; a limit in shadow mode only reports.
    pub enforced: bool,
    /// The charges of one stage stand side by side. All of them are one stage under all-or-nothing.
    pub stage: u32,
    /// Where the cell is among those of the request; two charges may share one.
    pub cell: usize,
}

/// Whether a count survives a crash, for stores that can keep it (`durable`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It may be lost.
    #[default]
    None,
    /// After a crash it is at least what it was: what was reserved ahead of it counts as used.
    Reserve,
    /// After a crash it is what it was: a request is answered when its charge is kept.
    Exact,
}

impl Durability {
    /// The words for it in a policy file.
    pub const NAMES: [(&str, Self); 3] =
        [("reserve", Self::Reserve), ("exact", Self::Exact), ("none", Self::None)];
}

/// One limit's share of a request, and the counter it is charged to.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The counter.
    pub key: CellKey,
    /// What becomes of the counter in a crash.
    pub durability: Durability,
    /// What is charged. [`Share::cell`] is up to whoever keeps the counters.
    pub share: Share,
}

impl Charge {
    /// Whether the counter survives a crash, where the store can keep it.
    pub fn is_durable(&self) -> bool {
        self.durability != Durability::None
    }
}

/// An outcome for each charge of a request, in order; `None` for a charge that was not made, as an earlier stage refused.
pub type Outcomes = Few<Option<Outcome>>;

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

impl Mode {
    /// Whether charges of these two stages stand or fall together.
    #[inline]
    pub fn joins(self, one: u32, other: u32) -> bool {
        self == Self::AllOrNothing || one == other
    }

    /// Whether `charges` all stand or fall together.
    #[inline]
    pub fn joins_all(self, charges: &[Charge]) -> bool {
        charges.windows(2).all(|pair| self.joins(pair[0].share.stage, pair[1].share.stage))
    }

    /// Whether each of `charges` stands for itself, whatever becomes of the others.
    #[inline]
    pub fn joins_none(self, charges: &[Charge]) -> bool {
        let apart = |pair: &[Charge]| !self.joins(pair[0].share.stage, pair[1].share.stage);
        charges.len() < 2 || (self == Self::Each && charges.windows(2).all(apart))
    }

    /// Whether charges of a stage are made at all, where `refusing` is the first one that refuses. Stages are numbered in their order.
    #[inline]
    pub fn reaches(self, stage: u32, refusing: u32) -> bool {
        self != Self::InOrder || stage <= refusing
    }
}

/// Decides on all charges of one request at once.
///
/// There is one outcome for each charge, in order; `None` when an earlier stage refused and the charge was not reached.
/// Every `Share::cell` must lie within `cells`. The work grows with the number of charges, and not with its square: who
/// sends a message of a thousand descriptors pays for a thousand.
pub fn settle(mode: Mode, charges: &[Share], cells: &mut [Cell], now: Timestamp) -> Outcomes {
    let mut outcomes = Few::with_capacity(charges.len());
    let mut asked = Asked::default();
    match mode {
        Mode::Each => {
            for stage in charges.chunk_by(|a, b| a.stage == b.stage) {
                all_or_nothing(stage, cells, now, &mut asked, &mut outcomes);
            }
        }
        Mode::AllOrNothing => {
            all_or_nothing(charges, cells, now, &mut asked, &mut outcomes);
        }
        Mode::InOrder => {
            for stage in charges.chunk_by(|a, b| a.stage == b.stage) {
                if !all_or_nothing(stage, cells, now, &mut asked, &mut outcomes) {
                    break;
                }
            }
            outcomes.resize(charges.len(), None);
        }
    }
    if mode != Mode::AllOrNothing {
        wait_together(charges, cells, now, &mut outcomes);
    }
    outcomes
}

/// Decides on charges that stand or fall together, whatever their stages, and adds an outcome for each.
pub fn settle_together(charges: &[Share], cells: &mut [Cell], now: Timestamp, outcomes: &mut Outcomes) {
    all_or_nothing(charges, cells, now, &mut Asked::default(), outcomes);
}

/// Reports to whoever was refused, of a cell that several charges ask for, when all of them pass, those of other stages too.
pub fn wait_together(
    charges: &[Share],
    cells: &mut [Cell],
    now: Timestamp,
    outcomes: &mut [Option<Outcome>],
) {
    if outcomes.iter().flatten().all(|outcome| outcome.admitted) {
        return;
    }
    let mut asked = Asked::default();
    asked.count(charges, cells.len());
    if asked.shared {
        asked.wait_for_all(charges, cells, now, outcomes);
    }
}

/// What the charges of one stage ask of each cell, so that none of them has to look through the others.
#[derive(Debug, Default)]
struct Asked {
    /// For each cell of the request.
    of: Few<OfCell>,
    /// The stage that is being looked at.
    stage: usize,
    /// Whether two of its charges share a cell.
    shared: bool,
    /// What shared cells would be if the charges so far were counted.
    copies: Few<Cell>,
}

/// What one stage asks of one cell.
#[derive(Clone, Debug, Default)]
struct OfCell {
    /// The stage all of this was asked in; what was asked in another is void.
    stage: usize,
    /// The number of the stage's charges that share the cell.
    charges: usize,
    /// The hits that these charges ask for together.
    cost: u64,
    /// Where its copy is.
    copy: Option<usize>,
    /// How long until all charges of the cell pass together, once that was asked; `Duration::MAX` when they never do.
    wait: Option<Duration>,
    /// The algorithm and the limit of the first of its charges.
    first: Option<(Algorithm, u64)>,
    /// Where its copy is that the wait is tried out with.
    tried: Option<usize>,
    /// Whether another charge has another algorithm or limit.
    differs: bool,
}

impl Asked {
    /// Adds up what a stage asks of `cells` cells.
    fn count(&mut self, stage: &[Share], cells: usize) {
        self.of.resize_with(cells, OfCell::default);
        self.stage += 1;
        self.shared = false;
        self.copies.clear();
        for charge in stage {
            let of = &mut self.of[charge.cell];
            if of.stage != self.stage {
                *of = OfCell { stage: self.stage, ..OfCell::default() };
            }
            of.charges += 1;
            of.differs |=
                *of.first.get_or_insert((charge.algorithm, charge.limit)) != (charge.algorithm, charge.limit);
            self.shared |= of.charges > 1;
            of.cost = of.cost.saturating_add(charge.hits.cost());
        }
    }

    /// What the charge would say if those before it were counted. Leaves the cells as they are.
    fn rehearse(&mut self, charge: &Share, cells: &mut [Cell], now: Timestamp) -> Outcome {
        let of = &mut self.of[charge.cell];
        if of.charges < 2 {
            // Charges of different cells cannot know of each other, and a log is dear to copy.
            return charge.step_as(cells, Commit::Never, now);
        }
        let copies = &mut self.copies;
        let copy = *of.copy.get_or_insert_with(|| {
            copies.push(cells[charge.cell].clone());
            copies.len() - 1
        });
        charge.step(&mut copies[copy], now)
    }

    /// Reports to whoever was refused, of a cell that several charges ask for, when all of them pass: none of them alone knows.
    ///
    /// The hits of a charge are needed beside those of the ones before it. What a refund gives back is not relied on. Where the
    /// hits of one charge are not worth those of another (a bucket is emptied at two rates), the time is tried out, and none is
    /// told when they do not pass then.
    fn wait_for_all(
        &mut self,
        stage: &[Share],
        cells: &mut [Cell],
        now: Timestamp,
        outcomes: &mut [Option<Outcome>],
    ) {
        for charge in stage {
            self.of[charge.cell].cost = 0;
        }
        for charge in stage {
            let of = &mut self.of[charge.cell];
            if of.charges < 2 || matches!(charge.hits, Hits::Refund(_)) {
                continue;
            }
            let is_counted = charge.count_denied
                || charge.settles
                || charge.hits.cost() <= charge.algorithm.capacity(charge.limit);
            let before = of.cost;
            if charge.enforced || is_counted {
                of.cost = of.cost.saturating_add(charge.hits.cost());
            }
            if charge.enforced {
                // One that comes after the fact passes where anything is left.
                let needed = if charge.settles { before.saturating_add(1) } else { of.cost };
                let so_far = Share { hits: Hits::charge(needed), settles: false, ..*charge };
                let outcome = so_far.step_as(cells, Commit::Never, now);
                let never = if outcome.admitted { Duration::ZERO } else { Duration::MAX };
                of.wait = of.wait.max(Some(outcome.retry_after.unwrap_or(never)));
            }
        }
        self.copies.clear();
        for charge in stage {
            let of = &mut self.of[charge.cell];
            let (true, Some(wait)) = (of.differs, of.wait.filter(|wait| *wait < Duration::MAX)) else {
                continue;
            };
            let copies = &mut self.copies;
            // The copies that were rehearsed with are of no more use.
            let copy = *of.tried.get_or_insert_with(|| {
                copies.push(cells[charge.cell].clone());
                copies.len() - 1
            });
            if charge.refuses(&charge.step(&mut copies[copy], now.plus(wait))) {
                of.wait = Some(Duration::MAX);
            }
        }
        for (charge, outcome) in stage.iter().zip(outcomes) {
            let of = &self.of[charge.cell];
            if let (2.., Some(wait), Some(outcome)) = (of.charges, of.wait, outcome)
                && charge.refuses(outcome)
            {
                outcome.retry_after = Some(wait).filter(|wait| *wait < Duration::MAX);
                if let (true, Some(wait)) = (charge.algorithm.resets_at_retry(), outcome.retry_after) {
                    outcome.reset_after = wait;
                }
            }
        }
    }
}

/// Counts every charge of a stage, or none but what is counted when refused. Returns whether the stage admits.
fn all_or_nothing(
    stage: &[Share],
    cells: &mut [Cell],
    now: Timestamp,
    asked: &mut Asked,
    outcomes: &mut Outcomes,
) -> bool {
    if let [charge] = stage {
        let outcome = charge.take(cells, now);
        outcomes.push(Some(outcome));
        return !charge.refuses(&outcome);
    }

    if are_apart(stage) {
        return all_or_nothing_apart(stage, cells, now, outcomes);
    }

    asked.count(stage, cells.len());
    let tried: Few<Outcome> = stage.iter().map(|charge| asked.rehearse(charge, cells, now)).collect();
    let admits = !stage.iter().zip(&tried).any(|(charge, outcome)| charge.refuses(outcome));
    let any_refused = tried.iter().any(|outcome| !outcome.admitted);
    outcomes.extend(
        stage
            .iter()
            .zip(&tried)
            .map(|(charge, tried)| Some(charge.take_rehearsed(tried, admits, cells, now))),
    );
    if asked.shared && any_refused {
        let of_stage = outcomes.len() - stage.len();
        asked.wait_for_all(stage, cells, now, &mut outcomes[of_stage..]);
    }
    admits
}

/// Whether no two charges share a cell, where they are so few that this is sooner asked than what each cell is asked for.
fn are_apart(stage: &[Share]) -> bool {
    stage.len() <= 4
        && stage
            .iter()
            .enumerate()
            .all(|(at, charge)| stage[..at].iter().all(|other| other.cell != charge.cell))
}

/// [`all_or_nothing`] of charges that share no cell. When all others admit it is up to the last charge alone whether it is
/// counted, so that one need not be rehearsed.
fn all_or_nothing_apart(
    stage: &[Share],
    cells: &mut [Cell],
    now: Timestamp,
    outcomes: &mut Outcomes,
) -> bool {
    let Some((last, others)) = stage.split_last() else { return true };
    let tried: Few<Outcome> = others.iter().map(|charge| charge.step_as(cells, Commit::Never, now)).collect();
    let others_admit = !others.iter().zip(&tried).any(|(charge, outcome)| charge.refuses(outcome));
    let (of_last, admits) = if others_admit {
        let outcome = last.take(cells, now);
        last.remember_refusal(&outcome, cells);
        (outcome, !last.refuses(&outcome))
    } else {
        let tried = last.step_as(cells, Commit::Never, now);
        (last.take_rehearsed(&tried, false, cells, now), false)
    };
    outcomes.extend(
        others
            .iter()
            .zip(&tried)
            .map(|(charge, tried)| Some(charge.take_rehearsed(tried, admits, cells, now))),
    );
    outcomes.push(Some(of_last));
    admits
}

impl Share {
    /// When it is counted, as far as it is up to this charge alone.
    fn commit(&self) -> Commit {
        if self.count_denied || self.settles { Commit::Always } else { Commit::IfAdmitted }
    }

    /// Decides and counts, as long as it stands alone.
    pub fn step(&self, cell: &mut Cell, now: Timestamp) -> Outcome {
        self.ask(cell, self.commit(), now)
    }

    fn ask(&self, cell: &mut Cell, commit: Commit, now: Timestamp) -> Outcome {
        if self.settles && !matches!(self.hits, Hits::Refund(_)) {
            return self.ask_settled(cell, commit, now);
        }
        self.algorithm.step(self.limit, cell, self.hits, commit, now)
    }

    /// Whoever comes after the fact cannot be asked to wait: admitted is whoever finds anything left.
    fn ask_settled(&self, cell: &mut Cell, commit: Commit, now: Timestamp) -> Outcome {
        let before = self.algorithm.step(self.limit, cell, Hits::ONE, Commit::Never, now);
        let outcome = self.algorithm.step(self.limit, cell, self.hits, commit, now);
        let after = self.algorithm.step(self.limit, cell, Hits::ONE, Commit::Never, now);
        Outcome {
            admitted: before.admitted,
            retry_after: after.retry_after.filter(|_| !before.admitted),
            // A sliding window's is when the next one passes; other windows end when they end.
            reset_after: if self.algorithm.resets_at_retry() {
                after.reset_after
            } else {
                outcome.reset_after
            },
            ..outcome
        }
    }

    fn take(&self, cells: &mut [Cell], now: Timestamp) -> Outcome {
        self.step(&mut cells[self.cell], now)
    }

    fn step_as(&self, cells: &mut [Cell], commit: Commit, now: Timestamp) -> Outcome {
        self.ask(&mut cells[self.cell], commit, now)
    }

    /// Counts what was `tried` with all of its stage, which `admits` or refuses.
    fn take_rehearsed(&self, tried: &Outcome, admits: bool, cells: &mut [Cell], now: Timestamp) -> Outcome {
        let commit = match (admits, tried.admitted) {
            (true, _) => self.commit(),
            (false, _) if self.settles => Commit::Always,
            (false, false) if self.count_denied => Commit::Always,
            (false, _) => Commit::Never,
        };
        let mut outcome = self.step_as(cells, commit, now);
        // Those that share its cell are asked for together, whatever the cell says of it alone.
        (outcome.admitted, outcome.attempted) = (tried.admitted, tried.attempted);
        self.remember_refusal(&outcome, cells);
        outcome.retry_after = outcome.retry_after.filter(|_| !tried.admitted);
        outcome
    }

    /// Has the cell know that its limit is reached, also where refusals are not counted.
    fn remember_refusal(&self, outcome: &Outcome, cells: &mut [Cell]) {
        if !outcome.admitted {
            cells[self.cell].set_worth(Worth::after(outcome));
        }
    }

    /// Whether that outcome refuses the stage.
    pub fn refuses(&self, outcome: &Outcome) -> bool {
        self.enforced && !outcome.admitted
    }
}

#[cfg(test)]
mod tests;
