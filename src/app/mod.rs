//! Builds the parts, runs the servers, drains.

mod accept;
mod dispatch;
mod http;
mod lanes;
mod limits;
mod slots;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tonic::service::Routes;

use self::lanes::{Dealt, Lanes};
use self::slots::Slots;
use crate::admin::{self, Health};
use crate::clock::{Clock, Step};
use crate::control::{self, Publisher, Watched};
use crate::limiter::Limiter;
use crate::rls::{self, BeyondBounds, RateLimitService};
use crate::store::Store;
use crate::telemetry::{
    ClockStepped, ConnectionLost, CountersEvicted, Drained, Draining, Listening, Metrics, NotReady, Ready,
    TaskEnded,
};

pub use limits::{Limits, TooFewDescriptors};

/// How long calls in flight are waited for. Kubernetes waits 30 s by default before it kills.
const DRAIN: Duration = Duration::from_secs(8);
/// How long a counter that decides nothing any more is kept: a call may have read the clock just before it was spent.
const KEPT: Duration = Duration::from_secs(60);
/// How often counters that decide nothing any more are freed.
const SWEEP: Duration = Duration::from_secs(10);
/// How often the clock is looked at, also where nobody asks for the time.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
/// How long the lanes have their cores to themselves after each part of that.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(20);

/// How long to wait before a task that ended is started again: it may end again.
const STARTED_AGAIN: Duration = Duration::from_secs(1);

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken, or may not be opened.
    #[error("cannot listen for {what} on `{address}`: {}", reason(source))]
    Bind {
        /// What was to be served there.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A server ended by itself.
    #[error("the {what} server failed")]
    Failed {
        /// Which one.
        what: &'static str,
        /// Why.
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

/// What clients may ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The most connections of each port.
    pub connections: Limits,
    /// What answers a request that is beyond a bound.
    pub requests: BeyondBounds,
}

/// Answers from `limiter` until `shutdown` resolves, then drains: not ready, for `drain_delay` on everything goes on, so that
/// whoever probes can send traffic elsewhere; then GOAWAY, and calls in flight finish. Files that are `watched` are followed
/// meanwhile.
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
    let (stop, stopping) = watch::channel(());
    let serving = rls::Serving::new();

    let routes = rls::reflected(Routes::new(serving.service()));
    let routes = routes.map_err(|error| failed("reflection", error))?;
    let heavy = rls::Heavy::start(Arc::clone(&limiter), Arc::clone(&metrics));
    let shared = rls::Shared {
        metrics: Arc::clone(&metrics),
        unfinished: rls::Unfinished::default(),
        heavy: heavy.map_err(|error| failed("gRPC", error))?,
        beyond_bounds: bounds.requests,
    };
    let lanes = Lanes::start(cores(), || {
        let (limiter, metrics) = (Arc::clone(&limiter), Arc::clone(&metrics));
        let (routes, shared, stopping) = (routes.clone(), shared.clone(), stopping.clone());
        async move |dealt| {
            let service = RateLimitService::new(limiter.worker(), Arc::clone(&metrics));
            serve_dealt(rls::Server::new(service, routes, shared), dealt, stopping, metrics).await;
        }
    });
    drop(stopping);
    let lanes = lanes.map_err(|error| failed("gRPC", error))?;
    let mut dealer = Guarded(tokio::spawn(lanes.deal(
        listeners.grpc,
        Slots::new(bounds.connections.grpc),
        Arc::clone(&metrics),
    )));
    let mut grpc = std::pin::pin!(lanes.ended());

    let publisher = Arc::new(Publisher::new(Arc::clone(&limiter)));
    let _follower = watched.map(|watched| {
        let of_task = Arc::clone(&metrics);
        let follow = move || control::follow(watched.clone(), Arc::clone(&publisher), Arc::clone(&of_task));
        Guarded(tokio::spawn(supervised("reloading the configuration", Arc::clone(&metrics), follow)))
    });
    let admin = admin::router(Arc::clone(&health), Arc::clone(&metrics), Arc::clone(&limiter));
    let (listener, slots, of_task) =
        (Arc::new(listeners.http), Slots::new(bounds.connections.http), Arc::clone(&metrics));
    let answer =
        move || http::serve(Arc::clone(&listener), admin.clone(), Arc::clone(&slots), Arc::clone(&of_task));
    let _http = Guarded(tokio::spawn(supervised("HTTP", Arc::clone(&metrics), answer)));
    let evicted = Arc::new(Evicted::default());
    let sweeping = {
        let (limiter, evicted, metrics) = (Arc::clone(&limiter), Arc::clone(&evicted), Arc::clone(&metrics));
        move || sweep(Arc::clone(&limiter), Arc::clone(&evicted), Arc::clone(&metrics))
    };
    let watching = {
        let (limiter, of_task) = (Arc::clone(&limiter), Arc::clone(&metrics));
        move || watch_clock(Arc::clone(&limiter), Arc::clone(&of_task))
    };
    let _watcher = Guarded(tokio::spawn(supervised("watching the clock", Arc::clone(&metrics), watching)));
    let _sweeper = Guarded(tokio::spawn(supervised("freeing counters", Arc::clone(&metrics), sweeping)));

    serving.set(true);
    health.set_ready(true);
    Ready.emit();

    let mut ended_by_itself = async || {
        tokio::select! {
            () = &mut grpc => failed("gRPC", "it ended by itself"),
            _ = &mut dealer.0 => failed("gRPC", "connections are taken no more"),
        }
    };
    tokio::select! {
        () = shutdown => {}
        error = ended_by_itself() => return Err(error),
    }
    health.set_ready(false);
    serving.set(false);
    if !drain_delay.is_zero() {
        NotReady { drain_delay }.emit();
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => {}
            error = ended_by_itself() => return Err(error),
        }
    }
    // Whoever watches is told that it is over.
    drop(serving);
    // Until the task is gone its listener takes connections, which nobody would serve.
    dealer.0.abort();
    let _ = (&mut dealer.0).await;
    drop(stop);
    Draining.emit();
    let complete = tokio::time::timeout(DRAIN, grpc).await.is_ok();
    evicted.tell(&limiter.store);
    metrics.tell_held_back(true);
    Drained { complete }.emit();
    Ok(())
}

