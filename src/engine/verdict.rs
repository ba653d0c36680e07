//! What was decided about a request, and by which limits.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::ops::Deref;
use std::time::Duration;

use super::answer::Texts;
use super::plan::Matched;
use super::scratch::Scratch;
use super::without_store::Closed;
use crate::model::{CellKey, NoMatch, Outcome, Timestamp, recycled};
use crate::policy::{Domain, Limit, Rule};
use crate::subjects::Credential;

/// All that was decided about one request.
#[derive(Debug)]
pub struct Verdict<'p> {
    /// What the wall clock showed at the one reading behind every number.
    pub now: Timestamp,
    /// The domain that it was decided in; `None` where no policy has it.
    pub domain: Option<&'p Domain>,
    /// Whether the request is to be refused.
    pub over_limit: bool,
    /// One for each descriptor, in order.
    pub decisions: Vec<Decision<'p>>,
    /// The first descriptor that says who is asking, and who that is; whatever became of it.
    pub somebody: Option<(usize, Credential<'p>)>,
    /// The descriptors that reached neither a rule nor a node without one; all of them where no policy has the domain.
    pub unmatched: Unmatched,
    /// Its values would take too long to match with the policy's wildcards: nothing was charged, and it is refused.
    pub too_costly: bool,
    /// What refused the request, where the store failed and the counters are not known.
    pub closed: Option<Closed<'p>>,
    /// Where the texts of the answer are written.
    pub(super) texts: RefCell<Texts>,
    pub(super) matched: Vec<Matched<'p>>,
    pub(super) scratch: Scratch,
}

/// Descriptors of a request that reached nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// The place of the first of them.
    pub first: usize,
    /// How many there are.
    pub many: usize,
    /// How many of them for each reason, as in [`NoMatch::ALL`]; nothing where no policy has the domain.
    pub by_reason: [usize; NoMatch::ALL.len()],
}

impl Unmatched {
    pub(super) fn add(&mut self, at: usize, reason: NoMatch) {
        if self.many == 0 {
            self.first = at;
        }
        self.many += 1;
        self.by_reason[reason as usize] += 1;
    }
}

impl Verdict<'_> {
    /// Whose credentials `…` stands for, in a request that is known from a log.
    pub fn stand_in(&self) -> Option<&str> {
        self.scratch.0.search.stand_in()
    }

    /// The buffers that it was decided in, for the next request.
    pub fn into_scratch(self) -> Scratch {
        let mut scratch = self.scratch;
        scratch.0.matched = recycled(self.matched);
        let mut decisions = self.decisions;
        scratch.0.charged.extend(decisions.drain(..).filter_map(|decision| match decision {
            Decision::Counted(counted) => Some(counted.limits),
            _ => None,
        }));
        scratch.0.decisions = recycled(decisions);
        scratch.0.texts = self.texts.into_inner();
        scratch
    }

    /// Takes back the texts of its answer, for the next one's.
    pub fn reclaim(&self, texts: Texts) {
        self.texts.replace(texts);
    }

    /// How long until the request could pass: the longest time of all limits that refuse it, quota rules included. `None`
    /// when it passes, or never will.
    pub fn retry_after(&self) -> Option<Duration> {
        let mut longest = None;
        for decision in &self.decisions {
            let Decision::Counted(counted) = decision else { continue };
            for charged in counted.limits.iter().filter(|charged| charged.refuses) {
                longest = longest.max(Some(charged.outcome.retry_after?));
            }
        }
        longest
    }

    /// The limit to report, of all that were charged, with what it was charged under and its numbers.
    pub fn reported(&self) -> Option<(&Counted<'_>, &Limit, &Outcome)> {
        let counted = self.decisions.iter().filter_map(|decision| match decision {
            Decision::Counted(counted) => {
                let charged = counted.limits.iter().min_by_key(|charged| report_priority(charged))?;
                Some((counted, &counted.rule.limits[charged.limit], charged))
            }
            _ => None,
        });
        counted
            .min_by_key(|(.., charged)| report_priority(charged))
            .map(|(counted, limit, charged)| (counted, limit, &charged.outcome))
    }
}

