//! What stands at the node that a descriptor reaches.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::algorithm::{Algorithm, Calendar, Durability, Grant, billing_period, calendar_period};
use crate::model::{Reading, RuleIndex, Timestamp, Unit};
use crate::response::{Denial, HeaderSet};
use crate::subjects::{Credential, Value};

/// A list of limits (empty: everything passes), with how they are reported and enforced.
#[derive(Debug)]
pub struct Rule {
    /// Its `name`, or else the way to it: `api_key > endpoint=POST /leads`.
    pub label: String,
    /// The way to it, where its label is a `name`.
    pub path: Option<String>,
    /// The index of its metrics; `None` for the rule of a limit that Envoy sent with the request.
    pub index: Option<RuleIndex>,
    /// The name other rules can replace it by.
    pub name: Option<String>,
    /// What is counted; empty for `unlimited: true`.
    pub limits: Vec<Limit>,
    /// Names of the rules and limits that are put aside when this one is reached in the same request.
    pub replaces: Vec<String>,
    /// Counted and reported, never refused.
    pub shadow: bool,
    /// Whether its statuses say `OVER_LIMIT` although it refuses nothing: where the whole server only watches, as in
    /// envoyproxy/ratelimit, where that changes the overall code alone.
    pub tells_over_limit: bool,
    /// Refuses only together with every other quota rule of the request.
    pub quota: bool,
    /// Which values its metrics distinguish.
    pub metric_values: MetricValues,
    /// What Envoy gets (as dynamic metadata) while the rule is not over its limit.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Rule {
    /// Whether it lets everything pass uncounted.
    pub fn is_unlimited(&self) -> bool {
        self.limits.is_empty()
    }
}

/// Which values on the path to a rule its metrics distinguish, of those that the policy does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricValues {
    /// None: all hits of the rule are one series.
    #[default]
    Together,
    /// Those of descriptors with `value_to_metric`.
    OfSome,
    /// All of them: `detailed_metric`.
    OfAll,
}

/// A number of hits that a window grants.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Which limit this is, across reloads.
    pub id: LimitId,
    /// Its `name`, or the rule's label, for headers, bodies and people.
    pub name: String,
    /// Whether it was given that name, by which others can replace it.
    pub is_named: bool,
    /// Names of the rules and limits that are put aside when this one of several is charged in the same request.
    pub replaces: Vec<String>,
    /// How many hits a window grants, and to whom.
    pub requests: Requests,
    /// Which hits count, and for how long.
    pub window: Window,
    /// What one counter belongs to.
    pub count_by: Arc<[CountBy]>,
    /// Whether a refused request is counted too.
    pub count_denied: bool,
    /// Whether its charges come after the fact: they are always counted, and whoever comes next is refused once the limit is
    /// reached.
    pub settles: bool,
    /// Whether its counts survive a crash, where the store can keep them.
    pub durability: Durability,
    /// What becomes of a request when its counter cannot be reached.
    pub on_store_failure: OnStoreFailure,
    /// How its numbers are reported.
    pub shape: Arc<Shape>,
}

impl Limit {
    /// Whether a request is answered only when its charge is kept, where the store can keep it.
    pub fn is_exact(&self) -> bool {
        self.durability == Durability::Exact
    }
}

/// What becomes of a request whose counters cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStoreFailure {
    /// It passes: it is answered by an error, and Envoy's failure mode lets it pass without headers.
    #[default]
    Open,
    /// It is refused with the limit's own body.
    Closed,
    /// It is counted in this process's memory, against this replica's share of the limit.
    Local,
}

impl OnStoreFailure {
    /// The words for it in a policy file.
    pub const NAMES: [(&str, Self); 3] =
        [("open", Self::Open), ("closed", Self::Closed), ("local", Self::Local)];
}

/// How an answer reports the numbers of a limit.
#[derive(Debug, Default)]
pub struct Shape {
    /// Families of response headers.
    pub headers: Vec<Arc<HeaderSet>>,
    /// What a refusal says.
    pub denial: Option<Arc<Denial>>,
}

