//! Deciding: match, charge, judge. One clock reading, one policy snapshot, one trip to the store.

mod answer;
mod fate;
mod sent;
mod trace;

use std::cmp::Reverse;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use answer::{Answer, Room, answer, answer_in};
pub use trace::{Trace, trace};

use self::fate::{Fate, fates, put_aside};
use crate::algorithm::{Charge as Share, Mode};
use crate::clock::Clock;
use crate::model::{CellKey, Descriptor, Entry, Few, Hits, Outcome, Reading, Request, Timestamp, recycled};
use crate::policy::{
    CountBy, Domain, Evaluate, KeyBuilder, Keyer, Landing, Limit, Part, Policy, Reached, Rule, Scratch,
};
use crate::store::{Charge, Store, StoreError};
use crate::subjects::Credential;

/// Decides requests against a policy that can be replaced while it runs.
#[derive(Debug)]
pub struct Engine<S, C> {
    policy: ArcSwap<Policy>,
    keyer: Keyer,
    /// Where the counters are kept.
    pub store: S,
    /// What the time is read from.
    pub clock: C,
}

/// All that was decided about one request.
#[derive(Debug)]
pub struct Verdict<'p> {
    /// What the wall clock showed at the one reading behind every number.
    pub now: Timestamp,
    /// Whether the request is to be refused.
    pub over_limit: bool,
    /// One for each descriptor, in order.
    pub decisions: Vec<Decision<'p>>,
    /// The first descriptor that tells who is asking, and who that is; whatever became of it.
    pub somebody: Option<(usize, Credential<'p>)>,
    /// The descriptors that reached neither a rule nor a node without one; all of them where no policy has the domain.
    pub unmatched: Unmatched,
    /// Goes back to where it came from.
    matched: Vec<Matched<'static>>,
    scratch: Option<Box<Scratch>>,
}

/// Descriptors of a request that reached nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// The place of the first of them.
    pub first: usize,
    /// How many there are.
    pub many: usize,
}

impl Unmatched {
    fn add(&mut self, at: usize) {
        if self.many == 0 {
            self.first = at;
        }
        self.many += 1;
    }
}

/// Room to decide in, to be used again for the next request: a decision takes no allocation then.
#[derive(Debug, Default)]
pub struct Desk {
    matched: Vec<Matched<'static>>,
    decisions: Vec<Decision<'static>>,
    scratch: Option<Box<Scratch>>,
}

impl Verdict<'_> {
    /// The room that was decided in.
    pub fn into_desk(self) -> Desk {
        Desk { matched: self.matched, decisions: recycled(self.decisions), scratch: self.scratch }
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

    /// The limit to tell about, of all that were charged, with what it was charged under and its numbers.
    pub fn told(&self) -> Option<(&Counted<'_>, &Limit, &Outcome)> {
        let counted = self.decisions.iter().filter_map(|decision| match decision {
            Decision::Counted(counted) => {
                let charged = counted.limits.iter().min_by_key(|charged| urgency(charged))?;
                Some((counted, &counted.rule.limits[charged.limit], charged))
            }
            _ => None,
        });
        counted
            .min_by_key(|(.., charged)| urgency(charged))
            .map(|(counted, limit, charged)| (counted, limit, &charged.outcome))
    }
}

