//! A tier that follows from facts.

use std::time::Duration;

use super::value::Value;
use crate::model::Timestamp;

const DAY: u64 = 86_400;

/// What is known of a subject's payments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// In millionths of whatever it is counted in.
    pub(super) spend: Option<u64>,
    pub(super) first_payment: Option<Timestamp>,
}

/// One tier and its conditions, all of which must hold; a missing condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Always a number.
    pub(super) tier: Value,
    /// The least spend, in millionths.
    pub(super) spend: Option<u64>,
    /// The least time since the first payment, in days of 24 hours.
    pub(super) days: Option<u64>,
}

impl Rule {
    /// Since when the conditions hold, or from when on they will; never where time alone does not help.
    fn since(&self, facts: Facts) -> Option<Timestamp> {
        if self.spend.is_some_and(|least| facts.spend.is_none_or(|spend| spend < least)) {
            return None;
        }
        match self.days {
            None => Some(Timestamp::EPOCH),
            Some(days) => Some(facts.first_payment?.plus(Duration::from_secs(days.saturating_mul(DAY)))),
        }
    }

    fn holds(&self, facts: Facts, now: Timestamp) -> bool {
        let paid = self.spend.is_none_or(|least| facts.spend.is_some_and(|spend| spend >= least));
        let old = self.days.is_none_or(|days| {
            let length = Duration::from_secs(days.saturating_mul(DAY));
            facts.first_payment.is_some_and(|first| now >= first.plus(length))
        });
        paid && old
    }

    /// Whether whoever fulfils `other` fulfils this too.
    pub(super) fn asks_no_more_than(&self, other: &Self) -> bool {
        // A condition that is missing asks less than any that is there, as `None` is less than any `Some`.
        self.spend <= other.spend && self.days <= other.days
    }
}

/// How tiers follow from facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tiers {
    /// The attribute that holds the tier.
    pub(super) attribute: Box<str>,
    /// The lowest tier first; no tier twice.
    pub(super) rules: Vec<Rule>,
}

impl Tiers {
    /// The highest tier whose conditions all hold. It only grows with time.
    pub(super) fn reached(&self, facts: Facts, now: Timestamp) -> Option<&Value> {
        self.rules.iter().rev().find(|rule| rule.holds(facts, now)).map(|rule| &rule.tier)
    }

    /// The tiers that are reached after `now` by time alone, by their times.
    pub(super) fn later(&self, facts: Facts, now: Timestamp) -> Vec<(Timestamp, &Value)> {
        let rules = self.rules.iter().filter_map(|rule| Some((rule.since(facts)?, &rule.tier)));
        let mut later: Vec<_> = rules.filter(|(since, _)| *since > now).collect();
        later.sort_by_key(|(since, tier)| (*since, tier.as_number()));
        later
    }
}
