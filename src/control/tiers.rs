//! Tiers that were reached, kept where they outlive the process.
//!
//! Before a policy is in force its subjects are lifted to the tiers that the store knows they reached, and what they have reached
//! now is written. The store forgets nothing of this by itself: a subject that is removed and comes back has its tier again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Timestamp;
use crate::policy::{Domain, Policy};
use crate::store::{Record, RecordKind, Records, StoreError};
use crate::subjects::Reached;

/// Records that are written in one commit: so few that nobody who waits for a counter notices.
const BATCH: usize = 4096;

/// Why tiers were not kept.
#[derive(Debug, thiserror::Error)]
pub enum TiersNotKept {
    /// The store could not be read or written.
    #[error("tiers that were reached are not kept: {0}")]
    Store(#[from] StoreError),
    /// It has something else than a tier.
    #[error("the tier that subject `{id}` of domain `{domain}` has reached cannot be read: {source}")]
    Unreadable {
        /// The domain.
        domain: String,
        /// The subject.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Lets no subject of `policy` fall below a tier that `records` have, and writes what its subjects have reached by `now`. To be
/// called before `policy` is in force; it takes its time, and wants a thread that serves nobody.
///
/// # Errors
///
/// When the records cannot be read or written. What was read until then is held.
pub fn hold_tiers(policy: &mut Policy, records: &dyn Records, now: Timestamp) -> Result<(), TiersNotKept> {
    policy.domains_mut().try_for_each(|domain| hold(domain, records, now))
}

fn hold(domain: &mut Domain, records: &dyn Records, now: Timestamp) -> Result<(), TiersNotKept> {
    let known_tiers = domain.known_tiers();
    let Domain { name, directory, .. } = domain;
    let Some(directory) = directory else { return Ok(()) };
    let Some(attribute) = directory.tier_attribute().map(str::to_owned) else { return Ok(()) };
    let mut known: HashMap<String, Reached> = HashMap::new();
    let mut wrong = None;
    records.each(RecordKind::ReachedTier, name, &mut |id, value| {
        match serde_json::from_slice::<Reached>(value) {
            // Of a subject that is not there nothing is to be held.
            Ok(reached) if directory.subject(id).is_some() && reached.attribute == attribute => {
                known.insert(id.to_owned(), reached);
            }
            Ok(_) => {}
            Err(source) => {
                wrong = Some(TiersNotKept::Unreadable { domain: name.clone(), id: id.to_owned(), source });
            }
        }
    })?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    // One that is in force already holds them.
    if let Some(directory) = Arc::get_mut(directory) {
        for (id, reached) in &known {
            if let Some(tier) = reached.at(now) {
                directory.hold(id, tier, &known_tiers, now);
            }
        }
    }
    let mut changes = Vec::new();
    for id in directory.ids() {
        let earlier = known.get(id);
        let Some(reached) = all_in_all(directory.reached(id, now), earlier, now) else { continue };
        if Some(&reached) == earlier {
            continue;
        }
        let value = serde_json::to_vec(&reached).ok();
        let (scope, id) = (name.clone(), id.to_owned());
        changes.push(Record { kind: RecordKind::ReachedTier, scope, id, value });
        if changes.len() == BATCH {
            records.apply(std::mem::take(&mut changes))?;
        }
    }
    Ok(records.apply(changes)?)
}

/// What a subject has and will have, and no less than what it had: also a tier that it cannot be held at now.
fn all_in_all(reached: Option<Reached>, earlier: Option<&Reached>, now: Timestamp) -> Option<Reached> {
    let Some(mut reached) = reached else { return earlier.cloned() };
    reached.tier = reached.tier.max(earlier.and_then(|earlier| earlier.at(now)));
    reached.later.retain(|(_, tier)| Some(*tier) > reached.tier);
    Some(reached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Options, Sources};
    use crate::store::MemoryRecords;
    use crate::subjects::Value;

    const DAY: u64 = 86_400;
    const RULES: &str = "{tier: 0}, {tier: 1, spend: 5}, {tier: 2, spend: 5, days_since_first_payment: 7}";
    const NUMBERS: &str = "{0: 5, 1: 20, 2: 40}";

    /// A policy for subject `a`, which paid first at the epoch.
    fn policy(id: &str, spend: u32, rules: &str, numbers: &str) -> Policy {
        let policy = format!(
            "{{domain: d, subjects: d.subjects.yaml, descriptors: [{{key: key, subject: key, rate_limit: \
             {{requests_per_unit: {{by: tier, values: {numbers}}}, per: 1m}}}}]}}"
        );
        let subjects = format!(
            "subjects:\n- id: {id}\n  facts: {{spend: {spend}, first_payment: 1970-01-01T00:00:00Z}}\n  credentials: \
             [{{kind: key, value: k}}]\ntiers: {{attribute: tier, rules: [{rules}]}}"
        );
        let files = [("d.yaml".to_owned(), policy)];
        let sources = Sources::in_memory(files, [("d.subjects.yaml".to_owned(), subjects)]);
        config::compile(&sources, Options::default()).unwrap().policy
    }

    /// The tier of `id` once `policy` is in force on `day`.
    fn tier(records: &MemoryRecords, mut policy: Policy, id: &str, day: u64) -> Option<i64> {
        let now = Timestamp::from_secs(day * DAY);
        hold_tiers(&mut policy, records, now).unwrap();
        let directory = policy.domain(b"d").unwrap().directory.as_ref().unwrap();
        directory.subject(id).unwrap().attribute_at("tier", now).and_then(Value::as_number)
    }

    #[test]
    fn spend_that_goes_down_lowers_no_tier_though_nothing_is_left_in_memory() {
        let records = MemoryRecords::default();
        let starts = [(5, 0, 1), (0, 1, 1), (5, 8, 2), (4, 9, 2)];
        for (spend, day, expected) in starts {
            assert_eq!(tier(&records, policy("a", spend, RULES, NUMBERS), "a", day), Some(expected), "{day}");
        }
        assert_eq!(tier(&MemoryRecords::default(), policy("a", 4, RULES, NUMBERS), "a", 9), Some(0));
    }

    #[test]
    fn a_tier_that_was_reached_by_time_alone_is_kept() {
        let records = MemoryRecords::default();
        assert_eq!(tier(&records, policy("a", 5, RULES, NUMBERS), "a", 0), Some(1));
        // On the seventh day it rose. Nobody was told.
        assert_eq!(tier(&records, policy("a", 0, RULES, NUMBERS), "a", 8), Some(2));
        // What was promised by a policy that was replaced in time was not reached.
        let records = MemoryRecords::default();
        assert_eq!(tier(&records, policy("a", 5, RULES, NUMBERS), "a", 0), Some(1));
        assert_eq!(tier(&records, policy("a", 0, RULES, NUMBERS), "a", 1), Some(1));
        assert_eq!(tier(&records, policy("a", 0, RULES, NUMBERS), "a", 8), Some(1));
    }

    #[test]
    fn a_subject_that_is_removed_and_comes_back_has_its_tier() {
        let records = MemoryRecords::default();
        assert_eq!(tier(&records, policy("a", 5, RULES, NUMBERS), "a", 8), Some(2));
        assert_eq!(tier(&records, policy("b", 0, RULES, NUMBERS), "b", 9), Some(0));
        assert_eq!(tier(&records, policy("a", 0, RULES, NUMBERS), "a", 10), Some(2));
    }

    #[test]
    fn a_tier_without_a_number_is_the_next_lower_one_until_it_has_a_number_again() {
        let records = MemoryRecords::default();
        assert_eq!(tier(&records, policy("a", 5, RULES, NUMBERS), "a", 8), Some(2));
        let fewer = policy("a", 5, "{tier: 0}, {tier: 1, spend: 5}", "{0: 5, 1: 20}");
        assert_eq!(tier(&records, fewer, "a", 9), Some(1));
        assert_eq!(tier(&records, policy("a", 0, RULES, NUMBERS), "a", 10), Some(2));
    }

    #[test]
    fn what_is_no_tier_is_told_and_not_overwritten() {
        let records = MemoryRecords::default();
        let (scope, id, value) = ("d".to_owned(), "a".to_owned(), Some(b"{\"tier\": 2}".to_vec()));
        records.apply(vec![Record { kind: RecordKind::ReachedTier, scope, id, value }]).unwrap();
        let mut policy = policy("a", 5, RULES, NUMBERS);
        let error = hold_tiers(&mut policy, &records, Timestamp::EPOCH).unwrap_err();
        let expected =
            "the tier that subject `a` of domain `d` has reached cannot be read: missing field `attribute`";
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
