//! How it stands with each xDS server that is asked.

use std::fmt;

use super::families::Families;
use crate::model::Timestamp;

/// How it stands with one xDS server.
#[derive(Clone, Debug, Default)]
pub struct XdsSource {
    /// Its name: `HOST:PORT`.
    pub name: String,
    /// Whether a connection to it is open.
    pub is_connected: bool,
    /// Whether the set that it sent last is refused.
    pub is_refused: bool,
    /// When it last sent a set without mistakes.
    pub updated: Option<Timestamp>,
    /// Sets that were put in force.
    pub updates: u64,
    /// Sets that were refused.
    pub nacks: u64,
}

/// Nothing where there are none.
pub(super) fn xds(sources: &[XdsSource], to: &mut Families<'_>) -> fmt::Result {
    if sources.is_empty() {
        return Ok(());
    }
    let of = |number: fn(&XdsSource) -> u64| {
        sources.iter().map(move |source| ([("source", source.name.as_str())], number(source)))
    };
    to.gauges(
        "spillway_xds_connected",
        "Whether a connection to the xDS server is open.",
        of(|source| u64::from(source.is_connected)),
    )?;
    to.gauges(
        "spillway_xds_stale",
        "Whether the configuration that the xDS server sent last is refused, so that one before is in force.",
        of(|source| u64::from(source.is_refused)),
    )?;
    to.gauges(
        "spillway_xds_last_update_timestamp_seconds",
        "When the xDS server last sent a configuration without mistakes, in seconds since 1970; 0 before the first.",
        of(|source| source.updated.map_or(0, |updated| updated.as_nanos() / 1_000_000_000)),
    )?;
    to.labelled(
        "spillway_xds_updates",
        "Configurations of the xDS server that were put in force.",
        of(|source| source.updates),
    )?;
    to.labelled(
        "spillway_xds_nacks",
        "Configurations of the xDS server that were refused for their mistakes; one that it sends again counts once.",
        of(|source| source.nacks),
    )
}
