//! The limits of a rule with their numbers, or why none was charged.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Context;
use super::path::shown_counted;
use crate::engine::{Charged, Counted, Decision, Trace};
use crate::model::{Entry, Outcome, Timestamp};
use crate::policy::{CountBy, Limit, MatchResult, MatchedPath, OnStoreFailure, Policy, Rule};

/// One limit that was charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitExplained {
    /// What it grants to whoever asks.
    pub limit: Granted,
    /// What its counter belongs to: entries, a subject, a credential (which is not named). `None` for a limit that Envoy sent.
    pub counter: Option<String>,
    /// Its numbers after the call.
    pub numbers: Numbers,
}

/// What a limit grants to whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its name, where it has one of its own.
    pub name: Option<String>,
    /// Hits granted per window.
    pub requests: u64,
    /// The window, as in `minute`.
    pub window: String,
    /// Whether it is counted and never refused.
    pub shadow: bool,
    /// Whether it refuses only together with every other quota.
    pub quota: bool,
    /// Whether a request is answered only when its charge is kept.
    pub exact: bool,
    /// What becomes of it when the counters cannot be reached.
    pub on_store_failure: OnStoreFailure,
}

/// The numbers of a limit after a call. Times are in whole milliseconds, rounded up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Hits granted per window; of a bucket its burst.
    pub limit: u64,
    /// Hits counted.
    pub used: u64,
    /// Whole hits left.
    pub remaining: u64,
    /// Time until the limit is whole again.
    pub reset_after_ms: u64,
    /// Time until the same call could pass; `None` when it passes now, or never will.
    pub retry_after_ms: Option<u64>,
    /// Whether the call is within this limit.
    pub admitted: bool,
}

/// Why a rule that was matched charged no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCharged {
    /// None of its limits has a number for the subject.
    NoNumber,
    /// The subject is exempt.
    Exempt,
    /// Another rule of the request replaces the one of this label.
    Replaced(String),
    /// An earlier descriptor settled the request, so that the rule of this label was skipped.
    Skipped(String),
    /// The rule lets everything pass.
    Unlimited,
    /// The values of the request take too long to match, and it is refused for that.
    TooCostly,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The subject's id.
    pub id: String,
    /// The attributes that the limits of the rule ask for, sorted by name.
    pub attributes: Vec<(String, String)>,
}

