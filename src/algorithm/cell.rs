//! What is kept of the past, for one counter.

use super::Log;
use crate::model::Timestamp;

/// What a store keeps for one counter: 24 bytes, and a log for a sliding window. Only the law that wrote it reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cell {
    /// Nothing counted yet.
    #[default]
    Empty,
    /// Hits counted in one fixed window.
    Window {
        /// When the window ends; from then on the cell says nothing.
        end: Timestamp,
        /// Hits counted so far.
        used: u64,
    },
    /// Hits counted in one period.
    Period {
        /// When the period ends; from then on the cell says nothing.
        end: Timestamp,
        /// Hits counted so far.
        used: u64,
        /// The period's length in whole seconds, rounded down: it tells a clock that stepped back into the period
        /// before from an anchor that was edited.
        length_s: u32,
    },
    /// A token bucket.
    Bucket {
        /// When the bucket will be full: GCRA's theoretical arrival time.
        tat: Timestamp,
        /// The time of the hit that was counted last.
        seen: Timestamp,
    },
    /// The hits of a sliding window.
    Log(Box<Log>),
}

impl Cell {
    /// Whether the cell can be forgotten: from `now` on it decides nothing any more.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.until() <= now
    }

    /// From when on it decides nothing any more.
    pub fn until(&self) -> Timestamp {
        match self {
            Self::Empty => Timestamp::EPOCH,
            Self::Window { end, .. } | Self::Period { end, .. } => *end,
            Self::Bucket { tat, .. } => *tat,
            Self::Log(log) => log.until(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cell;

    #[test]
    fn a_cell_is_three_words() {
        assert!(size_of::<Cell>() <= 24, "{}", size_of::<Cell>());
    }
}
