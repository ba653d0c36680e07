//! What one limit says about one request.

use std::time::Duration;

/// The numbers of one limit after one request, all computed from one clock reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the request stays within this limit. Exactly at the limit is within.
    pub admitted: bool,
    /// Hits granted per window.
    pub limit: u64,
    /// Hits counted in this window; exceeds `limit` where refused requests are counted.
    pub used: u64,
    /// Hits left in this window; 0 once `used` reached `limit`.
    pub remaining: u64,
    /// Time until the limit is whole again.
    pub reset_after: Duration,
    /// Time until this same request could pass; `None` when it passes now, or never will.
    pub retry_after: Option<Duration>,
}