/// Every limit that was charged, in the order of the policy.
pub(super) fn charged(
    decision: &Decision<'_>,
    trace: &Trace<'_>,
    entries: &[Entry<'_>],
    context: &Context<'_, '_>,
) -> Vec<LimitExplained> {
    let Decision::Counted(counted) = decision else { return Vec::new() };
    let each = counted.limits.iter().map(|charged| {
        let limit = &counted.rule.limits[charged.limit];
        let belongs_to = match trace {
            Trace::Walked(MatchResult::Node(matched)) => {
                Some(counter(limit, entries, matched, context.policy))
            }
            _ => None,
        };
        let limit = Granted::of(counted, charged, context.now);
        LimitExplained { limit, counter: belongs_to, numbers: Numbers::of(&charged.outcome) }
    });
    each.collect()
}

/// What a counter belongs to.
fn counter(limit: &Limit, entries: &[Entry<'_>], matched: &MatchedPath<'_>, policy: &Policy) -> String {
    let shown = |(entry, node)| shown_counted(entry, node, policy);
    let parts = limit.count_by.iter().flat_map(|part| match (part, &matched.credential) {
        (CountBy::Entries, _) => matched.steps(entries).map(shown).collect(),
        (CountBy::Entry(key), _) => {
            matched.steps(entries).filter(|(entry, _)| entry.key == key.as_bytes()).map(shown).collect()
        }
        (CountBy::Subject, Some(credential)) => vec![format!("subject {}", credential.subject.id())],
        (CountBy::Credential, Some(credential)) => {
            vec![format!("a credential of {}", credential.subject.id())]
        }
        (CountBy::Subject | CountBy::Credential, None) => Vec::new(),
    });
    parts.collect::<Vec<_>>().join(", ")
}

impl Granted {
    fn of(counted: &Counted<'_>, charged: &Charged, now: Timestamp) -> Self {
        let rule: &Rule = &counted.rule;
        let limit = &rule.limits[charged.limit];
        // The outcome of a bucket has the burst as its limit, which is what `used` and `remaining` share.
        let requests = limit.requests.granted(counted.credential.as_ref(), now);
        Self {
            name: (limit.name != rule.label).then(|| limit.name.clone()),
            requests: requests.unwrap_or(charged.outcome.limit),
            window: limit.window.to_string(),
            shadow: rule.shadow,
            quota: rule.quota,
            exact: limit.is_exact(),
            on_store_failure: limit.on_store_failure,
        }
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        write!(f, "{} per {}", self.requests, self.window)?;
        if self.shadow {
            f.write_str(", shadow mode: never refused")?;
        }
        if self.quota {
            f.write_str(", quota: refused only when every quota is used up")?;
        }
        if self.exact {
            f.write_str(", durable to the hit")?;
        }
        f.write_str(match self.on_store_failure {
            OnStoreFailure::Open => "",
            OnStoreFailure::Closed => ", refused while the store fails",
            OnStoreFailure::Local => ", counted in memory while the store fails",
        })
    }
}

impl Numbers {
    fn of(outcome: &Outcome) -> Self {
        Self {
            limit: outcome.limit,
            used: outcome.used,
            remaining: outcome.remaining,
            reset_after_ms: millis(outcome.full_after),
            retry_after_ms: outcome.retry_after.map(millis),
            admitted: outcome.admitted,
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reset = readable(self.reset_after_ms);
        write!(f, "used {} of {}, {} left, resets in {reset}", self.used, self.limit, self.remaining)?;
        match self.retry_after_ms {
            _ if self.admitted => Ok(()),
            Some(after) => write!(f, "; the same could pass in {}", readable(after)),
            None => f.write_str("; it costs more than the limit, and can never pass"),
        }
    }
}

/// Whole milliseconds, the last of which may not be over earlier.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Milliseconds as people say it: `0.25s`, `42s`, `5m 3s`, `11d 8h`.
fn readable(millis: u64) -> String {
    let whole = millis.div_ceil(1000);
    let two = |large: u64, of: &str, small: u64, part: &str| match whole % large / small {
        0 => format!("{}{of}", whole / large),
        rest => format!("{}{of} {rest}{part}", whole / large),
    };
    match whole {
        0..60 => seconds(millis),
        60..3_600 => two(60, "m", 1, "s"),
        3_600..86_400 => two(3_600, "h", 60, "m"),
        _ => two(86_400, "d", 3_600, "h"),
    }
}

/// Milliseconds as `42s` or `0.25s`.
fn seconds(millis: u64) -> String {
    let (whole, part) = (millis / 1000, format!(".{:03}", millis % 1000));
    format!("{whole}{}s", part.trim_end_matches('0').trim_end_matches('.'))
}

impl NotCharged {
    pub(super) fn of(decision: &Decision<'_>, trace: &Trace<'_>) -> Option<Self> {
        match decision {
            Decision::NoLimit => match trace {
                Trace::Walked(MatchResult::Node(matched)) => {
                    matched.node()?.rule.as_ref().map(|_| Self::NoNumber)
                }
                _ => None,
            },
            Decision::Counted(_) => None,
            Decision::Exempt(_) => Some(Self::Exempt),
            Decision::Replaced(rule) => Some(Self::Replaced(rule.label.clone())),
            Decision::Skipped(rule) => Some(Self::Skipped(rule.label.clone())),
            Decision::Unlimited(..) => Some(Self::Unlimited),
        }
    }
}

impl fmt::Display for NotCharged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber => f.write_str("none: the rule has no number for this subject"),
            Self::Exempt => f.write_str("none: the subject is exempt"),
            Self::Replaced(label) => write!(f, "`{label}` is replaced by another rule"),
            Self::Skipped(label) => {
                write!(f, "`{label}` is not charged: what came before it settles the request")
            }
            Self::Unlimited => f.write_str("unlimited"),
            Self::TooCostly => f.write_str(
                "none: the values of the request take too long to match with wildcards, so it is refused",
            ),
        }
    }
}

impl Subject {
    pub(super) fn of(matched: &MatchedPath<'_>, now: Timestamp) -> Option<Self> {
        let credential = matched.credential.as_ref()?;
        let limits =
            matched.node().and_then(|node| node.rule.as_ref()).into_iter().flat_map(|rule| &rule.limits);
        let asked: BTreeSet<&str> = limits.flat_map(|limit| limit.requests.attributes()).collect();
        let attributes = asked.into_iter().filter_map(|name| {
            let value = credential.attribute_at(name, now)?;
            Some((name.to_owned(), value.as_text().into_owned()))
        });
        Some(Self { id: credential.subject.id().to_owned(), attributes: attributes.collect() })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        for (at, (name, value)) in self.attributes.iter().enumerate() {
            write!(f, "{}{name}={value}", if at == 0 { " (" } else { ", " })?;
        }
        f.write_str(if self.attributes.is_empty() { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn times_are_told_in_the_units_that_people_use() {
        for (millis, expected) in [
            (0, "0s"),
            (250, "0.25s"),
            (42_000, "42s"),
            (59_001, "1m"),
            (60_000, "1m"),
            (303_000, "5m 3s"),
            (86_399_750, "1d"),
            (3_725_000, "1h 2m"),
            (981_827_366, "11d 8h"),
        ] {
            assert_eq!(readable(millis), expected, "{millis}");
        }
    }
}
