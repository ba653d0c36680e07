//! After the counters: who is refused, and by what.

use std::cell::RefCell;

use super::disposition::Disposition;
use super::plan::{Candidate, Matched, Plan};
use super::scratch::Buffers;
use super::{Charged, Counted, Decision, RuleRef, Verdict};
use crate::algorithm::Outcomes;
use crate::model::{Outcome, recycled};
use crate::policy::Rule;

impl<'p> Plan<'p> {
    /// Judges by what the counters answered: an outcome for each of the charges, in order.
    pub fn conclude(self, outcomes: &Outcomes) -> Verdict<'p> {
        self.judged(outcomes, Known::All)
    }

    /// The same where only some of the counters could be reached: limits without an outcome are left out.
    pub fn conclude_partly(self, outcomes: &Outcomes) -> Verdict<'p> {
        self.judged(outcomes, Known::Some)
    }

    fn judged(mut self, outcomes: &Outcomes, known: Known) -> Verdict<'p> {
        let mut decisions: Vec<Decision<'p>> = recycled(std::mem::take(&mut self.scratch.0.decisions));
        let mut outcomes = outcomes.iter().copied();
        let Buffers { dispositions, charged, .. } = &mut *self.scratch.0;
        let matched = self.matched.drain(..).zip(dispositions);
        decisions.extend(
            matched.map(|(one, disposition)| decision(one, *disposition, &mut outcomes, known, charged)),
        );
        let over_limit = judge(&mut decisions) || self.too_costly;
        let texts = RefCell::new(std::mem::take(&mut self.scratch.0.texts));
        Verdict {
            now: self.now,
            domain: self.domain,
            over_limit,
            decisions,
            somebody: self.somebody,
            unmatched: self.unmatched,
            too_costly: self.too_costly,
            closed: None,
            texts,
            matched: self.matched,
            scratch: self.scratch,
        }
    }
}

/// Which of the counters answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// All. A charge without an outcome was not made, as an earlier stage refused.
    All,
    /// Some. A charge without an outcome could not be made.
    Some,
}

/// Takes as many `outcomes` as charges were made of `one`, and a list for them of those that are `spare`.
fn decision<'p>(
    one: Matched<'p>,
    disposition: Disposition,
    outcomes: &mut impl Iterator<Item = Option<Outcome>>,
    known: Known,
    spare: &mut Vec<Vec<Charged>>,
) -> Decision<'p> {
    match one {
        Matched::Nothing | Matched::Exemption => Decision::NoLimit,
        Matched::Exempt(credential) => Decision::Exempt(credential),
        Matched::Rule(Candidate { rule: RuleRef::Written(rule), .. })
            if disposition == Disposition::Skipped =>
        {
            Decision::Skipped(rule)
        }
        Matched::Rule(Candidate { rule: RuleRef::Written(rule), series, .. }) if rule.is_unlimited() => {
            Decision::Unlimited(rule, series)
        }
        Matched::Rule(Candidate { rule: RuleRef::Written(rule), .. })
            if disposition == Disposition::Replaced =>
        {
            Decision::Replaced(rule)
        }
        Matched::Rule(Candidate { rule, credential, limits, series, .. }) => {
            if disposition == Disposition::Skipped || limits.is_empty() {
                return Decision::NoLimit;
            }
            let mut reached = true;
            let mut charged = spare.pop().unwrap_or_default();
            charged.clear();
            for (limit, key, _) in limits {
                match outcomes.next().flatten() {
                    Some(outcome) => {
                        let over = !outcome.admitted;
                        let outcome = reported(outcome, &rule);
                        let watched = rule.shadow;
                        charged.push(Charged { limit, key, outcome, refuses: false, over, watched });
                    }
                    None if known == Known::All => reached = false,
                    None => {}
                }
            }
            reached &= !charged.is_empty();
            match rule {
                RuleRef::Written(rule) if !reached => Decision::Skipped(rule),
                RuleRef::Sent(_) if !reached => Decision::NoLimit,
                rule => Decision::Counted(Counted { rule, credential, limits: charged, series }),
            }
        }
    }
}

/// A shadow rule's limits never say no; what they would have said shows in `used`, and in that nothing remains.
fn reported(outcome: Outcome, rule: &Rule) -> Outcome {
    if !rule.shadow {
        return outcome;
    }
    let remaining = if outcome.admitted { outcome.remaining } else { 0 };
    Outcome { admitted: true, retry_after: None, remaining, ..outcome }
}

/// Refused when any ordinary rule is over its limit, or when there are quota rules and every one of them is. Marks the
/// limits because of which that is so.
fn judge(decisions: &mut [Decision<'_>]) -> bool {
    let counted = || {
        decisions.iter().filter_map(|decision| match decision {
            Decision::Counted(counted) => Some(counted),
            _ => None,
        })
    };
    let ordinary = counted().any(|counted| !counted.rule.quota && counted.over_limit());
    let mut quotas = counted().filter(|counted| counted.rule.quota).peekable();
    let all_quotas = quotas.peek().is_some() && quotas.all(Counted::over_limit);

    for decision in decisions.iter_mut() {
        let Decision::Counted(counted) = decision else { continue };
        let decides = if counted.rule.quota { all_quotas } else { ordinary };
        for charged in &mut counted.limits {
            charged.refuses = decides && !charged.outcome.admitted;
        }
    }
    ordinary || all_quotas
}