/// Whom or what a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountBy {
    /// Every entry on the way to the rule.
    Entries,
    /// The value of the entry with this key.
    Entry(String),
    /// The subject, whichever of its credentials is used.
    Subject,
    /// The credential.
    Credential,
    /// Everybody who comes to the limit, whatever the entries are.
    Domain,
}

/// The number of hits that a window grants.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Where the number comes from.
    pub source: Source,
    /// An attribute that replaces it, for whoever has it.
    pub instead: Option<String>,
    /// An attribute that caps it, for whoever has it.
    pub at_most: Option<String>,
}

/// Where a number comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// It is written in the policy.
    Fixed(u64),
    /// It depends on an attribute: a plan, a tier.
    Table {
        /// The attribute.
        by: String,
        /// Its values, each with a number.
        values: Vec<(String, u64)>,
        /// The number for whoever has none of these values, or lacks the attribute.
        otherwise: Option<u64>,
    },
    /// It is an attribute. Whoever lacks the attribute does not have this limit.
    Attribute(String),
}

impl Requests {
    /// A number written in the policy.
    pub const fn fixed(number: u64) -> Self {
        Self { source: Source::Fixed(number), instead: None, at_most: None }
    }

    /// The number written in the policy, if it is one number for all.
    pub fn written(&self) -> Option<u64> {
        match self.source {
            Source::Fixed(number) => Some(number),
            Source::Table { .. } | Source::Attribute(_) => None,
        }
    }

    /// The attributes that the number depends on.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let source = match &self.source {
            Source::Fixed(_) => None,
            Source::Table { by: name, .. } | Source::Attribute(name) => Some(name),
        };
        source.into_iter().chain(&self.instead).chain(&self.at_most).map(String::as_str)
    }

    /// The number for whoever `credential` stands for; `None` when the limit is not theirs.
    pub fn granted(&self, credential: Option<&Credential<'_>>, now: Timestamp) -> Option<u64> {
        let attribute = |name: &str| credential?.attribute_at(name, now);
        let number = |name: &str| attribute(name)?.as_number().and_then(|number| u64::try_from(number).ok());
        let own = self.instead.as_deref().and_then(number);
        let granted = own.or_else(|| match &self.source {
            Source::Fixed(number) => Some(*number),
            Source::Table { by, values, otherwise } => {
                let value = attribute(by).map(Value::as_text);
                let row = value.and_then(|value| values.iter().find(|(name, _)| *name == value));
                row.map(|(_, number)| *number).or(*otherwise)
            }
            Source::Attribute(name) => number(name),
        })?;
        Some(self.at_most.as_deref().and_then(number).map_or(granted, |most| granted.min(most)))
    }
}

/// Which hits count, and for how long.
#[derive(Clone, Debug)]
pub enum Window {
    /// Those since the last multiple of a unit since the epoch, as envoyproxy/ratelimit counts.
    Unit(Unit, u32),
    /// As an algorithm with a window of one length has it.
    Length(Algorithm),
    /// Those since the subject's subscription was renewed. Without an anchor, since the first of the month in UTC.
    BillingPeriod,
    /// Those of the current period of the calendar in a time zone.
    Calendar(Calendar, jiff::tz::TimeZone),
}

impl Window {
    /// The algorithm with its parameters at `now`, for whoever is granted `limit` where the policy says `written`.
    pub fn algorithm(
        &self,
        limit: u64,
        written: Option<u64>,
        credential: Option<&Credential<'_>>,
        now: Reading,
    ) -> Algorithm {
        let algorithm = match self {
            Self::Unit(unit, multiplier) => Algorithm::aligned(unit.length().saturating_mul(*multiplier)),
            Self::Length(algorithm) => *algorithm,
            Self::BillingPeriod => {
                let subject = credential.map(|credential| credential.subject);
                let anchor = subject.and_then(|subject| subject.billing_anchor()).unwrap_or(Timestamp::EPOCH);
                let zone = subject.and_then(|subject| subject.time_zone());
                let (start, end) = billing_period(anchor, zone.unwrap_or(&jiff::tz::TimeZone::UTC), now.wall);
                Algorithm::period(start, end)
            }
            Self::Calendar(calendar, zone) => {
                let (start, end) = calendar_period(*calendar, zone, now.wall);
                Algorithm::period(start, end)
            }
        };
        algorithm.granted(Grant { limit, written, behind: now.behind() })
    }

