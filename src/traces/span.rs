//! The span of a call, from its headers to its answer.

use std::cell::Cell;
use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderMap;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Code;

use super::Decided;
use super::context::{self, Parent};
use super::sampler::Sampler;
use crate::model::{KeySecret, Peer, Timestamp};
use crate::telemetry::SpanCounts;

/// Begins the spans of calls.
#[derive(Clone)]
pub struct Tracer {
    sampler: Sampler,
    end: Arc<End>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// What becomes of spans that end.
pub(super) struct End {
    pub(super) queue: mpsc::Sender<Box<CallSpan>>,
    pub(super) counts: Arc<SpanCounts>,
    /// What the wall clock shows.
    pub(super) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Tracer {
    /// Gives the spans that `sampler` samples to `end`.
    pub(super) fn new(sampler: Sampler, end: End) -> Self {
        Self { sampler, end: Arc::new(end) }
    }

    /// For one worker.
    pub fn worker(&self) -> WorkerTracer {
        WorkerTracer { tracer: self.clone(), ids: Ids::random() }
    }
}

/// Begins the spans of the calls of one worker.
#[derive(Debug)]
pub struct WorkerTracer {
    tracer: Tracer,
    ids: Ids,
}

impl WorkerTracer {
    /// The span of a call that came with `headers` from `peer` and was read when it `arrived`. It records nothing if the call is not
    /// sampled.
    pub fn begin(&self, headers: &HeaderMap, arrived: Instant, peer: Peer) -> Span {
        let parent = Parent::of(headers);
        let trace_id = parent.map_or_else(|| self.ids.next(), |parent| parent.trace_id);
        if !self.tracer.sampler.samples(parent, trace_id) {
            return Span::off();
        }
        // The ids that are drawn here are random; of another one's only its flags say so.
        let known = parent.map_or(Parent::RANDOM, |parent| parent.flags & Parent::RANDOM);
        #[expect(clippy::cast_possible_truncation, reason = "any 64 bits of it are as random as the others")]
        let span_id = self.ids.next() as u64;
        Span(Some(Box::new(CallSpan {
            end: Arc::clone(&self.tracer.end),
            trace_id,
            span_id: span_id.max(1),
            settle_id: span_id.rotate_left(32).max(1),
            parent: parent.map(|parent| parent.span_id),
            flags: known | Parent::SAMPLED,
            state: parent.map(|_| context::state(headers)).unwrap_or_default(),
            peer,
            arrived,
            took: Duration::ZERO,
            ended: Timestamp::default(),
            outcome: Outcome::Abandoned,
            settled: None,
        })))
    }
}

/// Ids that nobody can guess, or draw a second time: counting on, under a secret of the worker's own.
#[derive(Debug)]
struct Ids {
    seeded: SipHasher13,
    drawn: Cell<u64>,
}

impl Ids {
    fn random() -> Self {
        let [high, low] = KeySecret::draw();
        Self { seeded: SipHasher13::new_with_keys(high, low), drawn: Cell::default() }
    }

    /// Never 0.
    fn next(&self) -> u128 {
        let drawn = self.drawn.get();
        self.drawn.set(drawn.wrapping_add(1));
        let mut hasher = self.seeded;
        hasher.write_u64(drawn);
        hasher.finish128().as_u128().max(1)
    }
}

/// The span of a call, if the call is sampled. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Option<Box<CallSpan>>);

impl Span {
    /// One that records nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// The call is answered by what `decided` says, which is asked only if that is recorded.
    pub fn decided(&mut self, decided: impl FnOnce() -> Decided) {
        if let Some(span) = &mut self.0 {
            span.outcome = Outcome::Decided(decided());
        }
    }

    /// The request was beyond a bound, and was answered without a decision.
    pub fn refused_beyond_bounds(&mut self, is_over_limit: bool) {
        if let Some(span) = &mut self.0 {
            span.outcome = Outcome::BeyondBounds { is_over_limit };
        }
    }

    /// The store was waited for, and answered now or failed with this `error`.
    pub fn settled(&mut self, took: Duration, error: Option<&'static str>) {
        if let Some(span) = &mut self.0 {
            span.settled = Some(Settled { took, until: span.arrived.elapsed(), error });
        }
    }

