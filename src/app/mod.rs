//! Builds the parts, runs the servers, drains.

mod accept;
mod dispatch;
mod http;
mod limits;
mod slots;
mod workers;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tonic::service::Routes;

use self::slots::Slots;
use self::workers::{Dispatched, Workers};
use crate::admin::{self, Health};
use crate::clock::{Clock, Step};
use crate::control::{self, Publisher, Watched};
use crate::limiter::Limiter;
use crate::rls::{self, BeyondBounds, InvalidAuthority, RateLimitService};
use crate::store::Store;
use crate::telemetry::{
    ClockStepped, ConnectionLost, CountersEvicted, Drained, Draining, Listening, Metrics, NotReady, Ready,
    TaskEnded,
};

pub use limits::{Limits, TooFewDescriptors};

/// The most time that calls in flight may take after GOAWAY. Kubernetes kills the process after 30 s by default.
const DRAIN: Duration = Duration::from_secs(8);
/// The time that a counter is kept after its window: a call may have read the clock just before the window's end.
const KEPT: Duration = Duration::from_secs(60);
/// The time between two sweeps, which free expired counters.
const SWEEP: Duration = Duration::from_secs(10);
/// The time between two checks of the clock, which find that it was set even while no calls come.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
/// The pause after each part of a sweep, in which the workers have all cores.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(20);

/// The pause before a task that ended is started again.
const STARTED_AGAIN: Duration = Duration::from_secs(1);

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is in use, or may not be opened.
    #[error("cannot listen for {what} on `{address}`: {}", reason(source))]
    Bind {
        /// The server for the port.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// A server ended although nothing stopped it.
    #[error("the {what} server failed")]
    Failed {
        /// The server.
        what: &'static str,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// Open ports, ready to be served.
#[derive(Debug)]
pub struct Listeners {
    /// For Envoy.
    pub grpc: TcpListener,
    /// For operators.
    pub http: TcpListener,
}

impl Listeners {
    /// Opens both ports, or neither.
    pub async fn bind(grpc: SocketAddr, http: SocketAddr) -> Result<Self, ServeError> {
        async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
            TcpListener::bind(address).await.map_err(|source| ServeError::Bind { what, address, source })
        }
        let listeners = Self { grpc: listen("gRPC", grpc).await?, http: listen("HTTP", http).await? };
        for (what, listener) in [("gRPC", &listeners.grpc), ("HTTP", &listeners.http)] {
            if let Ok(address) = listener.local_addr() {
                Listening { what, address }.emit();
            }
        }
        Ok(listeners)
    }
}

/// Bounds on clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The most connections of each port.
    pub connections: Limits,
    /// The answer to a request that is beyond a bound.
    pub requests: BeyondBounds,
    /// What becomes of a call whose `:authority` is invalid.
    pub authorities: InvalidAuthority,
}

/// Answers from `limiter` until `shutdown` resolves, then drains. While the server drains it is not ready: for `drain_delay`
/// it still answers, so that probes can move the traffic elsewhere; then it sends GOAWAY and finishes the calls in flight.
/// Meanwhile it reloads the files that are `watched` when they change.
pub async fn serve<S: Store, C: Clock>(
    limiter: Arc<Limiter<S, C>>,
    metrics: Arc<Metrics>,
    watched: Option<Watched>,
    listeners: Listeners,
    bounds: Bounds,
    drain_delay: Duration,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let health = Arc::new(Health::default());
    let serving = rls::Serving::new();
    let mut grpc = Grpc::start(&limiter, &metrics, &serving, listeners.grpc, bounds)?;
    let evicted = Arc::new(Evicted::default());
    let publisher = Arc::new(Publisher::new(Arc::clone(&limiter)));
    let operators = admin::Parts {
        health: Arc::clone(&health),
        metrics: Arc::clone(&metrics),
        limiter: Arc::clone(&limiter),
        latest: publisher.latest(),
    };
    let _background = [
        watched.map(|watched| reload_files(watched, publisher, &metrics)),
        Some(answer_operators(listeners.http, bounds.connections.http, operators)),
        Some(report_clock_steps(&limiter, &metrics)),
        Some(free_counters(&limiter, &evicted, &metrics)),
    ];

    serving.set(true);
    health.set_ready(true);
    Ready.emit();
    grpc.serve_until(shutdown).await?;

    health.set_ready(false);
    metrics.set_draining();
    serving.set(false);
    if !drain_delay.is_zero() {
        NotReady { drain_delay }.emit();
        grpc.serve_until(tokio::time::sleep(drain_delay)).await?;
    }
    // Ends the streams of clients that watch the health.
    drop(serving);
    let complete = grpc.drain().await;
    evicted.report(&limiter.store);
    metrics.tell_held_back(true);
    Drained { complete }.emit();
    Ok(())
}

