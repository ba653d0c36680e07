//! The vocabulary that all modules share: plain values, cheap to copy, with no IO, no locks and no clock.

mod catalog;
mod hits;
mod jitter;
mod key;
mod no_match;
mod outcome;
mod peer;
mod request;
mod time;
mod unit;

pub use catalog::{Catalog, DomainIndex, RuleIndex};
pub use hits::Hits;
pub use jitter::any_part;
pub use key::{CellKey, KeySecret};
pub use no_match::NoMatch;
pub use outcome::Outcome;
pub use peer::Peer;
pub use request::{Descriptor, Entry, LimitOverride, Request, lossy};
pub use time::{Reading, Timestamp};
pub use unit::Unit;

/// A list that nearly always has at most four members, and then needs no allocation.
pub type Few<T> = smallvec::SmallVec<[T; 4]>;

/// An empty list in the allocation of another one, whose members may have borrowed from something that is gone.
///
/// It takes no allocation when both kinds of members are of the same size, as they are when only lifetimes differ: the
/// standard library collects in place then.
pub fn recycled<A, B>(mut list: Vec<A>) -> Vec<B> {
    list.clear();
    list.into_iter().map(|_| unreachable!("the list is empty")).collect()
}
