//! What one configuration changes.

use crate::policy::Policy;

/// What a configuration has that the one before had not, and the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// How many rules there were.
    pub rules_before: usize,
    /// The names of the domains that came, in their order.
    pub added: Vec<String>,
    /// The names of the domains that went. Nothing limits their requests any more.
    pub removed: Vec<String>,
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
        }
    }
}