/// The gRPC server: a task that accepts connections, and the workers that serve them.
struct Grpc {
    dispatcher: Guarded<()>,
    workers_ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The workers drain when this is dropped.
    stop: watch::Sender<()>,
}

impl Grpc {
    /// Starts a worker for each core, and dispatches what `listener` accepts to them.
    fn start<S: Store, C: Clock>(
        limiter: &Arc<Limiter<S, C>>,
        metrics: &Arc<Metrics>,
        serving: &rls::Serving,
        listener: TcpListener,
        bounds: Bounds,
    ) -> Result<Self, ServeError> {
        let routes = rls::reflected(Routes::new(serving.service()));
        let routes = routes.map_err(|error| failed("reflection", error))?;
        let long_requests = rls::LongRequests::start(Arc::clone(limiter), Arc::clone(metrics));
        let shared = rls::Shared {
            metrics: Arc::clone(metrics),
            memory_budget: rls::MemoryBudget::default(),
            long_requests: long_requests.map_err(|error| failed("gRPC", error))?,
            beyond_bounds: bounds.requests,
            invalid_authority: bounds.authorities,
        };
        let (stop, stopping) = watch::channel(());
        let workers = Workers::start(cores(), || {
            let (limiter, metrics) = (Arc::clone(limiter), Arc::clone(metrics));
            let (routes, shared, stopping) = (routes.clone(), shared.clone(), stopping.clone());
            async move |dispatched| {
                let service = RateLimitService::new(limiter.worker(), Arc::clone(&metrics));
                serve_dispatched(rls::Server::new(service, routes, shared), dispatched, stopping, metrics)
                    .await;
            }
        });
        let workers = workers.map_err(|error| failed("gRPC", error))?;
        let slots = Slots::new(bounds.connections.grpc, metrics.grpc_connections());
        let dispatcher = Guarded(tokio::spawn(workers.dispatch(listener, slots, Arc::clone(metrics))));
        Ok(Self { dispatcher, workers_ended: Box::pin(workers.ended()), stop })
    }

    /// Serves until `event` resolves. Fails if the server ends before.
    async fn serve_until(&mut self, event: impl Future<Output = ()>) -> Result<(), ServeError> {
        tokio::select! {
            () = event => Ok(()),
            () = &mut self.workers_ended => Err(failed("gRPC", "it ended by itself")),
            _ = &mut self.dispatcher.0 => Err(failed("gRPC", "connections are taken no more")),
        }
    }

    /// Accepts no more connections, sends GOAWAY on those that are open, and waits for the calls in flight, for at most
    /// [`DRAIN`]. Says whether all of them were answered.
    async fn drain(mut self) -> bool {
        // The listener accepts connections, which no worker would serve, until this task has ended.
        self.dispatcher.0.abort();
        let _ = (&mut self.dispatcher.0).await;
        drop(self.stop);
        Draining.emit();
        tokio::time::timeout(DRAIN, self.workers_ended).await.is_ok()
    }
}

fn reload_files<S: Store, C: Clock>(
    watched: Watched,
    publisher: Arc<Publisher<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let of_task = Arc::clone(metrics);
    in_background("reloading the configuration", metrics, move || {
        control::follow(watched.clone(), Arc::clone(&publisher), Arc::clone(&of_task))
    })
}

fn answer_operators<S: Store, C: Clock>(
    listener: TcpListener,
    most_connections: usize,
    parts: admin::Parts<S, C>,
) -> Guarded<()> {
    let metrics = Arc::clone(&parts.metrics);
    let (listener, slots) = (Arc::new(listener), Slots::new(most_connections, metrics.http_connections()));
    let (router, of_task) = (admin::router(parts), Arc::clone(&metrics));
    in_background("HTTP", &metrics, move || {
        http::serve(Arc::clone(&listener), router.clone(), Arc::clone(&slots), Arc::clone(&of_task))
    })
}

fn report_clock_steps<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let (limiter, of_task) = (Arc::clone(limiter), Arc::clone(metrics));
    in_background("watching the clock", metrics, move || {
        watch_clock(Arc::clone(&limiter), Arc::clone(&of_task))
    })
}

