//! One thread and one runtime for each core, and connections dispatched to them.
//!
//! On a runtime of its own a connection's answers are collected and written together, and nothing it touches for a call is
//! written by another core. Envoy opens few connections and keeps them, so each goes to the thread with the least to do:
//! left to the kernel, half of all pairs would meet on one core.

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

/// How many connections may wait for a worker that is busy.
const WAITING: usize = 1024;

/// How long a silent client is thought to be there before its machine is asked.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where connections are served.
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
    /// Starts `count` workers, on each of which `serve` serves what is dispatched to it until it is told to stop.
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
                // Nobody waits for the end any more when the process is ending.
                let _ = end.send(());
            })?;
            Ok(Worker { connections, ended })
        };
        Ok(Self { workers: (0..count).map(worker).collect::<io::Result<_>>()? })
    }

    /// Dispatches what `listener` accepts, for as long as it is polled; ends only when no worker is left.
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
                        // A thread that is gone takes none, which is an internal error: the others do.
                        Err(mpsc::error::SendError(back)) => connection = back,
                    }
                    TaskEnded { what: "a thread of connections" }.emit(&metrics);
                    dispatch.forget(at);
                    workers.swap_remove(at);
                }
            }
        }
    }

    /// Resolves when every worker has ended.
    pub(super) async fn ended(self) {
        for worker in self.workers {
            // A worker that ends without a word has panicked, which ends its connections and no others.
            let _ = worker.ended.await;
        }
    }
}

/// A connection on its way to the worker that serves it.
#[derive(Debug)]
pub(super) struct Accepted {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    /// Its place among the connections of the port.
    slot: Slot,
}

impl Accepted {
    /// Its socket on the runtime that it was dispatched to, whose it is, and its place.
    pub(super) fn arrived(self) -> io::Result<(TcpStream, SocketAddr, Slot)> {
        // Answers are smaller than a packet: without this each would wait for the acknowledgement of the last.
        self.socket.set_nodelay(true)?;
        // A client that vanished without a word is found out within two minutes.
        let keep_alive =
            TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
        SockRef::from(&self.socket).set_tcp_keepalive(&keep_alive)?;
        Ok((TcpStream::from_std(self.socket)?, self.peer, self.slot))
    }
}
