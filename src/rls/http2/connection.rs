//! Serves one HTTP/2 connection and answers its calls.
//!
//! `ShouldRateLimit` is answered here, without tonic. tonic's router answers health checks and reflection, and refuses all
//! other methods. Bounds on a client's calls are set here; [`message`](super::message) bounds the memory of its requests,
//! and [`lifetime`](super::lifetime) the time that a connection is kept.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::activity::Activity;
use super::authority::{InvalidAuthority, SanitizedStream};
use super::deadline;
use super::flood::Flood;
use super::grpc_request;
use super::lifetime::{Due, Lifetime, MaxAge, Overdue};
use super::long_requests::{ConnectionQueue, LONG, LongRequests};
use super::message::{ConnectionBudget, MemoryBudget, MessageReader};
use super::reply::{Reply, status_response};
use super::routed::RoutedRequest;
use super::seldom::Seldom;
use super::state::{ConnectionState, InFlight, ObservedStream};
use super::streams::{Deferred, Streams};
use crate::clock::Clock;
use crate::model::Peer;
use crate::rls::beyond::{BeyondBounds, Undecided};
use crate::rls::service::{
    self, Caller, Mistakes, NowOrLater, PANICKED, RateLimitService, SHOULD_RATE_LIMIT,
};
use crate::store::Store;
use crate::telemetry::{AuthoritySanitized, CallPanicked, ConnectionEnded, Metrics, RequestBeyondBounds};
use crate::traces::{Span, Tracer, WorkerTracer};

/// The most concurrent calls of one connection. Envoy opens another connection for more. A call takes a few microseconds,
/// so this many are answered within Envoy's default timeout of 20 ms, and no queue gets older than that.
const CONCURRENT_CALLS: u32 = 1_024;
/// The most bytes of all headers of one call, as HPACK counts them. Envoy forwards its client's tracing headers, and accepts
/// 60 KiB of headers by default.
const HEADER_LIST: u32 = 128 << 10;
/// The most bytes of one call's answer that wait until the client reads them.
const SEND_BUFFER: usize = 64 << 10;
/// The most calls of one connection that are cancelled before the server looks at them. An Envoy may cancel all of its calls
/// at once; [`Meter`](super::flood::Meter) decides how many are too many over time.
const PENDING_RESETS: usize = 8_192;
/// Bytes of requests that one connection decides before the other connections of its worker have their turn.
const TURN: usize = 128 << 10;
/// The most concurrent calls of one connection to tonic's router: health checks, health watches, and a person's questions to
/// reflection.
const ROUTED_CALLS: usize = 16;
/// Parts that the servers of all workers share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where events are counted.
    pub metrics: Arc<Metrics>,
    /// The memory of incomplete requests.
    pub memory_budget: MemoryBudget,
    /// The thread that decides long requests.
    pub long_requests: LongRequests,
    /// The answer to a request that is beyond a bound.
    pub beyond_bounds: BeyondBounds,
    /// What becomes of a call whose `:authority` is invalid.
    pub invalid_authority: InvalidAuthority,
    /// How old a connection may become, if there is a bound.
    pub max_age: Option<MaxAge>,
    /// Traces calls, if that is asked for.
    pub tracer: Option<Tracer>,
}

/// Serves the connections of one worker.
#[derive(Debug)]
pub struct Server<S: Store, C> {
    service: RateLimitService<S, C>,
    routes: Routes,
    shared: Shared,
    tracer: Option<WorkerTracer>,
}

impl<S: Store, C: Clock> Server<S, C> {
    /// Answers `ShouldRateLimit` from `service`, and everything else from `routes`.
    pub fn new(service: RateLimitService<S, C>, routes: Routes, shared: Shared) -> Self {
        let tracer = shared.tracer.as_ref().map(Tracer::worker);
        Self { service, routes: routes.prepare(), shared, tracer }
    }