fn free_counters<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    evicted: &Arc<Evicted>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let (limiter, evicted, of_task) = (Arc::clone(limiter), Arc::clone(evicted), Arc::clone(metrics));
    in_background("freeing counters", metrics, move || {
        sweep(Arc::clone(&limiter), Arc::clone(&evicted), Arc::clone(&of_task))
    })
}

/// Spawns a task that runs until the handle is dropped: see [`supervised`].
fn in_background<F: Future<Output = ()> + Send + 'static>(
    what: &'static str,
    metrics: &Arc<Metrics>,
    task: impl Fn() -> F + Send + Sync + 'static,
) -> Guarded<()> {
    Guarded(tokio::spawn(supervised(what, Arc::clone(metrics), task)))
}

/// Serves the connections that are dispatched to one worker, until `stopping` resolves and all of them have ended.
async fn serve_dispatched<S: Store, C: Clock>(
    server: rls::Server<S, C>,
    mut dispatched: Dispatched,
    stopping: watch::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    let server = Rc::new(server);
    let mut open = JoinSet::new();
    // A channel for this worker, so that connections on different cores do not write to the same one.
    let (stop, stopping_here) = watch::channel(());
    let mut stopping = std::pin::pin!(stopped(stopping));
    loop {
        tokio::select! {
            () = &mut stopping => break,
            Some(ended) = open.join_next() => lost(ended, &metrics),
            Some(connection) = dispatched.recv() => {
                // An error means that the client has left.
                let Ok((connection, peer, slot)) = connection.arrived() else { continue };
                let (server, stopping) = (Rc::clone(&server), stopped(stopping_here.clone()));
                open.spawn_local(async move {
                    let activity = Arc::clone(&slot.activity);
                    tokio::select! {
                        () = server.serve(connection, peer, activity, stopping) => {}
                        () = slot.wanted() => {}
                    }
                });
            }
        }
    }
    drop((stop, stopping_here));
    while let Some(ended) = open.join_next().await {
        lost(ended, &metrics);
    }
}

/// Reports a connection whose task panicked: an internal error (bug). Other connections go on.
fn lost(ended: Result<(), JoinError>, metrics: &Metrics) {
    if let Err(error) = ended {
        ConnectionLost { error: &error }.emit(metrics);
    }
}

/// The number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn stopped(mut stopping: watch::Receiver<()>) {
    // An error means that the sender was dropped. Nothing is ever sent.
    while stopping.changed().await.is_ok() {}
}

/// Runs a task for ever. When it ends, which is an internal error (bug), it is started again.
async fn supervised<F: Future<Output = ()>>(what: &'static str, metrics: Arc<Metrics>, task: impl Fn() -> F) {
    loop {
        // The panic hook has logged the panic.
        let _ = AssertUnwindSafe(async { task().await }).catch_unwind().await;
        TaskEnded { what }.emit(&metrics);
        tokio::time::sleep(STARTED_AGAIN).await;
    }
}

/// The number of counters that were evicted before they expired, up to the last report.
#[derive(Debug, Default)]
struct Evicted(AtomicU64);

impl Evicted {
    /// Reports the evictions since the last report.
    fn report(&self, store: &impl Store) {
        let now = store.statistics().evicted;
        let count = now.saturating_sub(self.0.swap(now, Ordering::Relaxed));
        if count > 0 {
            CountersEvicted { count }.emit();
        }
    }
}

/// Reports each time that the wall clock is set.
async fn watch_clock<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(CLOCK_LOOK);
    loop {
        ticks.tick().await;
        for step in limiter.clock.take_steps() {
            let (forward, by) = match step {
                Step::Forward(by) => (true, by),
                Step::Back(by) => (false, by),
            };
            ClockStepped { forward, by }.emit(&metrics);
        }
    }
}

async fn sweep<S: Store, C: Clock>(
    limiter: Arc<Limiter<S, C>>,
    evicted: Arc<Evicted>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        evicted.report(&limiter.store);
        metrics.tell_held_back(false);
        // In small parts, because the sweep takes time on a core that a worker uses.
        for () in limiter.store.sweep(limiter.clock.read().steady.minus(KEPT)) {
            tokio::time::sleep(BETWEEN_SWEEPS).await;
        }
    }
}

/// A task that is aborted when this handle is dropped.
#[derive(Debug)]
struct Guarded<T>(JoinHandle<T>);

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failed(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ServeError {
    ServeError::Failed { what, source: source.into() }
}
