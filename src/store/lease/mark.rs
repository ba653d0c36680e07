//! The mark of a reset, by which a process that holds a lease of the counter learns that the reset has given its hits back.
//!
//! A mark is a counter in the same store: a sliding window that has a hit for each reset. A lease is void where its counter was reset since
//! the lease's window began, so the mark is looked at over as much time as has passed since then. It could not be a window like the
//! counter's: one that begins with the reset would go on when the counter's has ended, and void leases of the next one.

use std::time::Duration;

use crate::algorithm::{Algorithm, Charge, Durability, FixedWindow, Share};
use crate::model::{CellKey, Hits, Timestamp};

/// How much the clocks of processes may differ, which tell each of them when a period begins.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(1);
/// How finely a store counts time, at the least.
const GRAIN: Duration = Duration::from_micros(1);

/// The charge that marks the counter of `of` as reset. It is there for as long as the window in which that happens.
pub(super) fn set(of: &Charge, stage: u32) -> Charge {
    let length = match of.share.algorithm {
        Algorithm::FixedWindow(FixedWindow::Period { start, end }) => end.since(start),
        algorithm => algorithm.window().unwrap_or_default(),
    };
    // Only the latest of several resets matters. Those before it go as the limit is exceeded.
    let hits = Share { hits: Hits::ONE, limit: 1, count_denied: true, enforced: false, ..of.share };
    charge(of.key, Share { algorithm: Algorithm::sliding_window(length), stage, cell: 0, ..hits })
}

/// The charge that is refused if the counter with this key was reset since its window began, which is that of `share` and is told to have
/// begun at `start`. It is made by the time `late`.
pub(super) fn refuses(key: CellKey, share: &Share, start: Timestamp, late: Timestamp) -> Charge {
    let differ = match share.algorithm {
        Algorithm::FixedWindow(FixedWindow::Period { .. }) => CLOCKS_DIFFER_BY,
        _ => GRAIN,
    };
    let algorithm = Algorithm::sliding_window(late.since(start).saturating_add(differ));
    let look = Share { algorithm, hits: Hits::Look, limit: 0, count_denied: false, enforced: true, ..*share };
    charge(key, Share { stage: 0, cell: 0, ..look })
}

/// A charge of the mark of the counter with this key. Where counters are on several servers both are on one.
fn charge(key: CellKey, share: Share) -> Charge {
    Charge { key: CellKey { low: !key.low, ..key }, durability: Durability::None, share }
}
