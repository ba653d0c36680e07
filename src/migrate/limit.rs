//! A limit of Limitador.

use super::condition::{Condition, Reference};
use crate::yaml::Span;

/// One limit, and where it was written.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) span: Span,
    /// Its own, or one that no other limit of the namespace has.
    pub(super) name: String,
    pub(super) max_value: u64,
    pub(super) seconds: u64,
    pub(super) conditions: Vec<Condition>,
    pub(super) variables: Vec<Reference>,
}

impl Limit {
    /// The entries that have to be there.
    pub(super) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.conditions.iter().map(|condition| &condition.of).chain(&self.variables)
    }

    /// Which of a request's descriptors it is about; 0 where it asks for nothing.
    pub(super) fn descriptor(&self) -> usize {
        self.references().next().map_or(0, |reference| reference.descriptor)
    }
}
