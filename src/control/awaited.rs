//! The store, while a configuration waits until it can be read.

use super::publisher::Publisher;
use crate::clock::Clock;
use crate::store::Store;

/// A store that could not say what operators changed of subjects, so that a configuration without mistakes waits for it.
#[derive(Clone, Debug)]
pub struct AwaitedStore {
    /// Whether it seemed to be in order at the last look.
    was_in_order: bool,
}

impl AwaitedStore {
    /// The store of `publisher`. To be taken before a configuration is compiled that may have to wait for it.
    pub fn of<S: Store, C: Clock>(publisher: &Publisher<S, C>) -> Self {
        Self { was_in_order: publisher.can_read_store() }
    }

    /// Whether the store had failed at the last look and has recovered since. A store that is in order all the time and cannot be read
    /// all the same never does: that may be so for good, and to compile a configuration takes long.
    pub fn is_back<S: Store, C: Clock>(&mut self, publisher: &Publisher<S, C>) -> bool {
        let is_in_order = publisher.can_read_store();
        !std::mem::replace(&mut self.was_in_order, is_in_order) && is_in_order
    }
}
