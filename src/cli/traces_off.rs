//! Traces of calls, in a program that is built without them.

use super::reading::Wrong;
use crate::limiter::Limiter;
use crate::telemetry::Metrics;
use crate::traces::Exporter;
use std::sync::Arc;

/// What the environment says of traces means nothing.
#[derive(Debug)]
pub(super) struct Traces;

impl Traces {
    /// Nothing is traced.
    pub(super) fn none() -> Self {
        Self
    }

    /// Reads nothing.
    pub(super) fn read(_wrong: &mut Vec<Wrong>) -> Self {
        Self
    }

    /// Nothing was read.
    #[expect(clippy::unused_self, reason = "as the one that there is")]
    pub(super) fn ignored(&self) -> &[Wrong] {
        &[]
    }

    /// Starts nothing.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as the one that there is")]
    pub(super) fn start<S, C>(
        &self,
        _metrics: &Metrics,
        _limiter: &Arc<Limiter<S, C>>,
    ) -> Result<Option<Exporter>, String> {
        Ok(None)
    }
}
