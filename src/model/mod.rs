//! The vocabulary every room shares: plain values, cheap to copy, with no IO, no locks and no clock.

mod hits;
mod key;
mod outcome;
mod request;
mod time;
mod unit;

pub use hits::Hits;
pub use key::CellKey;
pub use outcome::Outcome;
pub use request::{Descriptor, Entry, LimitOverride, Request, lossy};
pub use time::Timestamp;
pub use unit::Unit;

/// A list that nearly always has at most four members, and then needs no allocation.
pub type Few<T> = smallvec::SmallVec<[T; 4]>;
