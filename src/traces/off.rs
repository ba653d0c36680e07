//! What stands for traces in a program that is built without them: no tracer can be made, and every span is one that records nothing.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::Decided;
use crate::model::Peer;

/// There is none.
#[derive(Clone, Debug)]
pub enum Tracer {}

impl Tracer {
    /// For one worker.
    pub fn worker(&self) -> WorkerTracer {
        match *self {}
    }
}

/// There is none.
#[derive(Debug)]
pub enum WorkerTracer {}

impl WorkerTracer {
    /// The span of a call.
    pub fn begin(&self, _headers: &HeaderMap, _arrived: Instant, _peer: Peer) -> Span {
        match *self {}
    }
}

/// A span that records nothing.
#[derive(Debug)]
pub struct Span(());

impl Span {
    /// It.
    pub fn off() -> Self {
        Self(())
    }

    /// Records nothing.
    pub fn decided(&mut self, _decided: impl FnOnce() -> Decided) {}

    /// Records nothing.
    pub fn refused_beyond_bounds(&mut self, _is_over_limit: bool) {}

    /// Records nothing.
    pub fn settled(&mut self, _took: Duration, _error: Option<&'static str>) {}

    /// Records nothing.
    pub fn failed(&mut self, _code: tonic::Code, _message: &str) {}
}

/// There is none.
#[derive(Debug)]
pub enum Exporter {}

impl Exporter {
    /// What begins spans.
    pub fn tracer(&self) -> Tracer {
        match *self {}
    }

    /// Sends what is left.
    #[expect(clippy::unused_async, reason = "as the one that there is")]
    pub async fn finish(self) {
        match self {}
    }
}
