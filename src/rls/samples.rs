//! What operators are shown of single requests: those that were refused, and those that no rule limits.
//!
//! Both are made for a sample only. A value is shown where it cannot be a credential, as far as the policy and the name of its
//! key tell; else `…` stands for it.

use crate::engine::{Decision, Verdict};
use crate::model::{Descriptor, Entry, NoMatch, Request, lossy};
use crate::policy::{MatchResult, Policy, Scratch};
use crate::telemetry::{Denial, Unmatched};

/// The most bytes of a value that are shown.
const LONGEST: usize = 128;
/// The most entries of a descriptor that are shown.
const MOST: usize = 12;
/// What the names of keys have in them whose values may be credentials.
const SECRETIVE: [&str; 9] =
    ["auth", "bearer", "cookie", "credential", "key", "password", "secret", "session", "token"];
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

/// Entries as `key=value`; of those from `plain` on no value is shown.
fn shown(policy: &Policy, entries: &[Entry<'_>], plain: usize) -> String {
    let first = entries.iter().take(MOST).enumerate();
    let first = first.map(|(at, entry)| format!("{}={}", short(entry.key), value(policy, entry, at < plain)));
    let more = (entries.len() > MOST).then(|| "…".to_owned());
    first.chain(more).collect::<Vec<_>>().join(", ")
}

fn value(policy: &Policy, entry: &Entry<'_>, is_plain: bool) -> String {
    let name = lossy(entry.key).to_lowercase();
    let secretive = !WRITTEN.contains(&&*name) && SECRETIVE.iter().any(|word| name.contains(word));
    if !is_plain || secretive || policy.domains().any(|domain| domain.is_secret(entry.key)) {
        return "…".to_owned();
    }
    short(entry.value)
}

fn short(text: &[u8]) -> String {
    match text.get(..LONGEST) {
        Some(first) if text.len() > LONGEST => lossy(first).into_owned() + "…",
        _ => lossy(text).into_owned(),
    }
}
