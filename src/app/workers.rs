//! Workers, one thread and one runtime for each core, and the dispatch of connections to them.
//!
//! On a single-threaded runtime the answers of a connection are collected and written together, and no other core writes to
//! what a call uses. Envoy opens few connections and keeps them, so each goes to the worker with the least load. If the
//! kernel chose, two connections would share a core in half of all cases.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::accept::accept;
use super::dispatch::Dispatch;
use super::slots::{Slot, Slots};
use crate::telemetry::{ConnectionRefused, Metrics, TaskEnded};

/// The most connections that wait for a busy worker.
const WAITING: usize = 1024;

/// The time after which TCP probes whether a silent client's machine still answers.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The threads that serve connections.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    connections: mpsc::Sender<Accepted>,
    ended: oneshot::Receiver<()>,
}

/// The connections that are dispatched to a worker.
pub(super) type Dispatched = mpsc::Receiver<Accepted>;

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

    /// Dispatches the connections that `listener` accepts, as long as it is polled. It ends only when no worker is left.
    pub(super) fn dispatch(
        &self,
        listener: TcpListener,
        slots: Arc<Slots>,
        metrics: Arc<Metrics>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut workers: Vec<_> = self.workers.iter().map(|worker| worker.connections.clone()).collect();
        async move {
            let mut dispatch = Dispatch::among(workers.len(), Instant::now());
            loop {
                let (connection, peer) = accept(&listener, &metrics).await;
                let Some(slot) = slots.admit().await else {
                    ConnectionRefused { what: "gRPC", peer }.emit(&metrics);
                    continue;
                };
                let Ok(socket) = connection.into_std() else { continue };
                let activity = Arc::clone(&slot.activity);
                let mut connection = Accepted { socket, peer, slot };
                loop {
                    let Some(at) = dispatch.choose(Instant::now()) else { return };
                    match workers[at].send(connection).await {
                        Ok(()) => break dispatch.dispatched(at, &activity),
                        // The worker has ended, which is an internal error (bug). Another one serves the connection.
                        Err(mpsc::error::SendError(back)) => connection = back,
                    }
                    TaskEnded { what: "a thread of connections", is_restarted: false }.emit(&metrics);
                    dispatch.forget(at);
                    workers.swap_remove(at);
                }
            }
        }
    }

    /// Resolves when every worker has ended.
    pub(super) async fn ended(self) {
        for worker in self.workers {
            // An error means that the worker panicked, which ended its connections and no others.
            let _ = worker.ended.await;
        }
    }
}

/// A connection on its way to the worker that serves it.
#[derive(Debug)]
pub(super) struct Accepted {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    /// The connection's place among those of its port.
    slot: Slot,
}

impl Accepted {
    /// The socket, registered with the current runtime, the client's address, and the connection's place.
    pub(super) fn arrived(self) -> io::Result<(TcpStream, SocketAddr, Slot)> {
        // Answers are smaller than a packet. Without this option each would wait for the acknowledgement of the one before.
        self.socket.set_nodelay(true)?;
        // A client whose machine vanished is detected within two minutes.
        let keep_alive =
            TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
        SockRef::from(&self.socket).set_tcp_keepalive(&keep_alive)?;
        Ok((TcpStream::from_std(self.socket)?, self.peer, self.slot))
    }
}
