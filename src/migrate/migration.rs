//! What comes of reading another service's limits.

use crate::config::Diagnostic;

/// What was found, and what there is to write.
#[derive(Debug, Default)]
pub struct Migration {
    /// What changes, and what is wrong.
    pub found: Vec<Diagnostic>,
    /// The names of files and their texts; none where what is there works as it is, or where something is wrong.
    pub files: Vec<(String, String)>,
    /// What was read: `a configuration of envoyproxy/ratelimit`.
    pub what: &'static str,
}
