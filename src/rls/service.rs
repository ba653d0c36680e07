//! `ShouldRateLimit`, from the bytes of a request to the bytes of its response.
//!
//! It is written by hand instead of generated for tonic's codec. A call is one small message each way, so most of its time
//! went into tonic's machinery for streams. A service belongs to one thread, which writes its responses into one buffer.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use tokio::time::Instant;
use tonic::Status;

use super::beyond::{Bound, Undecided};
use super::codec::{PREFIX, decode, echo, encode};
use super::samples;
use crate::clock::Clock;
use crate::engine::{Decision, Scratch, Unmatched, Verdict, answer, counted_by};
use crate::limiter::{Change, NotNow, Notes, Worker};
use crate::model::{Catalog, Outcome, Peer, Request};
use crate::policy::Policy;
use crate::store::{Store, StoreError};
use crate::telemetry::{
    HeavyName, Metrics, NearLimit, Recorder, RuleHit, SentLimitLeftOut, StoreAsked, StoreFailed,
    StoreReplaced, Tally, UnknownDomain, UnmatchedDescriptors,
};
use crate::traces::Span;

/// The service's full name, by which health checks ask for it too.
pub const NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// The method's path.
pub(super) const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Bytes of a new response buffer. A response is cut from the buffer, which grows for a longer one. The buffer is replaced when
/// fewer than [`BUFFER_LEFT`] bytes are left, which are enough for nearly every response.
const BUFFER: usize = 16 << 10;
const BUFFER_LEFT: usize = 1 << 10;

/// What the span of a call says whose caller does not wait any more.
pub(super) const LATE: &str = "the caller's deadline was over before the request was decided";
/// What the answer to a call says whose decision panicked.
pub(super) const PANICKED: &str = "the call failed; the log of the server says why";

/// Who sent a request, and for how long they wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// When nobody waits for the answer any more, where the call says so.
    pub(super) deadline: Option<Instant>,
}

impl Caller {
    /// Whether the call's deadline has passed.
    pub(super) fn waits_no_longer(self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// What becomes of mistakes that a message has and that do not keep it from being decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistakes {
    /// They are counted and logged.
    AreTold,
    /// They were, when it was read before.
    WereTold,
}

/// Whether a request was decided at once.
pub(super) enum NowOrLater {
    /// It was.
    Now(Result<Bytes, Undecided>),
    /// It has to wait for the store: nothing was charged.
    Later(Mistakes),
}

/// Answers that leave together, to requests that were read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// When the requests were read.
    pub(super) arrived: Instant,
    /// How many answers there are.
    pub(super) answers: u64,
}

/// Answers `ShouldRateLimit` on one thread.
#[derive(Debug)]
pub struct RateLimitService<S: Store, C> {
    worker: Worker<S, C>,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    near_limit: NearLimit,
    buffer: RefCell<BytesMut>,
    /// Whether answers tell what was asked.
    tells_request: bool,
}

impl<S: Store, C: Clock> RateLimitService<S, C> {
    /// The service that has `worker` decide, and reports to `metrics` which limits are not there.
    pub fn new(worker: Worker<S, C>, metrics: Arc<Metrics>) -> Self {
        Self {
            worker,
            recorder: metrics.recorder(),
            near_limit: metrics.near_limit(),
            tells_request: metrics.tells_request(),
            metrics,
            buffer: RefCell::default(),
        }
    }

    /// Decides on `message` if the store needs no waiting.
    pub(super) fn answer_now(&self, message: &[u8], caller: Caller, span: &mut Span) -> NowOrLater {
        if !self.worker.may_decide_now() {
            return NowOrLater::Later(Mistakes::AreTold);
        }
        let mut scratch = self.worker.scratch();
        let request = match self.decode(&mut scratch, message, caller, Mistakes::AreTold) {
            Ok(request) => request,
            Err(undecided) => return NowOrLater::Now(Err(undecided)),
        };
        let policy = self.worker.limiter().engine.policy();
        match self.worker.decide_now(scratch, &policy, &request) {
            Ok(verdict) => NowOrLater::Now(self.write(&policy, message, request, verdict, caller, span)),
            Err(NotNow::Failed(error)) => NowOrLater::Now(Err(self.undecided(&error, caller).into())),
            Err(NotNow::Waits(mut scratch)) => {
                scratch.reclaim(request);
                self.worker.reuse(scratch);
                NowOrLater::Later(Mistakes::WereTold)
            }
        }
    }