    /// The call is answered by an error.
    pub fn failed(&mut self, code: Code, message: &str) {
        if let Some(span) = &mut self.0 {
            span.outcome = Outcome::Failed { code, message: message.to_owned() };
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut span) = self.0.take() else { return };
        span.took = span.arrived.elapsed();
        span.ended = (span.end.now)();
        let end = Arc::clone(&span.end);
        if end.queue.try_send(span).is_err() {
            end.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a span has recorded.
pub(super) struct CallSpan {
    end: Arc<End>,
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    /// The id of the span of waiting for the store, if there is one.
    pub(super) settle_id: u64,
    pub(super) parent: Option<u64>,
    pub(super) flags: u8,
    pub(super) state: String,
    pub(super) peer: Peer,
    arrived: Instant,
    pub(super) took: Duration,
    pub(super) ended: Timestamp,
    pub(super) outcome: Outcome,
    pub(super) settled: Option<Settled>,
}

impl fmt::Debug for CallSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSpan")
            .field("trace_id", &self.trace_id)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody waited for its answer any more.
    Abandoned,
    Decided(Decided),
    BeyondBounds {
        is_over_limit: bool,
    },
    Failed {
        code: Code,
        message: String,
    },
}

/// How long the store was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) took: Duration,
    /// Since the call arrived.
    pub(super) until: Duration,
    /// Why it failed, as in `spillway_store_errors_total`.
    pub(super) error: Option<&'static str>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tracer whose spans come out at the other end, of which `most` may wait, and the counts of those that do not.
    pub(in crate::traces) fn tracer(
        sampler: Sampler,
        most: usize,
    ) -> (WorkerTracer, mpsc::Receiver<Box<CallSpan>>, Arc<SpanCounts>) {
        let (queue, ended) = mpsc::channel(most);
        let counts = Arc::new(SpanCounts::default());
        let end =
            End { queue, counts: Arc::clone(&counts), now: Box::new(|| Timestamp::from_secs(1_700_000_000)) };
        (Tracer::new(sampler, end).worker(), ended, counts)
    }

    pub(in crate::traces) fn headers(flags: &str) -> HeaderMap {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        [("traceparent", parent), ("tracestate", "vendor=1".to_owned())]
            .into_iter()
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn begin(tracer: &WorkerTracer, headers: &HeaderMap) -> Span {
        tracer.begin(headers, Instant::now(), Peer::Unix)
    }

    #[test]
    fn a_span_belongs_to_the_trace_of_its_caller() {
        let (tracer, mut ended, _) = tracer(Sampler::parent_based(0.0), 8);
        drop(begin(&tracer, &headers("03")));
        let span = ended.try_recv().unwrap();
        assert_eq!(span.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            (span.parent, span.flags, span.state.as_str()),
            (Some(0x00f0_67aa_0ba9_02b7), 3, "vendor=1")
        );
        assert_eq!(span.outcome, Outcome::Abandoned);
        drop(begin(&tracer, &headers("00")));
        drop(begin(&tracer, &HeaderMap::new()));
        assert!(ended.try_recv().is_err(), "neither an unsampled caller nor a rate of 0 records anything");
    }

    #[test]
    fn without_a_caller_each_span_begins_a_trace_of_its_own() {
        let (tracer, mut ended, _) = tracer(Sampler::parent_based(1.0), 8);
        let mut lone_state = headers("01");
        lone_state.remove("traceparent");
        for _ in 0..2 {
            drop(begin(&tracer, &lone_state));
        }
        let (one, other) = (ended.try_recv().unwrap(), ended.try_recv().unwrap());
        assert_ne!(one.trace_id, other.trace_id);
        assert_ne!(one.span_id, other.span_id);
        assert_ne!(one.span_id, one.settle_id);
        assert_eq!((one.parent, one.flags, one.state.as_str()), (None, 3, ""), "a state alone means nothing");
    }

    #[test]
    fn spans_that_nobody_takes_are_dropped_and_counted() {
        let (tracer, mut ended, counts) = tracer(Sampler::parent_based(1.0), 2);
        for _ in 0..5 {
            drop(begin(&tracer, &HeaderMap::new()));
        }
        assert_eq!(counts.queue_full.load(Ordering::Relaxed), 3);
        assert!(ended.try_recv().is_ok() && ended.try_recv().is_ok() && ended.try_recv().is_err());
    }

    #[test]
    fn workers_draw_different_ids() {
        let (one, other) = (Ids::random(), Ids::random());
        let drawn: std::collections::BTreeSet<u128> =
            (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(drawn.len(), 2000);
    }
}
