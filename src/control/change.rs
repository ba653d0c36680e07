//! What one configuration changes.

use crate::policy::Policy;
use crate::telemetry::ConfigChange;

/// What a configuration has that the one before had not, and the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// How many rules there were.
    pub rules_before: usize,
    /// The names of the domains that came, in their order.
    pub added: Vec<String>,
    /// The names of the domains that went. Nothing limits their requests any more.
    pub removed: Vec<String>,
    /// How many subjects there were, and how many there are.
    pub subjects: [usize; 2],
}

impl Change {
    pub(super) fn between(before: &Policy, after: &Policy) -> Self {
        let missing_in = |other: &Policy, of: &Policy| {
            let names = of.domains().map(|domain| &domain.name);
            let mut names: Vec<String> =
                names.filter(|name| other.domain(name.as_bytes()).is_none()).cloned().collect();
            names.sort_unstable();
            names
        };
        Self {
            rules_before: before.rules(),
            added: missing_in(before, after),
            removed: missing_in(after, before),
            subjects: [before, after].map(|policy| {
                let directories = policy.domains().filter_map(|domain| domain.directory.as_ref());
                directories.map(|directory| directory.subjects()).sum()
            }),
        }
    }

    /// As events tell it.
    pub fn told(&self) -> ConfigChange<'_> {
        let Self { rules_before, added, removed, subjects } = self;
        ConfigChange { rules_before: *rules_before, added, removed, subjects: *subjects }
    }
}
