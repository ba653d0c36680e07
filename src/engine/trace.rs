//! The way a descriptor takes through a policy, step by step, for people who wonder why.

use crate::model::{Descriptor, Entry};
use crate::policy::{Level, Node, Policy, Reached};

/// Where a descriptor's entries lead.
#[derive(Debug)]
pub enum Trace<'p> {
    /// No policy describes the domain.
    UnknownDomain,
    /// Envoy sent a limit along, which counts instead of the policy's.
    Override,
    /// The last entry landed on the last of these nodes.
    Reached(Vec<&'p Node>),
    /// An entry found no node.
    Lost {
        /// The nodes that the entries before it landed on.
        passed: Vec<&'p Node>,
        /// The descriptors it was looked for in.
        level: &'p Level,
    },
}

/// The way of `descriptor` through the policy of `domain`.
pub fn trace<'p>(policy: &'p Policy, domain: &[u8], descriptor: &Descriptor<'_>) -> Trace<'p> {
    let Some(domain) = policy.domain(domain) else { return Trace::UnknownDomain };
    if descriptor.limit.is_some() {
        return Trace::Override;
    }
    let mut passed = Vec::new();
    match domain.root.walk(&descriptor.entries, |_: &Entry<'_>, node| passed.push(node)) {
        Reached::Node(_) => Trace::Reached(passed),
        Reached::Nothing { level, .. } => Trace::Lost { passed, level },
    }
}
