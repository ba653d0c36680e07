//! The gRPC server: one task accepts connections, and workers serve them.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tonic::service::Routes;

use super::background::Guarded;
use super::slots::Slots;
use super::workers::{Dispatched, Workers};
use super::{Bounds, ServeError, cores, failed};
use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::rls::{self, RateLimitService};
use crate::store::Store;
use crate::telemetry::{ConnectionLost, Draining, Metrics};

/// The most time that calls in flight may take after GOAWAY. Kubernetes kills the process after 30 s by default.
const DRAIN: Duration = Duration::from_secs(8);

/// The gRPC server: a task that accepts connections, and the workers that serve them.
pub(super) struct Grpc {
    dispatcher: Guarded<()>,
    workers_ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The workers drain when this is dropped.
    stop: watch::Sender<()>,
}

impl Grpc {
    /// Starts a worker for each core, and dispatches what `listener` accepts to them.
    pub(super) fn start<S: Store, C: Clock>(
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
            max_age: bounds.connection_age,
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
                // An error means that the client has left.
                let Ok((connection, peer, slot)) = connection.arrived() else { continue };
                let (server, stopping) = (Rc::clone(&server), stopped(stopping_here.clone()));
                open.spawn_local(async move {
                    let activity = Arc::clone(&slot.activity);
                    tokio::select! {
                        biased;
                        () = server.serve(connection, peer, activity, stopping) => {}
                        () = rls::Seldom::new(slot.wanted()) => {}
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

async fn stopped(mut stopping: watch::Receiver<()>) {
    // An error means that the sender was dropped. Nothing is ever sent.
    while stopping.changed().await.is_ok() {}
}