    /// Serves one connection, of `peer`, to its end. Once `stopping` resolves it takes no new calls, and finishes those in
    /// flight. Every call is counted in `activity`.
    pub async fn serve<IO>(
        self: Rc<Self>,
        io: IO,
        peer: Peer,
        activity: Arc<Activity>,
        stopping: impl Future<Output = ()>,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let metrics = Arc::clone(&self.shared.metrics);
        let state = Rc::new(ConnectionState::default());
        let mut streams = Streams::default();
        let mut lifetime = Lifetime::new(&state, &activity, self.shared.max_age);
        let io = TokioIo::new(self.observed(io, peer, &state));
        let calls = Rc::clone(&self).calls(peer, activity, &state);
        let answer = service_fn(move |call| Rc::clone(&calls).take(call));
        let mut connection = pin!(builder(streams.executor()).serve_connection(io, answer));
        let mut stopping = Seldom::new(stopping).fuse();

        let ended = poll_fn(|context| {
            state.decided.set(0);
            if stopping.poll_unpin(context).is_ready() {
                if !state.began.get() {
                    return Poll::Ready(Ok(()));
                }
                connection.as_mut().graceful_shutdown();
            }
            loop {
                match lifetime.poll(context, !streams.is_empty()) {
                    Due::Nothing => break,
                    Due::GoAway => connection.as_mut().graceful_shutdown(),
                    Due::End(ended) => return Poll::Ready(ended.map_err(Into::into)),
                }
            }
            let ended = poll_with_streams(connection.as_mut(), &mut streams, context);
            if let Some(batch) = state.take_answered() {
                self.service.took(batch);
            }
            ended.map_err(|error| match state.flood.get() {
                Some(flood) => flood.into(),
                None => error.into(),
            })
        });
        if let Err(reason) = ended.await {
            let by_us = is_ended_by_us(&reason, &state);
            ConnectionEnded { reason: &*reason, by_us, peer }.emit(&metrics);
        }
    }

    /// The socket, whose bytes are sanitized and observed on their way.
    fn observed<IO>(&self, io: IO, peer: Peer, state: &Rc<ConnectionState>) -> ObservedStream<IO> {
        let metrics = Arc::clone(&self.shared.metrics);
        let report = move |original: &str| AuthoritySanitized { original, peer }.emit(&metrics);
        ObservedStream::new(SanitizedStream::new(io, self.shared.invalid_authority, report), state)
    }

    /// What answers the calls of one connection.
    fn calls(
        self: Rc<Self>,
        peer: Peer,
        activity: Arc<Activity>,
        state: &Rc<ConnectionState>,
    ) -> Rc<Calls<S, C>> {
        let budget = ConnectionBudget::new(&self.shared.memory_budget);
        let long_requests = self.shared.long_requests.of_connection();
        let (state, routed) = (Rc::clone(state), Rc::default());
        Rc::new(Calls { server: self, state, activity, peer, budget, long_requests, routed })
    }
}

/// Why a connection ended that did not end in order.
type Reason = Box<dyn std::error::Error + Send + Sync>;

/// HTTP/2 with the bounds of a connection.
fn builder(executor: Deferred) -> http2::Builder<Deferred> {
    let mut builder = http2::Builder::new(executor);
    builder
        .auto_date_header(false)
        .max_concurrent_streams(CONCURRENT_CALLS)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS);
    builder
}

/// Polls a connection and the streams that it began, until neither can go on.
fn poll_with_streams<E>(
    mut connection: Pin<&mut impl Future<Output = Result<(), E>>>,
    streams: &mut Streams,
    context: &mut Context<'_>,
) -> Poll<Result<(), E>> {
    loop {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        if !streams.run(context) {
            return Poll::Pending;
        }
    }
}

/// Whether the server ended a connection because of what its client did. A client that never sent a byte was a probe.
fn is_ended_by_us(reason: &Reason, state: &ConnectionState) -> bool {
    let is_not_http2 = !state.began.get() && state.spoke.get();
    reason.is::<Flood>() || reason.is::<Overdue>() || is_not_http2
}

/// The calls of one connection.
#[derive(Debug)]
struct Calls<S: Store, C> {
    server: Rc<Server<S, C>>,
    state: Rc<ConnectionState>,
    activity: Arc<Activity>,
    peer: Peer,
    budget: ConnectionBudget,
    long_requests: ConnectionQueue,
    /// Its other owners are the calls that the router is answering, so its count limits them.
    routed: Rc<()>,
}

