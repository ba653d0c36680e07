//! One limit that was charged, with its numbers: the same for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::way::shown;
use crate::model::{Entry, Outcome, lossy};
use crate::policy::{CountBy, Landing, Limit, Node, Policy, Rule};

/// One limit of a rule that was charged.
pub(super) struct OneLimit {
    pub(super) limit: String,
    pub(super) counter: Option<String>,
    pub(super) outcome: Outcome,
}

impl OneLimit {
    /// For programs.
    pub(super) fn object(self) -> Value {
        let Self { limit, counter, outcome } = self;
        json!({"limit": limit, "counter": counter, "numbers": {
            "limit": outcome.limit,
            "used": outcome.used,
            "remaining": outcome.remaining,
            "reset_after_ms": millis(outcome.full_after),
            "retry_after_ms": outcome.retry_after.map(millis),
            "admitted": outcome.admitted,
        }})
    }
}

/// For people.
pub(super) fn numbers(outcome: &Outcome) -> String {
    let refused = match outcome.retry_after {
        _ if outcome.admitted => String::new(),
        Some(after) => format!("; the same could pass in {}", seconds(after)),
        None => "; it costs more than the limit, and can never pass".to_owned(),
    };
    let (used, limit, left) = (outcome.used, outcome.limit, outcome.remaining);
    format!("used {used} of {limit}, {left} left, resets in {}{refused}", seconds(outcome.full_after))
}

/// To the millisecond, which is over then: `42s`, `0.25s`.
fn seconds(duration: Duration) -> String {
    let millis = millis(duration);
    let (whole, part) = (millis / 1000, format!(".{:03}", millis % 1000));
    format!("{whole}{}s", part.trim_end_matches('0').trim_end_matches('.'))
}

/// Whole milliseconds, the last of which may not be over earlier.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// What a counter belongs to. A credential is not named.
pub(super) fn counter(
    limit: &Limit,
    entries: &[Entry<'_>],
    landing: &Landing<'_>,
    policy: &Policy,
) -> String {
    let on_the_way = || landing.steps(entries);
    let value = |(entry, node): (&Entry<'_>, &Node)| {
        let counted = Entry { key: entry.key, value: node.counted(entry.value) };
        let shown = shown(&counted, policy);
        format!("{}={shown}", lossy(entry.key))
    };
    let parts = limit.count_by.iter().flat_map(|part| match (part, &landing.credential) {
        (CountBy::Entries, _) => on_the_way().map(value).collect(),
        (CountBy::Entry(key), _) => {
            on_the_way().filter(|(entry, _)| entry.key == key.as_bytes()).map(value).collect()
        }
        (CountBy::Subject, Some(credential)) => vec![format!("subject {}", credential.subject.id())],
        (CountBy::Credential, Some(credential)) => {
            vec![format!("a credential of {}", credential.subject.id())]
        }
        (CountBy::Subject | CountBy::Credential, None) => Vec::new(),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The limit as it holds for whoever asks.
pub(super) fn written(limit: &Limit, granted: u64, rule: &Rule) -> String {
    let name = if limit.name == rule.label { String::new() } else { format!("{}: ", limit.name) };
    let shadow = if rule.shadow { ", shadow mode: never refused" } else { "" };
    let quota = if rule.quota { ", quota: refused only when every quota is used up" } else { "" };
    format!("{name}{granted} per {}{shadow}{quota}", limit.window)
}
