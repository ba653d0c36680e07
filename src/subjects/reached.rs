//! Tiers that were reached, and which of them can be held.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::directory::{Directory, higher};
use super::value::Value;
use crate::model::Timestamp;

/// The tier that a subject has reached, and those that it reaches by time alone.
///
/// What was in force may not be in force any more when a process starts: the file may have changed meanwhile. So what it promised
/// is kept, with the times: a subject whose tier rose while nobody looked has risen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The attribute that holds the tier.
    pub attribute: String,
    /// The tier; none where all are still to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<i64>,
    /// Higher tiers, lowest first, and since when the subject has each, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<(u64, i64)>,
}

impl Reached {
    /// The tier at `now`.
    pub fn at(&self, now: Timestamp) -> Option<i64> {
        let now = seconds(now);
        let come = self.later.iter().filter(|(from, _)| *from <= now).map(|(_, tier)| Some(*tier));
        come.fold(self.tier, Option::max)
    }
}

fn seconds(time: Timestamp) -> u64 {
    time.as_nanos() / 1_000_000_000
}

/// The tiers that a policy has numbers for. A subject is held at no other: it might have no limit at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownTiers(Option<BTreeSet<i64>>);

impl KnownTiers {
    /// Of the tiers that were known only those which a further table lists are.
    pub fn listed(&mut self, table: impl Iterator<Item = i64>) {
        let table: BTreeSet<i64> = table.collect();
        self.0 = Some(match self.0.take() {
            Some(known) => known.intersection(&table).copied().collect(),
            None => table,
        });
    }

    /// The highest known tier that is not higher than `tier`.
    fn up_to(&self, tier: i64) -> Option<i64> {
        self.0.as_ref().map_or(Some(tier), |known| known.range(..=tier).next_back().copied())
    }
}

impl Directory {
    /// The attribute that holds the tier, where tiers follow from facts.
    pub fn tier_attribute(&self) -> Option<&str> {
        self.tiers.as_ref().map(|tiers| &*tiers.attribute)
    }

    /// What a subject has reached by `now`, or reaches as long as nothing changes. None when it has no tier and will have none.
    pub fn reached(&self, id: &str, now: Timestamp) -> Option<Reached> {
        let (tiers, subject) = (self.tiers.as_ref()?, self.subject(id)?);
        let tier = subject.tier(now).and_then(Value::as_number);
        let (mut highest, mut later) = (tier, Vec::new());
        for (from, value) in tiers.later(subject.facts(), now) {
            let value = value.as_number();
            if let Some(number) = value.filter(|_| value > highest) {
                highest = value;
                later.push((seconds(from), number));
            }
        }
        highest?;
        Some(Reached { attribute: tiers.attribute.to_string(), tier, later })
    }

    /// Lets a subject not fall below the `earlier` tier, or the next lower one that is `known`. Does nothing where there is no such
    /// subject or tiers do not follow from facts.
    pub fn hold(&mut self, id: &str, earlier: i64, known: &KnownTiers, now: Timestamp) {
        let Some(name) = self.tier_attribute().map(str::to_owned) else { return };
        let (Some(at), Some(floor)) = (self.roster.find(id), known.up_to(earlier).map(Value::Number)) else {
            return;
        };
        // Facts only grow into higher tiers with time, so that one that is as high now stays so without a floor.
        let tier = self.subject(id).and_then(|subject| subject.tier(now));
        if tier.is_none_or(|tier| higher(&floor, tier)) {
            let row = self.roster.row_mut(at);
            row.attributes = self.attributes.changed(row.attributes, &[(name, floor)]);
        }
    }

    /// Lets no subject fall below the tier it had in `before`, the directory that this one replaces, as far as it is `known`.
    ///
    /// Says nothing about subjects that are new, or when the two do not derive the same attribute.
    pub fn keep_known_tiers(&mut self, before: &Self, known: &KnownTiers, now: Timestamp) {
        if self.tiers.is_none() || self.tier_attribute() != before.tier_attribute() {
            return;
        }
        for at in 0..self.roster.len() {
            let id = self.roster.id(at);
            let earlier = before.subject(id).and_then(|subject| subject.tier(now)).and_then(Value::as_number);
            if let Some(earlier) = earlier {
                let id = id.to_owned();
                self.hold(&id, earlier, known, now);
            }
        }
    }

    /// The same where all tiers are known.
    pub fn keep_tiers(&mut self, before: &Self, now: Timestamp) {
        self.keep_known_tiers(before, &KnownTiers::default(), now);
    }
}