impl<S: Store, C: Clock> Calls<S, C> {
    /// Answers a call. Nearly always its message came with it, and the answer is ready at once.
    ///
    /// Only a call that has to wait is boxed: otherwise every call would be as large as the largest future, and would be
    /// copied as such.
    fn take(self: Rc<Self>, call: Request<Incoming>) -> Answering {
        if let Some(refusal) = grpc_request::refusal(&call) {
            // Its text may wait to be read.
            let in_flight = InFlight::new(&self.state);
            let refusal = refusal.map(|text| Reply::Refused(tonic::body::Body::new(text), in_flight));
            return Answering::Now(Some(Ok(refusal)));
        }
        self.activity.call(self.state.arrived.get());
        if call.uri().path() != SHOULD_RATE_LIMIT {
            return self.route(call);
        }
        let in_flight = InFlight::new(&self.state);
        let arrived = self.state.arrived.get();
        let deadline = deadline::of(call.headers()).and_then(|timeout| arrived.checked_add(timeout));
        let caller = Caller { peer: self.peer, deadline };
        let mut span = match &self.server.tracer {
            None => Span::off(),
            Some(tracer) => tracer.begin(call.headers(), arrived, self.peer),
        };
        let mut reader = MessageReader::of(call.into_body(), &self.budget);
        let message = match reader.message_now().transpose() {
            Ok(message) => message,
            Err(undecided) => return Answering::Now(Some(Ok(self.undecided(undecided, &mut span)))),
        };
        let at_once = |message: &&Bytes| message.len() < LONG && self.state.decided.get() < TURN;
        let mut mistakes = Mistakes::AreTold;
        if let Some(message) = message.as_ref().filter(at_once) {
            if caller.waits_no_longer() {
                return Answering::Now(Some(Err(self.late(arrived, &mut span))));
            }
            let service = AssertUnwindSafe(&self.server.service);
            self.state.decided.set(self.state.decided.get() + message.len());
            let mut recorded = AssertUnwindSafe(&mut span);
            match catch_unwind(move || service.answer_now(message, caller, &mut recorded)) {
                Ok(NowOrLater::Later(left)) => mistakes = left,
                Ok(NowOrLater::Now(answer)) => {
                    return Answering::Now(Some(Ok(self.reply(answer, arrived, in_flight, &mut span))));
                }
                Err(panic) => return Answering::Now(Some(Ok(self.panicked(&*panic, &mut span)))),
            }
        }
        Answering::Later(Box::pin(async move {
            let message = match message {
                Some(message) => message,
                None => match before(deadline, reader.message()).await {
                    Some(Ok(message)) => message,
                    Some(Err(undecided)) => return Ok(self.undecided(undecided, &mut span)),
                    // Nothing was read whose answer could be timed.
                    None => {
                        self.server.shared.metrics.count_late_call();
                        span.failed(Code::DeadlineExceeded, service::LATE);
                        return Err(LATE.into());
                    }
                },
            };
            if message.len() >= LONG {
                return match self.long_requests.answer(message, caller, span).await {
                    Some((answer, mut span)) => Ok(self.reply(answer, arrived, in_flight, &mut span)),
                    // Its span has told so.
                    None if caller.waits_no_longer() => Err(self.late(arrived, &mut Span::off())),
                    None => Ok(self.panicked(&"deciding a long request panicked", &mut Span::off())),
                };
            }
            self.turn().await;
            if caller.waits_no_longer() {
                return Err(self.late(arrived, &mut span));
            }
            self.state.decided.set(self.state.decided.get() + message.len());
            let answer = self.server.service.answer(&message, caller, mistakes, &mut span);
            match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(answer) => Ok(self.reply(answer, arrived, in_flight, &mut span)),
                Err(panic) => Ok(self.panicked(&*panic, &mut span)),
            }
        }))
    }

    /// Has tonic's router answer a call, under the bounds of `ShouldRateLimit`.
    fn route(self: Rc<Self>, call: Request<Incoming>) -> Answering {
        let turn = Rc::clone(&self.routed);
        if Rc::strong_count(&turn) > ROUTED_CALLS + 1 {
            let message =
                format!("a connection has at most {ROUTED_CALLS} calls of other services at a time");
            return Answering::Now(Some(Ok(status_response(Status::resource_exhausted(message)))));
        }
        let arrived = self.state.arrived.get();
        let deadline = deadline::of(call.headers()).and_then(|timeout| arrived.checked_add(timeout));
        let (head, body) = call.into_parts();
        Answering::Later(Box::pin(async move {
            let path = head.uri.path();
            let request = if path.starts_with("/grpc.health.v1.Health/") {
                match before(deadline, MessageReader::of(body, &self.budget).message()).await {
                    Some(Ok(message)) => RoutedRequest::whole(&message),
                    Some(Err(undecided)) => return Ok(status_response(undecided.status())),
                    None => return Err(LATE.into()),
                }
            } else if path.starts_with("/grpc.reflection.") {
                RoutedRequest::stream(body)
            } else {
                RoutedRequest::Whole(None)
            };
            let mut routes = self.server.routes.clone();
            let call = Request::from_parts(head, request);
            match before(deadline, routes.call(call)).await {
                // The router gives no reason for it.
                Some(Ok(answer)) if is_bare_unimplemented(answer.headers()) => {
                    Ok(status_response(Status::unimplemented(grpc_request::NO_SUCH_METHOD)))
                }
                // A router's error is `Infallible`.
                Some(Ok(answer)) => Ok(answer.map(|body| Reply::Streamed(body, until(deadline), turn))),
                None => Err(LATE.into()),
            }
        }))
    }

    /// Resolves at once while this connection's turn lasts, and otherwise after the other connections had theirs.
    fn turn(&self) -> impl Future<Output = ()> + use<S, C> {
        let state = Rc::clone(&self.state);
        poll_fn(move |context| {
            if state.decided.get() < TURN {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Counts an answer to a request that was read when it `arrived`. It takes until the batch leaves in which it is.
    fn answered(&self, arrived: Instant) {
        if let Some(batch) = self.state.answer(arrived) {
            self.server.service.took(batch);
        }
    }

    /// The answer to a request that was read when it `arrived`.
    fn reply(
        &self,
        answer: Result<Bytes, Undecided>,
        arrived: Instant,
        in_flight: InFlight,
        span: &mut Span,
    ) -> Response<Reply> {
        self.answered(arrived);
        match answer {
            Ok(message) => service::response(message).map(|answer| Reply::Answer(answer, in_flight)),
            Err(undecided) => self.undecided(undecided, span),
        }
    }

    /// The answer to a request that is not decided.
    fn undecided(&self, undecided: Undecided, span: &mut Span) -> Response<Reply> {
        let Undecided::Beyond(bound) = undecided else { return self.failed(undecided.status(), span) };
        let shared = &self.server.shared;
        let (outcome, answer) = shared.beyond_bounds.answer();
        RequestBeyondBounds { bound: bound.text(), outcome, peer: self.peer }.emit(&shared.metrics);
        let Some(answer) = answer else { return self.failed(undecided.status(), span) };
        span.refused_beyond_bounds(shared.beyond_bounds == BeyondBounds::Refuse);
        service::response(answer).map(|answer| Reply::Answer(answer, InFlight::new(&self.state)))
    }

    fn panicked(&self, panic: &(dyn std::any::Any + Send), span: &mut Span) -> Response<Reply> {
        CallPanicked { panic }.emit(&self.server.shared.metrics);
        self.failed(Status::internal(PANICKED), span)
    }

    /// The answer to a call of `ShouldRateLimit` that fails with `status`.
    fn failed(&self, status: Status, span: &mut Span) -> Response<Reply> {
        span.failed(status.code(), status.message());
        self.server.shared.metrics.count_failed_call(&format!("{:?}", status.code()));
        status_response(status)
    }

    /// Resets a call whose caller does not wait any more. Its request was read when it `arrived`.
    fn late(&self, arrived: Instant, span: &mut Span) -> h2::Error {
        span.failed(Code::DeadlineExceeded, service::LATE);
        self.answered(arrived);
        self.server.shared.metrics.count_late_call();
        LATE.into()
    }
}

/// Whether an answer has the status UNIMPLEMENTED and no message.
fn is_bare_unimplemented(headers: &HeaderMap) -> bool {
    const UNIMPLEMENTED: &[u8] = b"12";
    headers.get(Status::GRPC_STATUS).is_some_and(|status| status.as_bytes() == UNIMPLEMENTED)
        && !headers.contains_key(Status::GRPC_MESSAGE)
}

/// The code that resets a call whose deadline has passed.
const LATE: h2::Reason = h2::Reason::CANCEL;

/// The result of `work`; none if `deadline` passes first.
async fn before<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

fn until(deadline: Option<Instant>) -> Option<Pin<Box<Sleep>>> {
    deadline.map(|deadline| Box::pin(sleep_until(deadline)))
}

/// An answer, or the future of one.
enum Answering {
    Now(Option<Result<Response<Reply>, h2::Error>>),
    Later(LocalBoxFuture<'static, Result<Response<Reply>, h2::Error>>),
}

impl Future for Answering {
    type Output = Result<Response<Reply>, h2::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            Self::Later(answer) => answer.as_mut().poll(context),
        }
    }
}

#[cfg(test)]
mod tests;