/// Serves the connections that one lane is dealt, until it is to stop and they have ended.
async fn serve_dealt<S: Store, C: Clock>(
    server: rls::Server<S, C>,
    mut dealt: Dealt,
    stopping: watch::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    let server = Rc::new(server);
    let mut open = JoinSet::new();
    // Of the lane's own, so that connections on different cores have nothing to write to together.
    let (stop, stopping_here) = watch::channel(());
    let mut stopping = std::pin::pin!(stopped(stopping));
    loop {
        tokio::select! {
            () = &mut stopping => break,
            Some(ended) = open.join_next() => lost(ended, &metrics),
            Some(connection) = dealt.recv() => {
                // One that is gone already is no loss.
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

/// A connection that did not end by itself met a mistake of ours; those beside it go on.
fn lost(ended: Result<(), JoinError>, metrics: &Metrics) {
    if let Err(error) = ended {
        ConnectionLost { error: &error }.emit(metrics);
    }
}

/// As many as this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn stopped(mut stopping: watch::Receiver<()>) {
    // Resolves when the sender is dropped; nothing is ever sent.
    while stopping.changed().await.is_ok() {}
}

/// Runs a task as long as the server: when it ends, which is an internal error, it is started again.
async fn supervised<F: Future<Output = ()>>(what: &'static str, metrics: Arc<Metrics>, task: impl Fn() -> F) {
    loop {
        // The panic itself was logged by the hook.
        let _ = AssertUnwindSafe(async { task().await }).catch_unwind().await;
        TaskEnded { what }.emit(&metrics);
        tokio::time::sleep(STARTED_AGAIN).await;
    }
}

/// How many counters were forgotten before their time, as far as it was told.
#[derive(Debug, Default)]
struct Evicted(AtomicU64);

impl Evicted {
    /// Tells of those since it was told last.
    fn tell(&self, store: &impl Store) {
        let now = store.statistics().evicted;
        let count = now.saturating_sub(self.0.swap(now, Ordering::Relaxed));
        if count > 0 {
            CountersEvicted { count }.emit();
        }
    }
}

/// Tells of each time that the wall clock was set.
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
        evicted.tell(&limiter.store);
        metrics.tell_held_back(false);
        // A little at a time, for where there are no more cores than lanes this takes the time of one.
        for () in limiter.store.sweep(limiter.clock.read().steady.minus(KEPT)) {
            tokio::time::sleep(BETWEEN_SWEEPS).await;
        }
    }
}

/// A task that ends with whoever started it.
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
