//! What a descriptor costs.

use std::num::NonZeroU64;

/// What a descriptor asks of its limits.
///
/// The request's own `hits_addend` of 0 (or none) is one hit; a descriptor's own value beats the request's, and its 0
/// is a look that counts nothing (Envoy `RateLimitDescriptor.hits_addend`, `is_negative_hits`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// Tell the numbers, count nothing.
    Look,
    /// Count this many hits.
    Charge(NonZeroU64),
    /// Give this many hits back, never below zero used.
    Refund(NonZeroU64),
}

impl Hits {
    /// One hit, the cost of an ordinary request.
    pub const ONE: Self = Self::Charge(NonZeroU64::MIN);

    /// `n` hits to count, or a look when `n` is 0.
    pub fn charge(n: u64) -> Self {
        NonZeroU64::new(n).map_or(Self::Look, Self::Charge)
    }

    /// `n` hits to give back, or a look when `n` is 0.
    pub fn refund(n: u64) -> Self {
        NonZeroU64::new(n).map_or(Self::Look, Self::Refund)
    }

    /// The hits to count: 0 for a look or a refund.
    pub fn cost(self) -> u64 {
        match self {
            Self::Charge(n) => n.get(),
            Self::Look | Self::Refund(_) => 0,
        }
    }

    /// The count `used` becomes; saturates at both ends.
    pub fn applied_to(self, used: u64) -> u64 {
        match self {
            Self::Look => used,
            Self::Charge(n) => used.saturating_add(n.get()),
            Self::Refund(n) => used.saturating_sub(n.get()),
        }
    }
}
