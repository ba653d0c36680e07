//! Deciding: match, charge, judge. One clock reading, one policy snapshot, one trip to the store.

mod trace;

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use trace::{Trace, trace};

use crate::clock::Clock;
use crate::model::{CellKey, Descriptor, Entry, LimitOverride, Outcome, Request, Timestamp, lossy};
use crate::policy::{Domain, KeyBuilder, Keyer, Limit, LimitId, Policy, Reached, Rule};
use crate::store::{Charge, Store, StoreError};

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
    /// The one clock reading behind every number.
    pub now: Timestamp,
    /// Whether the request is to be refused.
    pub over_limit: bool,
    /// One for each descriptor, in order.
    pub decisions: Vec<Decision<'p>>,
}

/// What became of one descriptor.
#[derive(Debug)]
pub enum Decision<'p> {
    /// It reached no rule, or a node without one (an exemption), or its domain is unknown.
    Free,
    /// It reached a rule that another rule of the same request replaces; not charged.
    Replaced(&'p Rule),
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
    /// The counter of each of the rule's limits, with what it says now.
    pub outcomes: Vec<(CellKey, Outcome)>,
}

impl Counted<'_> {
    /// Whether a limit was passed; a shadow rule's limits never are, as far as anybody is told.
    pub fn over_limit(&self) -> bool {
        !self.rule.shadow && self.outcomes.iter().any(|(_, outcome)| !outcome.admitted)
    }

    /// The limit to tell about, with its numbers: the first that refuses, else the one with the fewest hits left.
    pub fn told(&self) -> Option<(&Limit, &Outcome)> {
        let limits = self.rule.limits.iter().zip(self.outcomes.iter().map(|(_, outcome)| outcome));
        limits.min_by_key(|(_, outcome)| (outcome.admitted, outcome.remaining))
    }
}

/// A descriptor matched, before anything is charged.
enum Matched<'p> {
    Nothing,
    Rule(RuleRef<'p>, KeyBuilder),
}

impl<S: Store, C: Clock> Engine<S, C> {
    /// An engine that enforces `policy` with counters in `store`.
    pub fn new(policy: Policy, store: S, clock: C) -> Self {
        Self::with_keyer(policy, store, clock, Keyer::random())
    }

    /// The same with counter keys under a secret of the caller's.
    pub fn with_keyer(policy: Policy, store: S, clock: C, keyer: Keyer) -> Self {
        Self { policy: ArcSwap::from_pointee(policy), keyer, store, clock }
    }

    /// The policy in force; a request sees one from start to end.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Enforces `policy` from the next request on. Counters stay.
    pub fn publish(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Decides `request` against `policy` and charges what it costs.
    ///
    /// Every rule that was reached is charged in full, whatever the others say, unless another one replaces it.
    pub async fn decide<'p>(
        &self,
        policy: &'p Policy,
        request: &Request<'_>,
    ) -> Result<Verdict<'p>, StoreError> {
        let now = self.clock.now();
        let matched = match policy.domain(request.domain) {
            Some(domain) => {
                request.descriptors.iter().map(|descriptor| self.reach(domain, descriptor)).collect()
            }
            None => request.descriptors.iter().map(|_| Matched::Nothing).collect::<Vec<_>>(),
        };

        let replaced: Vec<bool> = matched.iter().map(|one| is_replaced(one, &matched)).collect();
        let mut charges = Vec::with_capacity(matched.len());
        for ((one, replaced), descriptor) in matched.iter().zip(&replaced).zip(&request.descriptors) {
            if let (Matched::Rule(rule, key), false) = (one, replaced) {
                charges.extend(rule.limits.iter().map(|limit| Charge {
                    key: key.finish(limit.id),
                    algorithm: limit.algorithm,
                    allowance: limit.allowance,
                    hits: descriptor.hits,
                }));
            }
        }

        let outcomes = self.store.apply(&charges, now).await?;
        let mut told = charges.iter().map(|charge| charge.key).zip(outcomes);
        let decisions: Vec<_> = matched
            .into_iter()
            .zip(replaced)
            .map(|(one, replaced)| match one {
                Matched::Nothing => Decision::Free,
                Matched::Rule(RuleRef::Written(rule), _) if rule.is_unlimited() => Decision::Unlimited(rule),
                Matched::Rule(RuleRef::Written(rule), _) if replaced => Decision::Replaced(rule),
                Matched::Rule(rule, _) => {
                    let outcomes = told.by_ref().take(rule.limits.len()).collect();
                    Decision::Counted(Counted { rule, outcomes })
                }
            })
            .collect();
        Ok(Verdict { now, over_limit: is_over_limit(&decisions), decisions })
    }

    fn reach<'p>(&self, domain: &'p Domain, descriptor: &Descriptor<'_>) -> Matched<'p> {
        let mut key = self.keyer.start();
        if let Some(limit) = descriptor.limit {
            let mut count_by = |entry: &Entry<'_>| {
                key.push(entry.key);
                key.push(entry.value);
            };
            descriptor.entries.iter().for_each(&mut count_by);
            return Matched::Rule(RuleRef::Sent(Box::new(override_rule(domain, descriptor, limit))), key);
        }
        let reached = domain.root.walk(&descriptor.entries, |entry, node| {
            key.push(entry.key);
            key.push(node.counted(entry.value));
        });
        match reached {
            Reached::Node(node) => match &node.rule {
                Some(rule) => Matched::Rule(RuleRef::Written(rule), key),
                None => Matched::Nothing,
            },
            Reached::Nothing { .. } => Matched::Nothing,
        }
    }
}

/// The rule that a limit sent along with a descriptor stands for. It beats the policy's own, and shadow mode with it.
fn override_rule(domain: &Domain, descriptor: &Descriptor<'_>, limit: LimitOverride) -> Rule {
    let keys: Vec<_> = descriptor.entries.iter().map(|entry| lossy(entry.key)).collect();
    let id = LimitId::of([
        b"override".as_slice(),
        domain.name.as_bytes(),
        limit.unit.name().as_bytes(),
        &limit.unit_multiplier.to_le_bytes(),
    ]);
    Rule {
        label: format!("{} (limit from Envoy)", keys.join(" > ")),
        name: None,
        limits: vec![Limit::per_unit(id, limit.requests_per_unit, limit.unit, limit.unit_multiplier)],
        replaces: Vec::new(),
        shadow: false,
        quota: false,
        detailed_metric: false,
        metadata: None,
    }
}

/// Whether another rule of the same request replaces this one by its name.
fn is_replaced(one: &Matched<'_>, all: &[Matched<'_>]) -> bool {
    let Matched::Rule(rule, _) = one else { return false };
    let Some(name) = &rule.name else { return false };
    all.iter().any(|other| matches!(other, Matched::Rule(other, _) if other.replaces.contains(name)))
}

/// Refused when any ordinary rule is over its limit, or when there are quota rules and every one of them is.
fn is_over_limit(decisions: &[Decision<'_>]) -> bool {
    let (mut quotas, mut quotas_over) = (0, 0);
    for decision in decisions {
        let Decision::Counted(counted) = decision else { continue };
        match (counted.rule.quota, counted.over_limit()) {
            (false, true) => return true,
            (false, false) => {}
            (true, over) => {
                quotas += 1;
                quotas_over += usize::from(over);
            }
        }
    }
    quotas > 0 && quotas == quotas_over
}

#[cfg(test)]
mod tests;
