//! What operators are shown of single requests: those that were refused, those that no rule limits, and all of them where an access
//! log is to have them.
//!
//! The former are made for a sample only. A value is shown where it cannot be a credential, as far as the policy and the name of its
//! key tell; else `…` stands for it.

use std::borrow::Cow;

use crate::engine::{Decision, Verdict};
use crate::model::{Descriptor, Entry, NoMatch, Request, lossy};
use crate::policy::{MatchResult, Policy, Scratch};
use crate::telemetry::{Denial, Unmatched};
use crate::traces::Decided;

/// The most bytes of a value that are shown.
const LONGEST: usize = 128;
/// The most entries of a descriptor that are shown.
const MOST: usize = 12;
/// What the names of keys have in them whose values may be credentials.
const SECRETIVE: [&str; 17] = [
    "assertion",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "csrf",
    "jwt",
    "key",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
];
/// Such names that are too short to be looked for within others.
const SECRETIVE_NAMES: [&str; 5] = ["otp", "pass", "pin", "sid", "sig"];
/// Names of Envoy's own descriptor keys for values that an operator wrote.
const WRITTEN: [&str; 4] = ["descriptor_key", "generic_key", "header_match", "remote_address"];

/// The refusal of `request`, by the limit that its answer reports; `None` where no counter refused it.
#[cold]
pub(super) fn denial(policy: &Policy, request: &Request<'_>, verdict: &Verdict<'_>) -> Option<Denial> {
    let (counted, limit, outcome) = verdict.reported()?;
    let is_it =
        |decision: &Decision<'_>| matches!(decision, Decision::Counted(one) if std::ptr::eq(one, counted));
    let at = verdict.decisions.iter().position(is_it)?;
    let somebody = counted.credential.or(verdict.somebody.map(|(_, somebody)| somebody));
    let retry_after = verdict.retry_after();
    Some(Denial {
        at: verdict.now,
        domain: short(request.domain),
        descriptor: shown(policy, &request.descriptors.get(at)?.entries, usize::MAX),
        rule: counted.rule.label.clone(),
        limit: limit.name.clone(),
        subject: somebody.map(|credential| credential.subject.id().to_owned()),
        granted: outcome.limit,
        used: outcome.used,
        retry_after_ms: retry_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// The descriptor of `request` that reached no rule, and where its way ended.
#[cold]
pub(super) fn unmatched(
    policy: &Policy,
    request: &Request<'_>,
    first: usize,
    verdict: &Verdict<'_>,
) -> Option<Unmatched> {
    let descriptor: &Descriptor<'_> = request.descriptors.get(first)?;
    let Some(domain) = policy.domain(request.domain) else {
        let descriptor = shown(policy, &descriptor.entries, 0);
        return Some(Unmatched {
            domain: short(request.domain),
            descriptor,
            entry: None,
            below: None,
            reason: None,
        });
    };
    let entries = domain.entries(&descriptor.entries);
    let entries = entries.as_slice();
    let MatchResult::Nothing { at, passed, level } =
        domain.walk(&entries, verdict.now, &mut Scratch::default())
    else {
        return None;
    };
    let reason = level.no_match(entries.get(at));
    // The value of a key that the policy has not at all may be anything, a misplaced credential too.
    let plain = at + usize::from(reason == NoMatch::UnknownValue);
    let entry = entries.get(at).map(|entry| (short(entry.key), value(policy, entry, at < plain)));
    let below = passed.last().map(|node| (node.place.file.to_string(), node.place.line, node.place.column));
    let descriptor = shown(policy, &entries, plain);
    Some(Unmatched { domain: domain.name.clone(), descriptor, entry, below, reason: Some(reason) })
}

/// What the span of a call tells of its decision.
#[cold]
pub(super) fn decided(request: &Request<'_>, verdict: &Verdict<'_>) -> Decided {
    let hits = request.descriptors.iter().map(|descriptor| descriptor.hits.cost());
    Decided {
        domain: short(request.domain),
        descriptors: request.descriptors.len(),
        hits: hits.fold(0, u64::saturating_add),
        is_over_limit: verdict.over_limit,
        rule: verdict.reported().map(|(counted, ..)| counted.rule.label.clone()),
    }
}

/// An entry as `key=value`, for the metadata of an answer: as far as it is no credential, and a long one cut.
#[cold]
pub(super) fn shown_entry(policy: &Policy, key: &[u8], of_key: &[u8]) -> String {
    format!("{}={}", short(key), value(policy, &Entry { key, value: of_key }, true))
}

/// Entries as `key=value`; of those from `plain` on no value is shown.
fn shown(policy: &Policy, entries: &[Entry<'_>], plain: usize) -> String {
    let first = entries.iter().take(MOST).enumerate();
    let first = first.map(|(at, entry)| format!("{}={}", short(entry.key), value(policy, entry, at < plain)));
    let more = (entries.len() > MOST).then(|| "…".to_owned());
    first.chain(more).collect::<Vec<_>>().join(", ")
}

fn value(policy: &Policy, entry: &Entry<'_>, is_plain: bool) -> String {
    if !is_plain || is_secretive(entry.key) || policy.domains().any(|domain| domain.is_secret(entry.key)) {
        return "…".to_owned();
    }
    short(&without_query(entry.value))
}

/// `path?a=…&b=…` for a path with a query: what stands in it may be anything, a token too.
fn without_query(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(at) = value.iter().position(|byte| *byte == b'?') else { return Cow::Borrowed(value) };
    let (path, query) = value.split_at(at + 1);
    let mut shown = path.to_vec();
    // More than is shown need not be made.
    for (number, part) in query.split(|byte| matches!(byte, b'&' | b';')).take(LONGEST).enumerate() {
        if number > 0 {
            shown.push(b'&');
        }
        match part.iter().position(|byte| *byte == b'=') {
            Some(end) => shown.extend(&part[..=end]),
            None if part.is_empty() => continue,
            None => {}
        }
        shown.extend("…".as_bytes());
    }
    Cow::Owned(shown)
}

/// Whether values of this key may be credentials, as far as its name tells.
pub(super) fn is_secretive(key: &[u8]) -> bool {
    let name = lossy(key).to_lowercase();
    let is_word =
        |word: &&str| name.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|part| part == *word);
    !WRITTEN.contains(&&*name)
        && (SECRETIVE.iter().any(|word| name.contains(word)) || SECRETIVE_NAMES.iter().any(is_word))
}

fn short(text: &[u8]) -> String {
    match text.get(..LONGEST) {
        Some(first) if text.len() > LONGEST => lossy(first).into_owned() + "…",
        _ => lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_told_from_others() {
        for name in [
            "x-jwt",
            "JWT",
            "passwd",
            "user_pwd",
            "passphrase",
            "x-signature",
            "session_id",
            "sid",
            "x-sig",
            "csrf",
            "api_key",
        ] {
            assert!(is_secretive(name.as_bytes()), "{name}");
        }
        for name in ["path", "method", "user_id", "generic_key", "inside", "design", "hotpath", "plan"] {
            assert!(!is_secretive(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn of_a_query_only_names_are_shown() {
        let policy = Policy::default();
        for (sent, shown) in [
            ("/x?access_token=SECRET&page=2", "/x?access_token=…&page=…"),
            ("/x?SECRET", "/x?…"),
            ("/x?a=1;b=SECRET#c", "/x?a=…&b=…"),
            ("/x?", "/x?"),
            ("/x", "/x"),
        ] {
            let entry = Entry { key: b"path", value: sent.as_bytes() };
            assert_eq!(value(&policy, &entry, true), shown);
        }
    }
}
