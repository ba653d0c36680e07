//! Workers, one thread and one runtime for each core, and the dispatch of connections to them.
//!
//! On a single-threaded runtime the answers of a connection are collected and written together, and no other core writes to
//! what a call uses. Envoy opens few connections and keeps them, so each goes to the worker with the least load. If the
//! kernel chose, two connections would share a core in half of all cases.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::accept::accept;
use super::dispatch::Dispatch;
use super::handshakes::Handshakes;
use super::listen::GrpcPort;
use super::rotated::Rotated;
use super::slots::{Slot, Slots};
use super::socket::Carrier;
use crate::model::Peer;
use crate::telemetry::{ConnectionRefused, Metrics, TaskEnded};

/// The most connections that wait for a busy worker.
const WAITING: usize = 1024;

/// The threads that serve connections.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    connections: mpsc::Sender<Accepted<Carrier>>,
    ended: oneshot::Receiver<()>,
}

/// The connections that are dispatched to a worker.
pub(super) type Dispatched = mpsc::Receiver<Accepted<Carrier>>;

impl Workers {
    /// Starts `count` workers. On each one `serve` runs, with the connections that are dispatched to it.
    pub(super) fn start<F>(count: usize, serve: impl Fn() -> F) -> io::Result<Self>
    where
        F: AsyncFnOnce(Dispatched) + Send + 'static,
    {
        let worker = |n: usize| {
            let (connections, dispatched) = mpsc::channel(WAITING);
            let (end, ended) = oneshot::channel();
            let serve = serve();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            thread::Builder::new().name(format!("worker-{n}")).spawn(move || {
                LocalSet::new().block_on(&runtime, serve(dispatched));
                // At the end of the process nothing waits for this.
                let _ = end.send(());
            })?;
            Ok(Worker { connections, ended })
        };
        Ok(Self { workers: (0..count).map(worker).collect::<io::Result<_>>()? })
    }

    /// Dispatches the connections that `port` accepts, as long as it is polled. It ends only when no worker is left, or no thread
    /// that makes handshakes.
    pub(super) fn dispatch(
        &self,
        port: GrpcPort,
        slots: Arc<Slots>,
        metrics: Arc<Metrics>,
    ) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let workers: Vec<_> = self.workers.iter().map(|worker| worker.connections.clone()).collect();
        let GrpcPort { listener, tls, .. } = port;
        let (done, mut let_in) = mpsc::channel(WAITING);
        let handshakes = tls.map(|tls| Handshakes::start(tls, done, Arc::clone(&metrics))).transpose()?;
        Ok(async move {
            let mut dispatcher =
                Dispatcher { dispatch: Dispatch::among(workers.len(), Instant::now()), workers };
            loop {
                let given = tokio::select! {
                    Some(connection) = let_in.recv() => dispatcher.give(connection, &metrics).await,
                    (socket, peer) = accept(|context| listener.poll_accept(context), &metrics) => {
                        let Some(slot) = slots.admit().await else {
                            ConnectionRefused { what: "gRPC", peer }.emit(&metrics);
                            continue;
                        };
                        if let Some(handshakes) = &handshakes {
                            handshakes.begin(socket, peer, slot).await
                        } else {
                            let connection = Accepted { socket: Carrier::Plain(socket), peer, slot, rotated: None };
                            dispatcher.give(connection, &metrics).await
                        }
                    }
                };
                if given.is_none() {
                    return;
                }
            }
        })
    }

    /// Resolves when every worker has ended.
    pub(super) async fn ended(self) {
        for worker in self.workers {
            // An error means that the worker panicked, which ended its connections and no others.
            let _ = worker.ended.await;
        }
    }
}

/// Gives connections to workers.
#[derive(Debug)]
struct Dispatcher {
    dispatch: Dispatch,
    workers: Vec<mpsc::Sender<Accepted<Carrier>>>,
}

impl Dispatcher {
    /// Gives `connection` to the worker with the least load. None if no worker is left.
    async fn give(&mut self, mut connection: Accepted<Carrier>, metrics: &Metrics) -> Option<()> {
        let activity = Arc::clone(&connection.slot.activity);
        loop {
            let at = self.dispatch.choose(Instant::now())?;
            match self.workers[at].send(connection).await {
                Ok(()) => {
                    self.dispatch.dispatched(at, &activity);
                    return Some(());
                }
                // The worker has ended, which is an internal error (bug). Another one serves the connection.
                Err(mpsc::error::SendError(back)) => connection = back,
            }
            TaskEnded { what: "a thread of connections", is_restarted: false }.emit(metrics);
            self.dispatch.forget(at);
            self.workers.swap_remove(at);
        }
    }
}

/// A connection on its way to who serves it, with its socket in the form in which it travels.
#[derive(Debug)]
pub(super) struct Accepted<S> {
    pub(super) socket: S,
    /// Whose it is.
    pub(super) peer: Peer,
    /// The connection's place among those of its port.
    pub(super) slot: Slot,
    /// Tells when it is to close for what the files for TLS say by then, if that may be.
    pub(super) rotated: Option<Rotated>,
}