/// What became of one descriptor.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each decision")]
pub enum Decision<'p> {
    /// It reached no rule, or a node without one (an exemption), or none of the rule's limits is meant for whoever asks; or,
    /// where another one settled the request, a limit of Envoy's that was not charged.
    Free,
    /// Whoever asks is exempt by name.
    Exempt(Credential<'p>),
    /// It reached a rule that another rule of the same request replaces; not charged.
    Replaced(&'p Rule),
    /// It reached a rule after the one that settled the request; not charged.
    PassedOver(&'p Rule),
    /// It reached a rule that lets everything pass; not charged.
    Unlimited(&'p Rule),
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
    pub limits: Few<Charged>,
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
    /// Whether it is only watched: in shadow mode.
    pub watched: bool,
}

impl Counted<'_> {
    /// Whether one of its limits refuses.
    pub fn over_limit(&self) -> bool {
        self.limits.iter().any(|charged| !charged.outcome.admitted)
    }

    /// The limit to tell about, with its numbers.
    pub fn told(&self) -> Option<(&Limit, &Outcome)> {
        let told = self.limits.iter().min_by_key(|charged| urgency(charged))?;
        Some((&self.rule.limits[told.limit], &told.outcome))
    }
}

/// Which of several limits is told about is the one for which this is least: of those that refuse the request the one that
/// takes longest (for ever, at worst), else the one with the fewest hits left, and of equals the one with the longer window.
/// Limits that are only watched come last.
pub(crate) fn urgency(charged: &Charged) -> impl Ord + use<> {
    let outcome = &charged.outcome;
    let patience =
        if charged.refuses { outcome.retry_after.unwrap_or(Duration::MAX) } else { Duration::ZERO };
    (!charged.refuses, charged.watched, Reverse(patience), outcome.remaining, Reverse(outcome.window))
}

/// A descriptor matched, before anything is charged.
#[derive(Debug)]
enum Matched<'p> {
    Nothing,
    /// A node without a limit.
    Exemption,
    Exempt(Credential<'p>),
    Rule(Candidate<'p>),
}

/// A rule that was reached, with the counters of those of its limits that are meant for whoever asks.
#[derive(Debug)]
struct Candidate<'p> {
    rule: RuleRef<'p>,
    credential: Option<Credential<'p>>,
    /// Each with the number it grants.
    limits: Few<(usize, CellKey, u64)>,
    /// Whether another rule of the request replaces it, or all of its limits.
    is_replaced: bool,
}

impl<S: Store, C: Clock> Engine<S, C> {
    /// An engine that enforces `policy` with counters in `store`.
    pub fn new(policy: Policy, store: S, clock: C) -> Self {
        policy.prepare();
        Self { policy: ArcSwap::from_pointee(policy), keyer: Keyer::random(), store, clock }
    }

    /// The policy in force; a request sees one from start to end.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The same for as long as a request takes: nothing is written that other threads read.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Enforces `policy` from the next request on. Counters stay, and so do tiers that were reached.
    pub fn publish(&self, mut policy: Policy) {
        policy.prepare();
        policy.succeed(&self.policy(), self.clock.now());
        self.policy.store(Arc::new(policy));
    }

    /// Decides `request` against `policy` and charges what it costs.
    pub async fn decide<'p>(
        &self,
        policy: &'p Policy,
        request: &Request<'_>,
    ) -> Result<Verdict<'p>, StoreError> {
        self.decide_at(Desk::default(), policy, request).await
    }

    /// The same in room that was used before.
    pub async fn decide_at<'p>(
        &self,
        desk: Desk,
        policy: &'p Policy,
        request: &Request<'_>,
    ) -> Result<Verdict<'p>, StoreError> {
        let reading = self.clock.read();
        let now = reading.wall;
        let (mut matched, mut decisions): (Vec<Matched<'p>>, _) =
            (recycled(desk.matched), recycled(desk.decisions));
        let Some(domain) = policy.domain(request.domain) else {
            decisions.extend(request.descriptors.iter().map(|_| Decision::Free));
            let (matched, scratch) = (recycled(matched), desk.scratch);
            let unmatched = Unmatched { first: 0, many: request.descriptors.len() };
            let somebody = None;
            return Ok(Verdict { now, over_limit: false, decisions, somebody, unmatched, matched, scratch });
        };
        let mut scratch = desk.scratch.unwrap_or_default();
        let (mut somebody, mut unmatched) = (None, Unmatched::default());
        matched.extend(request.descriptors.iter().enumerate().map(|(at, descriptor)| {
            let (one, credential) = self.reach(domain, descriptor, now, &mut scratch);
            somebody = somebody.or(credential.map(|credential| (at, credential)));
            if matches!(one, Matched::Nothing) {
                unmatched.add(at);
            }
            one
        }));
        put_aside(&mut matched);
        let fates = fates(&matched, domain.evaluate);

        let mut charges = Few::with_capacity(matched.len());
        for (stage, ((one, fate), descriptor)) in
            (0..).zip(matched.iter().zip(&fates).zip(&request.descriptors))
        {
            if let (Matched::Rule(candidate), Fate::Charged) = (one, fate) {
                charges.extend(candidate.charges(descriptor.hits, stage, reading));
            }
        }
        let mode = match domain.evaluate {
            Evaluate::Each => Mode::Each,
            Evaluate::AllOrNothing | Evaluate::FirstMatch => Mode::AllOrNothing,
            Evaluate::InOrder => Mode::InOrder,
        };
        let mut outcomes = self.store.apply(mode, &charges, reading.steady).await?.into_iter();
        decisions.extend(matched.drain(..).zip(fates).map(|(one, fate)| decision(one, fate, &mut outcomes)));
        let over_limit = judge(&mut decisions);
        Ok(Verdict {
            now,
            over_limit,
            decisions,
            somebody,
            unmatched,
            matched: recycled(matched),
            scratch: Some(scratch),
        })
    }

    /// What `descriptor` reaches, and who is behind it.
    fn reach<'p>(
        &self,
        domain: &'p Domain,
        descriptor: &Descriptor<'_>,
        now: Timestamp,
        scratch: &mut Scratch,
    ) -> (Matched<'p>, Option<Credential<'p>>) {
        let entries = domain.entries(&descriptor.entries);
        let entries = entries.as_slice();
        let reached = domain.walk(&entries, now, scratch);
        if let Some(sent) = descriptor.limit {
            return (Matched::Rule(self.sent(domain, &entries, sent, reached)), None);
        }
        let landing = match reached {
            Reached::Nothing { .. } => return (Matched::Nothing, None),
            Reached::Exempt(landing) => {
                let exempt = landing.credential.map_or(Matched::Exemption, Matched::Exempt);
                return (exempt, landing.credential);
            }
            Reached::Node(landing) => landing,
        };
        let credential = landing.credential;
        let matched = match landing.node().and_then(|node| node.rule.as_ref()) {
            None => Matched::Exemption,
            Some(rule) => {
                // Limits of one rule nearly always count by the same: what they share is hashed once.
                let mut shared: Option<(&[CountBy], KeyBuilder)> = None;
                let way = self.on_the_way(&entries, &landing);
                let granted = rule.limits.iter().enumerate().filter_map(|(at, limit)| {
                    let granted = limit.requests.granted(landing.credential.as_ref(), now)?;
                    let key = match &shared {
                        Some((by, key)) if **by == *limit.count_by => key,
                        _ => &shared.insert((&limit.count_by, self.key(limit, &way, &landing))).1,
                    };
                    Some((at, key.finish(limit.id), granted))
                });
                let limits = granted.collect();
                Matched::Rule(Candidate {
                    rule: RuleRef::Written(rule),
                    credential,
                    limits,
                    is_replaced: false,
                })
            }
        };
        (matched, credential)
    }

    /// What `limit` counts by, of whoever and whatever the entries on the way are.
    fn key(&self, limit: &Limit, way: &[OnTheWay<'_>], landing: &Landing<'_>) -> KeyBuilder {
        let mut key = self.keyer.start();
        for part in limit.count_by.iter() {
            match (part, &landing.credential) {
                (CountBy::Entries, _) => {
                    for entry in way {
                        key.push(&entry.key);
                        key.push(&entry.value);
                    }
                }
                (CountBy::Entry(name), _) => {
                    for entry in way.iter().filter(|entry| entry.name == name.as_bytes()) {
                        key.push(&entry.key);
                        key.push(&entry.value);
                    }
                }
                (CountBy::Subject, Some(credential)) => {
                    key.push(&self.keyer.part(credential.subject.id().as_bytes()));
                }
                (CountBy::Credential, Some(credential)) => {
                    key.push(&self.keyer.part(credential.id.as_bytes()));
                }
                (CountBy::Subject | CountBy::Credential, None) => {}
            }
        }
        key
    }

    /// The entries on the way, ready to be counted by: long ones are read once for all limits.
    fn on_the_way<'e>(&self, entries: &[Entry<'e>], landing: &'e Landing<'_>) -> Few<OnTheWay<'e>> {
        let parts = landing.steps(entries).map(|(entry, node)| OnTheWay {
            name: entry.key,
            key: self.keyer.part(entry.key),
            value: self.keyer.part(node.counted(entry.value)),
        });
        parts.collect()
    }
}

