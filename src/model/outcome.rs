//! What one limit says about one request.

use std::time::Duration;

/// The numbers of one limit after one request, all computed from one clock reading.
///
/// `used + remaining == limit` unless `used` exceeds the limit, and then `remaining` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the request stays within this limit. Exactly at the limit is within.
    pub admitted: bool,
    /// Hits granted per window; of a bucket its burst, which is what `used` and `remaining` share.
    pub limit: u64,
    /// Hits granted per window, of a bucket too: what refills in `window`.
    pub quota: u64,
    /// Hits counted after this request; exceeds `limit` where refused requests are counted, or where the limit was
    /// lowered meanwhile.
    pub used: u64,
    /// What `used` would be with this request: `used` where the request is counted, else that many hits more.
    pub attempted: u64,
    /// Whole hits left after this request; a part of a hit is none.
    pub remaining: u64,
    /// The window's length: of a period its end minus its start, of a bucket the time in which `limit` hits refill.
    pub window: Duration,
    /// Time until the first hit leaves: the window's end, the oldest live hit's, or a bucket's next whole hit. Zero
    /// when nothing is used, unless the window ends whether used or not. A sliding window that refuses reports
    /// `retry_after` here too, so that a client may wait for either.
    pub reset_after: Duration,
    /// Time until the limit is whole again: the window's end, the newest live hit's, or a full bucket.
    pub full_after: Duration,
    /// Time until this same request could pass if nobody else is counted meanwhile, to the nanosecond. `None` when it
    /// passes now, or never will, for it costs more than the limit or the burst.
    pub retry_after: Option<Duration>,
}
