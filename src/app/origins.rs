//! Where configurations come from while the server runs.

use crate::config::Sources;
use crate::control::Watched;
use crate::xds::Followed;

/// Where configurations come from while the server runs.
#[derive(Debug, Default)]
pub struct Origins {
    /// Files that are read again when they change.
    pub files: Option<Watched>,
    /// What these files said when they were read first.
    pub read: Option<Sources>,
    /// Control planes, which may change their sets at any time.
    pub xds: Option<Xds>,
}

/// Control planes, and when to serve what they send.
#[derive(Debug)]
pub struct Xds {
    /// The control planes.
    pub followed: Followed,
    /// Whether to serve before each of them has sent a set without mistakes.
    pub starts_without: bool,
    /// Whether to be ready only while there is a domain.
    pub needs_a_domain: bool,
}

impl From<Option<Watched>> for Origins {
    fn from(files: Option<Watched>) -> Self {
        Self { files, ..Self::default() }
    }
}