    /// Decides on `message`. Keys and values stay where they are in it.
    pub(super) async fn answer(
        &self,
        message: &[u8],
        caller: Caller,
        mistakes: Mistakes,
        span: &mut Span,
    ) -> Result<Bytes, Undecided> {
        let mut scratch = self.worker.scratch();
        let request = self.decode(&mut scratch, message, caller, mistakes)?;
        let policy = self.worker.limiter().engine.policy();
        let decided = self.worker.decide(scratch, &policy, &request, caller.deadline).await;
        let Notes { failure, change, took } = self.worker.take_notes();
        if let Some(took) = took {
            self.recorder.store_took(took);
            let error = failure.as_ref().or(decided.as_ref().err());
            span.settled(took, error.map(StoreError::kind));
        }
        if let Some(change) = change {
            StoreAsked { again: change == Change::Closed }.emit(&self.metrics);
        }
        let verdict = decided.map_err(|error| self.undecided(&error, caller))?;
        if let Some(error) = failure {
            let refused = verdict.closed.is_some();
            StoreReplaced { error: &error, kind: error.kind(), refused }.emit(&self.metrics);
        }
        self.write(&policy, message, request, verdict, caller, span)
    }

    fn decode<'m>(
        &self,
        scratch: &mut Scratch,
        message: &'m [u8],
        Caller { peer, .. }: Caller,
        mistakes: Mistakes,
    ) -> Result<Request<'m>, Undecided> {
        decode(scratch.descriptors(), message, |domain, descriptor, why| {
            if mistakes == Mistakes::AreTold {
                SentLimitLeftOut { domain, descriptor, why: &why, peer }.emit(&self.metrics);
            }
        })
    }

    /// Could not decide: an error, so that Envoy's own failure mode applies, and never an OK with invented numbers.
    fn undecided(&self, error: &StoreError, caller: Caller) -> Status {
        StoreFailed { error, kind: error.kind() }.emit(&self.metrics);
        match error {
            // As gRPC has it for a caller that waits no longer, whichever of the two noticed first.
            StoreError::TimedOut { .. } | StoreError::Late if caller.waits_no_longer() => {
                Status::deadline_exceeded(error.to_string())
            }
            StoreError::Unreadable { .. } => Status::data_loss(error.to_string()),
            _ => Status::unavailable(error.to_string()),
        }
    }

    /// Counts answers that take until now.
    pub(super) fn took(&self, Batch { arrived, answers }: Batch) {
        self.recorder.took(arrived.elapsed(), answers);
    }

    /// Reports descriptors that nothing limits.
    #[cold]
    fn report_unlimited(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        unmatched: Unmatched,
        Caller { peer, .. }: Caller,
    ) {
        let Some(domain) = policy.domain(request.domain) else {
            let known = policy.domains().map(|domain| domain.name.as_str());
            return UnknownDomain { domain: request.domain, known, peer }.emit(&self.metrics);
        };
        let first = request.descriptors.get(unmatched.first);
        let first = first.map_or(&[][..], |descriptor| &descriptor.entries);
        let by_reason = unmatched.by_reason;
        UnmatchedDescriptors { domain: &domain.name, by_reason, first, peer }.emit(&self.metrics);
    }

    /// Counts the request for its domain and for each rule that it was charged to.
    fn record(&self, tally: &Tally, catalog: &Catalog, request: &Request<'_>, verdict: &Verdict<'_>) {
        let Some(domain) = verdict.domain else { return };
        tally.domain(domain.index, verdict.over_limit);
        for (descriptor, decision) in request.descriptors.iter().zip(&verdict.decisions) {
            let hits = descriptor.hits.cost();
            match decision {
                Decision::Counted(counted) => {
                    let Some(rule) = counted.rule.index else { continue };
                    let over = counted.limits.iter().any(|charged| charged.over);
                    let near = counted.limits.iter().any(|charged| {
                        let Outcome { used, limit, .. } = charged.outcome;
                        self.near_limit.has_reached(used, limit)
                    });
                    let hit = RuleHit { hits, over, near, shadow: counted.rule.shadow };
                    tally.rule(rule, counted.series.as_deref(), hit);
                    let Some(first) = counted.limits.first() else { continue };
                    self.recorder.key(first.key, hit, verdict.now, || {
                        let (domain_name, label) = catalog.rule(rule)?;
                        let limit = &counted.rule.limits[first.limit];
                        // Told apart by what the counter is known by, from which nobody learns the value.
                        let stands_for = || format!("…{:04x}", first.key.low & 0xffff);
                        let hidden = |key: &[u8]| samples::is_secretive(key).then(stands_for);
                        let key = counted_by(domain, &descriptor.entries, limit, verdict.now, &hidden).into();
                        Some(HeavyName { domain: Arc::clone(domain_name), rule: Arc::clone(label), key })
                    });
                }
                Decision::Unlimited(rule, series) => {
                    if let Some(rule) = rule.index {
                        tally.rule(rule, series.as_deref(), RuleHit { hits, ..RuleHit::default() });
                    }
                }
                Decision::NoLimit | Decision::Exempt(_) | Decision::Replaced(_) | Decision::Skipped(_) => {}
            }
        }
    }

    /// The answer behind its prefix.
    fn write(
        &self,
        policy: &Policy,
        message: &[u8],
        request: Request<'_>,
        verdict: Verdict<'_>,
        caller: Caller,
        span: &mut Span,
    ) -> Result<Bytes, Undecided> {
        if verdict.too_costly {
            let mut scratch = verdict.into_scratch();
            scratch.reclaim(request);
            self.worker.reuse(scratch);
            return Err(Bound::Matching.into());
        }
        if verdict.unmatched.many > 0 {
            self.report_unlimited(policy, &request, verdict.unmatched, caller);
            if self.recorder.samples_unmatched(verdict.now)
                && let Some(one) = samples::unmatched(policy, &request, verdict.unmatched.first, &verdict)
            {
                self.metrics.keep_unmatched(one, verdict.now);
            }
        }
        if verdict.over_limit
            && self.recorder.samples_denial(verdict.now)
            && let Some(denial) = samples::denial(policy, &request, &verdict)
        {
            self.metrics.keep_denial(denial);
        }
        span.decided(|| samples::decided(&request, &verdict));
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() < BUFFER_LEFT {
            *buffer = BytesMut::with_capacity(BUFFER);
        }
        self.recorder
            .count(policy.catalog(), |tally| self.record(tally, policy.catalog(), &request, &verdict));
        let answer = answer(&request, &verdict);
        // What a call left that panicked while it was written.
        buffer.clear();
        buffer.put_bytes(0, PREFIX);
        let shown = |key: &[u8], value: &[u8]| samples::shown_entry(policy, key, value);
        let echoed = if self.tells_request { echo(message, shown) } else { Vec::new() };
        encode(&verdict, &answer, &echoed, &mut buffer);
        verdict.reclaim(answer.into_texts());
        let mut scratch = verdict.into_scratch();
        scratch.reclaim(request);
        self.worker.reuse(scratch);

        let mut written = buffer.split();
        let length = u32::try_from(written.len() - PREFIX);
        let length = length.map_err(|_| Status::internal("the answer is too long"))?;
        written[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        Ok(written.freeze())
    }
}

/// The HTTP response with `message`, which has its prefix.
pub(super) fn response(message: Bytes) -> http::Response<Answer> {
    let mut response = http::Response::new(Answer { message: Some(message), trailers_sent: false });
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// The body of a response: one message, and the status OK in the trailers.
pub(super) struct Answer {
    message: Option<Bytes>,
    trailers_sent: bool,
}

impl Answer {
    /// The message first, then the trailers; none after that.
    pub(super) fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        if let Some(message) = self.message.take() {
            return Some(Frame::data(message));
        }
        if std::mem::replace(&mut self.trailers_sent, true) {
            return None;
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Some(Frame::trailers(trailers))
    }

    pub(super) fn is_finished(&self) -> bool {
        self.trailers_sent
    }
}
