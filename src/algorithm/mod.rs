//! The arithmetic of limits: `(allowance, cell, hits, now) → outcome`, with the cell brought up to date in place.
//!
//! Pure functions. Nothing here reads a clock, waits, locks or knows where a cell is kept.

mod fixed_window;

use std::fmt::Debug;
use std::time::Duration;

pub use fixed_window::FixedWindow;

use crate::model::{Hits, Outcome, Timestamp};

/// The numbers that a limit grants to whoever it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Hits per window.
    pub limit: u64,
    /// The window's length, never zero.
    pub window: Duration,
}

/// What a store keeps for one counter. Only the algorithm that wrote it reads it: a counter's key names its limit, and
/// a limit has one algorithm for life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cell {
    /// Nothing counted yet.
    #[default]
    Empty,
    /// Hits counted in one window.
    Window {
        /// When the window ends; from then on the cell says nothing.
        end: Timestamp,
        /// Hits counted so far.
        used: u64,
    },
}

impl Cell {
    /// Whether the cell can be forgotten: from `now` on it decides nothing any more.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        match self {
            Self::Empty => true,
            Self::Window { end, .. } => *end <= now,
        }
    }
}

/// A law of counting.
pub trait Algorithm: Debug + Send + Sync {
    /// Decides on `hits` at `now` and brings `cell` up to date.
    fn step(&self, allowance: &Allowance, cell: &mut Cell, hits: Hits, now: Timestamp) -> Outcome;
}
