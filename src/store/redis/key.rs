//! What a server knows a counter by.

use super::options::RedisOptions;
use super::slots::slot_of;
use super::url::Kind;
use crate::model::CellKey;

/// Those of a cluster have what they count by as a tag, so that all limits of one client and one rule are in one slot.
pub(super) fn key(options: &RedisOptions, key: CellKey) -> Vec<u8> {
    let (prefix, tag) = (&options.prefix, key.counted_by());
    match options.kind {
        Kind::Cluster => format!("{prefix}{{{tag:04x}}}{:016x}{:016x}", key.high, key.low).into_bytes(),
        Kind::Single | Kind::Sentinel => format!("{prefix}{:016x}{:016x}", key.high, key.low).into_bytes(),
    }
}

/// The slot of a counter; always the same where there is one server.
pub(super) fn slot(options: &RedisOptions, counter: CellKey) -> u16 {
    match options.kind {
        Kind::Cluster => slot_of(&key(options, counter)),
        Kind::Single | Kind::Sentinel => 0,
    }
}
