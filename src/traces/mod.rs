//! Spans of calls, which are sent to an OpenTelemetry collector by OTLP.
//!
//! A worker begins a [`Span`] for a call that is sampled, and hands it over when the call ends; a thread of its own collects spans
//! and sends them (`exporter`). Nobody waits for that thread: what it cannot take is dropped and counted. The official SDK is not
//! used, because it reads the environment by itself, keeps to itself what a collector refused, and brings a second HTTP client.
//! Its messages are what tests read the spans with.
//!
//! All of it is the feature `otlp`, without which no call is traced.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod context;
#[cfg(feature = "otlp")]
mod encode;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod options;
#[cfg(feature = "otlp")]
mod proto;
#[cfg(feature = "otlp")]
mod sampler;
#[cfg(feature = "otlp")]
mod span;

#[cfg(feature = "otlp")]
pub use exporter::Exporter;
#[cfg(not(feature = "otlp"))]
pub use off::{Exporter, Span, Tracer, WorkerTracer};
#[cfg(feature = "otlp")]
pub use options::{Endpoint, Protocol, TraceOptions};
#[cfg(feature = "otlp")]
pub use sampler::Sampler;
#[cfg(feature = "otlp")]
pub use span::{Span, Tracer, WorkerTracer};

/// What was decided on a call, as its span tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The domain of the request.
    pub domain: String,
    /// How many descriptors it has.
    pub descriptors: usize,
    /// The hits of all of them.
    pub hits: u64,
    /// Whether the overall code is `OVER_LIMIT`; else it is `OK`.
    pub is_over_limit: bool,
    /// The label of the rule whose limit the answer reports; none where no limit was charged.
    pub rule: Option<String>,
}
