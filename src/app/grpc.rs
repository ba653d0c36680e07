//! The gRPC server: one task accepts connections, and workers serve them.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tonic::service::Routes;

use super::background::Guarded;
use super::listen::GrpcPort;
use super::rotated::{Closes, Rotated};
use super::slots::Slots;
use super::workers::{Accepted, Dispatched, Workers};
use super::{Bounds, ServeError, cores, failed};
use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::rls::{self, RateLimitService};
use crate::store::Store;
use crate::telemetry::{ConnectionLost, Draining, Metrics};

/// The most time that calls in flight may take after GOAWAY. Kubernetes kills the process after 30 s by default.
const DRAIN: Duration = Duration::from_secs(8);

/// How long a call keeps its connection from being closed for another one.
const IN_USE: Duration = Duration::from_secs(5);

/// The gRPC server: a task that accepts connections, and the workers that serve them.
pub(super) struct Grpc {
    dispatcher: Guarded<()>,
    workers_ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The workers drain when this is dropped.
    stop: watch::Sender<()>,
}

impl Grpc {
    /// Starts a worker for each core, and dispatches what `port` accepts to them.
    pub(super) fn start<S: Store, C: Clock>(
        limiter: &Arc<Limiter<S, C>>,
        metrics: &Arc<Metrics>,
        serving: &rls::Serving,
        port: GrpcPort,
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
            max_age: bounds.connection_age,
            tracer: port.tracer.clone(),
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
        let slots = Slots::new(bounds.connections.grpc, IN_USE, metrics.grpc_connections());
        let dispatching = workers.dispatch(port, slots, Arc::clone(metrics));
        let dispatcher = Guarded(tokio::spawn(dispatching.map_err(|error| failed("gRPC", error))?));
        Ok(Self { dispatcher, workers_ended: Box::pin(workers.ended()), stop })
    }

    /// Serves until `event` resolves. Fails if the server ends before.
    pub(super) async fn serve_until(&mut self, event: impl Future<Output = ()>) -> Result<(), ServeError> {
        tokio::select! {
            () = event => Ok(()),
            () = &mut self.workers_ended => Err(failed("gRPC", "it ended by itself")),
            _ = &mut self.dispatcher.0 => Err(failed("gRPC", "connections are taken no more")),
        }
    }

    /// Accepts no more connections, sends GOAWAY on those that are open, and waits for the calls in flight, for at most
    /// [`DRAIN`]. Says whether all of them were answered.
    pub(super) async fn drain(mut self) -> bool {
        // The listener accepts connections, which no worker would serve, until this task has ended.
        self.dispatcher.0.abort();
        let _ = (&mut self.dispatcher.0).await;
        drop(self.stop);
        Draining.emit();
        tokio::time::timeout(DRAIN, self.workers_ended).await.is_ok()
    }
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
                let Accepted { socket, peer, slot, rotated } = connection;
                // An error means that the client has left.
                let Ok(stream) = socket.arrive() else { continue };
                let server = Rc::clone(&server);
                let (shut_out, was_shut_out) = oneshot::channel();
                let is_bounded = rotated.is_some();
                let stopping = stopped_or_rotated(stopping_here.clone(), rotated, shut_out);
                open.spawn_local(async move {
                    let activity = Arc::clone(&slot.activity);
                    tokio::select! {
                        biased;
                        () = server.serve(stream, peer, activity, stopping) => {}
                        () = rls::Seldom::new(slot.wanted()) => {}
                        () = rls::Seldom::new(ends(was_shut_out)), if is_bounded => {}
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

/// How long calls may take that a client has made before it was shut out. Others take longer only if their client wants to stay.
const SHUT_OUT_WITHIN: Duration = Duration::from_secs(10);

/// Resolves when a connection is to take no more calls: the server drains, or the files for TLS say what closes it. `shut_out` hears
/// it if its client would not be let in any more.
async fn stopped_or_rotated(
    stopping: watch::Receiver<()>,
    rotated: Option<Rotated>,
    shut_out: oneshot::Sender<()>,
) {
    let Some(rotated) = rotated else { return stopped(stopping).await };
    tokio::select! {
        () = stopped(stopping) => {}
        why = rotated.closes() => if why == Closes::ShutOut {
            // Nobody hears it where the connection has ended.
            let _ = shut_out.send(());
        }
    }
}

/// Resolves when the connection of a client ends that was shut out, whether it agrees or not.
async fn ends(was_shut_out: oneshot::Receiver<()>) {
    match was_shut_out.await {
        Ok(()) => tokio::time::sleep(SHUT_OUT_WITHIN).await,
        Err(_) => std::future::pending().await,
    }
}

async fn stopped(mut stopping: watch::Receiver<()>) {
    // An error means that the sender was dropped. Nothing is ever sent.
    while stopping.changed().await.is_ok() {}
}
