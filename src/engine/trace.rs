//! Which nodes of a policy a descriptor matches, step by step, for people who wonder why.

use crate::model::{Descriptor, Timestamp};
use crate::policy::{MatchResult, Policy, Scratch};

/// Where a descriptor's entries lead.
#[derive(Debug)]
pub enum Trace<'p> {
    /// No policy describes the domain.
    UnknownDomain,
    /// Envoy sent a limit along, which counts instead of the policy's.
    Override,
    /// They were looked up in the policy.
    Walked(MatchResult<'p>),
}

/// What `descriptor` matches in the policy of `domain` at `now`. `…` stands for the credentials of the subject `stand_in`, if there is one.
pub fn trace<'p>(
    policy: &'p Policy,
    domain: &[u8],
    descriptor: &Descriptor<'_>,
    now: Timestamp,
    stand_in: Option<&str>,
) -> Trace<'p> {
    let Some(domain) = policy.domain(domain) else { return Trace::UnknownDomain };
    if descriptor.limit.is_some() {
        return Trace::Override;
    }
    let entries = domain.entries(&descriptor.entries);
    Trace::Walked(domain.walk(&entries.as_slice(), now, &mut Scratch::standing_in(stand_in)))
}
