//! The buffers that a decision takes, from one request to the next.

use super::answer::Texts;
use super::disposition::Disposition;
use super::plan::Matched;
use super::{Charged, Decision};
use crate::algorithm::Charge;
use crate::model::{Descriptor, Request, recycled};
use crate::policy::Scratch as Search;

/// The most descriptors whose buffers are kept.
const LONGEST: usize = 128;

/// The buffers of one request, from decoding it to writing its answer. Used again for the next one they spare it every
/// allocation; made anew they cost one each.
///
/// A worker keeps some of them: one for each request that waits for its store, and one for the request that it is deciding.
#[derive(Debug, Default)]
pub struct Scratch(pub(super) Box<Buffers>);

#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) descriptors: Vec<Descriptor<'static>>,
    pub(super) search: Search,
    pub(super) matched: Vec<Matched<'static>>,
    pub(super) dispositions: Vec<Disposition>,
    pub(super) charges: Vec<Charge>,
    pub(super) decisions: Vec<Decision<'static>>,
    /// Lists for the limits of decisions.
    pub(super) charged: Vec<Vec<Charged>>,
    pub(super) texts: Texts,
}

impl Scratch {
    /// Buffers for a request of this subject's that is known from a log, where `…` stands for its credentials. They are not to be
    /// used again, for another request's `…` is a value like any other.
    pub fn standing_in(subject: Option<&str>) -> Self {
        Self(Box::new(Buffers { search: Search::standing_in(subject), ..Buffers::default() }))
    }

    /// An empty list to decode descriptors into. Give it back with [`reclaim`](Self::reclaim).
    pub fn descriptors<'m>(&mut self) -> Vec<Descriptor<'m>> {
        recycled(std::mem::take(&mut self.0.descriptors))
    }

    /// Whether it is no larger than most requests make it.
    pub fn is_small(&self) -> bool {
        let Buffers { descriptors, matched, charges, decisions, charged, .. } = &*self.0;
        let lists = [descriptors.capacity(), matched.capacity(), decisions.capacity(), charged.capacity()];
        let longest = lists.into_iter().max().unwrap_or_default();
        longest <= LONGEST && charges.capacity() <= 4 * LONGEST
    }

    /// Takes back the list of a request that is done with.
    pub fn reclaim(&mut self, request: Request<'_>) {
        self.0.descriptors = recycled(request.descriptors);
    }
}