    /// How long it is, if it is always as long.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Self::Unit(unit, multiplier) => Some(unit.length().saturating_mul(*multiplier)),
            Self::Length(algorithm) => algorithm.window(),
            Self::BillingPeriod | Self::Calendar(..) => None,
        }
    }

    /// How it goes into a limit's identity. Numbers that may change between reloads are left out.
    pub fn tag(&self) -> String {
        match self {
            Self::Unit(unit, _) => unit.name().to_owned(),
            Self::Length(algorithm) => {
                format!("{} {}", algorithm.tag(), algorithm.window().unwrap_or_default().as_nanos())
            }
            Self::BillingPeriod => "billing period".to_owned(),
            Self::Calendar(calendar, zone) => {
                let name = match calendar {
                    Calendar::Day => "day",
                    Calendar::Week => "week",
                    Calendar::Month => "month",
                    Calendar::Year => "year",
                };
                format!("calendar {name} {}", zone.iana_name().unwrap_or("UTC"))
            }
        }
    }

    /// The window in the words of `ratelimit.v3`: a unit, and how many of it. `None` where Envoy has no words for it.
    pub fn in_units(&self) -> Option<(Unit, u32)> {
        match self {
            Self::Unit(unit, multiplier) => Some((*unit, *multiplier)),
            Self::Length(algorithm) => algorithm.window().and_then(in_units),
            Self::BillingPeriod | Self::Calendar(..) => None,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit, 1) => write!(f, "{unit}"),
            Self::Unit(unit, many) => write!(f, "{many} {unit}s"),
            Self::Length(algorithm) => {
                f.write_str(&length(algorithm.window().unwrap_or_default()))?;
                algorithm.describe(f)
            }
            Self::BillingPeriod => f.write_str("billing period"),
            Self::Calendar(calendar, zone) => {
                let name = format!("{calendar:?}").to_lowercase();
                write!(f, "calendar {name} ({})", zone.iana_name().unwrap_or("UTC"))
            }
        }
    }
}

/// A length of time as policies write it: in the largest unit that it is a multiple of.
fn length(length: Duration) -> String {
    let letter = |unit: Unit| unit.name().chars().next().unwrap_or_default();
    match in_units(length) {
        Some((unit, many)) => format!("{many}{}", letter(unit)),
        None => format!("{}ms", length.as_millis()),
    }
}

/// The largest unit that `length` is a multiple of. Months and years are left to those who ask for them.
fn in_units(length: Duration) -> Option<(Unit, u32)> {
    [Unit::Week, Unit::Day, Unit::Hour, Unit::Minute, Unit::Second].into_iter().find_map(|unit| {
        let (length, unit_length) = (length.as_nanos(), unit.length().as_nanos());
        let whole = length > 0 && length % unit_length == 0;
        whole.then(|| u32::try_from(length / unit_length).ok().map(|many| (unit, many))).flatten()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_is_told_windows_in_its_own_units() {
        for (seconds, reported) in [
            (1, Some((Unit::Second, 1))),
            (90, Some((Unit::Second, 90))),
            (900, Some((Unit::Minute, 15))),
            (3600, Some((Unit::Hour, 1))),
            (7 * 86_400, Some((Unit::Week, 1))),
            (30 * 86_400, Some((Unit::Day, 30))),
        ] {
            assert_eq!(
                Window::Length(Algorithm::sliding_window(Duration::from_secs(seconds))).in_units(),
                reported
            );
        }
        assert_eq!(Window::Length(Algorithm::aligned(Duration::from_millis(500))).in_units(), None);
        assert_eq!(Window::BillingPeriod.in_units(), None);
    }
}