/// An entry that landed on a node, and what is counted of it.
struct OnTheWay<'e> {
    name: &'e [u8],
    key: Part<'e>,
    value: Part<'e>,
}

impl Candidate<'_> {
    /// Whether it says something about whoever asks: one of its limits is meant for them, or that there is none.
    fn applies(&self) -> bool {
        !self.limits.is_empty() || self.rule.is_unlimited()
    }

    fn charges(&self, hits: Hits, stage: u32, now: Reading) -> impl Iterator<Item = Charge> {
        self.limits.iter().map(move |&(at, key, granted)| {
            let limit = &self.rule.limits[at];
            let share = Share {
                law: limit.window.law(granted, limit.requests.written(), self.credential.as_ref(), now),
                limit: granted,
                hits,
                count_denied: limit.count_denied,
                settles: limit.settles,
                enforced: !self.rule.shadow,
                stage,
                cell: 0,
            };
            Charge { key, share }
        })
    }
}

/// Takes as many `outcomes` as charges were made of `one`.
fn decision<'p>(
    one: Matched<'p>,
    fate: Fate,
    outcomes: &mut impl Iterator<Item = Option<Outcome>>,
) -> Decision<'p> {
    match one {
        Matched::Nothing | Matched::Exemption => Decision::Free,
        Matched::Exempt(credential) => Decision::Exempt(credential),
        Matched::Rule(Candidate { rule: RuleRef::Written(rule), .. }) if fate == Fate::PassedOver => {
            Decision::PassedOver(rule)
        }
        Matched::Rule(Candidate { rule: RuleRef::Written(rule), .. }) if rule.is_unlimited() => {
            Decision::Unlimited(rule)
        }
        Matched::Rule(Candidate { rule: RuleRef::Written(rule), .. }) if fate == Fate::Replaced => {
            Decision::Replaced(rule)
        }
        Matched::Rule(Candidate { rule, credential, limits, .. }) => {
            if fate == Fate::PassedOver || limits.is_empty() {
                return Decision::Free;
            }
            let mut reached = true;
            let mut charged = Few::with_capacity(limits.len());
            for (limit, key, _) in limits {
                match outcomes.next().flatten() {
                    Some(outcome) => {
                        let outcome = told(outcome, &rule);
                        charged.push(Charged { limit, key, outcome, refuses: false, watched: rule.shadow });
                    }
                    None => reached = false,
                }
            }
            match rule {
                RuleRef::Written(rule) if !reached => Decision::PassedOver(rule),
                RuleRef::Sent(_) if !reached => Decision::Free,
                rule => Decision::Counted(Counted { rule, credential, limits: charged }),
            }
        }
    }
}

/// A shadow rule's limits never say no; what they would have said shows in `used`, and in that nothing remains.
fn told(outcome: Outcome, rule: &Rule) -> Outcome {
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

#[cfg(test)]
mod tests;
