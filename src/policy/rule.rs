//! What stands at the node that a descriptor reaches.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::algorithm::{Algorithm, Allowance};
use crate::model::Unit;

/// A limit, or the freedom from one, with how it is told and enforced.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its `name`, or else the way to it: `api_key > endpoint=POST /leads`.
    pub label: String,
    /// The name other rules can replace it by.
    pub name: Option<String>,
    /// What is counted; empty for `unlimited: true`.
    pub limits: Vec<Limit>,
    /// Names of the rules that are put aside when this one is reached in the same request.
    pub replaces: Vec<String>,
    /// Counted and reported, never refused.
    pub shadow: bool,
    /// Refuses only together with every other quota rule of the request.
    pub quota: bool,
    /// Tell metrics apart by every entry's value.
    pub detailed_metric: bool,
    /// What Envoy is told (as dynamic metadata) while the rule is not over its limit.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Rule {
    /// Whether it lets everything pass uncounted.
    pub fn is_unlimited(&self) -> bool {
        self.limits.is_empty()
    }
}

/// So many hits in a window.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Which limit this is, across reloads.
    pub id: LimitId,
    /// The numbers it grants.
    pub allowance: Allowance,
    /// The window's unit, as far as Envoy has a word for it.
    pub unit: Unit,
    /// How many units one window lasts.
    pub unit_multiplier: u32,
    /// The law it counts by.
    pub algorithm: &'static dyn Algorithm,
}

impl Limit {
    /// `requests` per `multiplier` units, in windows aligned to the epoch.
    pub fn per_unit(id: LimitId, requests: u32, unit: Unit, multiplier: u32) -> Self {
        let window = unit.length().saturating_mul(multiplier).max(Duration::from_nanos(1));
        Self {
            id,
            allowance: Allowance { limit: requests.into(), window },
            unit,
            unit_multiplier: multiplier,
            algorithm: &crate::algorithm::FixedWindow,
        }
    }
}

/// A limit's identity: its domain, the way to it and its window. A reload that leaves these alone keeps its counters;
/// the number granted may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitId(pub(super) u128);

impl LimitId {
    /// The identity that `parts` spell, each with its length.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        // Not secret and not random: an identity must outlive the process, and nobody gains from two of his own
        // limits meeting.
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        Self(hasher.finish128().as_u128())
    }
}