/// What became of one descriptor.
#[derive(Debug)]
pub enum Decision<'p> {
    /// It reached no rule, or a node without one (an exemption), or none of the rule's limits is meant for whoever asks; or,
    /// where another one settled the request, a limit of Envoy's that was not charged.
    NoLimit,
    /// Whoever asks is exempt by name.
    Exempt(Credential<'p>),
    /// It reached a rule that another rule of the same request replaces; not charged.
    Replaced(&'p Rule),
    /// It reached a rule after the one that settled the request; not charged.
    Skipped(&'p Rule),
    /// It reached a rule that lets everything pass; not charged. With what the rule's metrics name of it, where the policy asks
    /// for that.
    Unlimited(&'p Rule, Option<Box<str>>),
    /// It was charged to the limits of a rule.
    Counted(Counted<'p>),
}

/// The rule that a descriptor is charged under.
#[derive(Debug)]
pub enum RuleRef<'p> {
    /// A rule of the policy.
    Written(&'p Rule),
    /// One made of the limit that came with the request.
    Sent(Box<Rule>),
}

impl Deref for RuleRef<'_> {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        match self {
            Self::Written(rule) => rule,
            Self::Sent(rule) => rule,
        }
    }
}

/// A descriptor that was charged.
#[derive(Debug)]
pub struct Counted<'p> {
    /// What it was charged under.
    pub rule: RuleRef<'p>,
    /// Who was charged, if a rule asked.
    pub credential: Option<Credential<'p>>,
    /// What each limit that is meant for whoever asks says now. In shadow mode no limit says no.
    pub limits: Vec<Charged>,
    /// What the rule's metrics name of the descriptor, where the policy asks for that: `api_key=… > path=/leads`.
    pub series: Option<Box<str>>,
}

/// One limit of a rule, charged.
#[derive(Clone, Copy, Debug)]
pub struct Charged {
    /// Which of the rule's limits.
    pub limit: usize,
    /// Its counter.
    pub key: CellKey,
    /// Its numbers.
    pub outcome: Outcome,
    /// Whether it is because of this limit that the request is refused.
    pub refuses: bool,
    /// Whether it is over its limit, be it enforced or only watched.
    pub over: bool,
    /// Whether it is only watched: in shadow mode.
    pub watched: bool,
}

impl Counted<'_> {
    /// Whether one of its limits refuses.
    pub fn over_limit(&self) -> bool {
        self.limits.iter().any(|charged| !charged.outcome.admitted)
    }

    /// Whether its status says `OVER_LIMIT`: when one of its limits refuses, or would if the server did not only watch.
    pub fn tells_over_limit(&self) -> bool {
        self.over_limit() || self.rule.tells_over_limit && self.limits.iter().any(|charged| charged.over)
    }

    /// The limit to report, with its numbers.
    pub fn reported(&self) -> Option<(&Limit, &Outcome)> {
        let told = self.limits.iter().min_by_key(|charged| report_priority(charged))?;
        Some((&self.rule.limits[told.limit], &told.outcome))
    }
}

/// Which of several limits is reported is the one for which this is least: of those that refuse the request the one that
/// takes longest (for ever, at worst), else the one with the fewest hits left, and of equals the one with the longer window.
/// Limits that are only watched come last.
pub(crate) fn report_priority(charged: &Charged) -> impl Ord + use<> {
    let outcome = &charged.outcome;
    let patience =
        if charged.refuses { outcome.retry_after.unwrap_or(Duration::MAX) } else { Duration::ZERO };
    (!charged.refuses, charged.watched, Reverse(patience), outcome.remaining, Reverse(outcome.window))
}
