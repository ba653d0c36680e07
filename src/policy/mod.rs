//! Compiled limits: which rule a descriptor reaches, and which counter it is charged to. Immutable once built.

mod key;
mod matcher;
mod pattern;
mod rule;

use std::collections::HashMap;

pub use key::{KeyBuilder, Keyer};
pub use matcher::{Level, Node, Place, Reached};
pub use pattern::Pattern;
pub use rule::{Limit, LimitId, Rule};

/// Every domain that was configured.
#[derive(Debug, Default)]
pub struct Policy {
    domains: HashMap<Box<[u8]>, Domain>,
}

/// The rules of one domain.
#[derive(Debug)]
pub struct Domain {
    /// Its name, which Envoy sends with every request.
    pub name: String,
    /// Its outermost descriptors.
    pub root: Level,
}

impl Policy {
    /// The rules of `name`, if that domain was configured.
    pub fn domain(&self, name: &[u8]) -> Option<&Domain> {
        self.domains.get(name)
    }

    /// The rules of `name`, which start out empty.
    pub fn domain_mut(&mut self, name: &str) -> &mut Domain {
        self.domains
            .entry(name.as_bytes().into())
            .or_insert_with(|| Domain { name: name.to_owned(), root: Level::default() })
    }

    /// Every domain, in no particular order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.values()
    }

    /// How many nodes of all domains carry a rule.
    pub fn rules(&self) -> usize {
        self.domains().map(|domain| domain.root.rules()).sum()
    }
}
