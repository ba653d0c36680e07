//! What is kept of the past, for one counter.

use super::{Log, Worth};
use crate::model::Timestamp;

/// What a store keeps for one counter: 24 bytes, and a log for a sliding window. Only the algorithm that wrote it reads it.
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
        /// What would be lost with it.
        worth: Worth,
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
        /// What would be lost with it.
        worth: Worth,
    },
    /// A token bucket.
    Bucket {
        /// When the bucket will be full: GCRA's theoretical arrival time.
        tat: Timestamp,
        /// The time of the hit that was counted last.
        seen: Timestamp,
        /// What would be lost with it.
        worth: Worth,
    },
    /// The hits of a sliding window, and what would be lost with them.
    Log(Box<Log>, Worth),
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
            Self::Log(log, _) => log.until(),
        }
    }

    /// What would be lost with it: a store that is full forgets what is worth least.
    pub fn worth(&self) -> Worth {
        match self {
            Self::Empty => Worth::NOTHING,
            Self::Window { worth, .. }
            | Self::Period { worth, .. }
            | Self::Bucket { worth, .. }
            | Self::Log(_, worth) => *worth,
        }
    }

    /// Bytes that it keeps elsewhere.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Log(log, _) => size_of::<Log>() + log.heap_bytes(),
            _ => 0,
        }
    }

    pub(super) fn set_worth(&mut self, new: Worth) {
        match self {
            Self::Empty => {}
            Self::Window { worth, .. }
            | Self::Period { worth, .. }
            | Self::Bucket { worth, .. }
            | Self::Log(_, worth) => *worth = new,
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
