//! Control planes that configurations come from, and how each of them stands.

use crate::model::Timestamp;

/// How it stands with one control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name: `HOST:PORT`.
    pub name: String,
    /// Whether a connection to it is open.
    pub is_connected: bool,
    /// Whether it has sent a set without mistakes since the start.
    pub has_answered: bool,
    /// Why the last connection ended, or none came about; `None` while one is open.
    pub failure: Option<String>,
    /// What it calls the set that is in force, which means something to it alone; `None` before the first.
    pub version: Option<String>,
    /// How many resources that set has.
    pub resources: usize,
    /// When it last sent a set that is right, by the wall clock, be it another one or the same.
    pub updated: Option<Timestamp>,
    /// How many sets were put in force.
    pub accepted: u64,
    /// How many sets were refused. One that it sends again and again counts once.
    pub refused: u64,
    /// Whether the set that it sent last is refused.
    pub is_refused: bool,
}

impl Remote {
    /// One that has not been asked yet.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_connected: false,
            has_answered: false,
            failure: None,
            version: None,
            resources: 0,
            updated: None,
            accepted: 0,
            refused: 0,
            is_refused: false,
        }
    }
}
