//! One thread and one runtime for each core, and connections dealt out to them in turn.
//!
//! On a runtime of its own a connection's answers are collected and written together; where several threads share one,
//! tokio runs the connection's task after each single answer, and every answer is a system call. Envoy opens few
//! connections and keeps them, so they are dealt out one by one: left to the kernel, half of all pairs would meet on one
//! core.

use std::future::Future;
use std::io;
use std::thread;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};

/// How many connections may wait for a lane that is busy.
const WAITING: usize = 1024;

/// Where connections are served.
#[derive(Debug)]
pub(super) struct Lanes<E> {
    lanes: Vec<Lane<E>>,
}

#[derive(Debug)]
struct Lane<E> {
    connections: mpsc::Sender<std::net::TcpStream>,
    ended: oneshot::Receiver<Result<(), E>>,
}

/// The connections that a lane is dealt.
pub(super) type Dealt = ReceiverStream<std::net::TcpStream>;

impl<E: Send + 'static> Lanes<E> {
    /// Starts `count` lanes, on each of which `serve` serves what it is dealt until it is told to stop.
    pub(super) fn start<F>(count: usize, serve: impl Fn() -> F) -> io::Result<Self>
    where
        F: AsyncFnOnce(Dealt) -> Result<(), E> + Send + 'static,
    {
        let lane = |n: usize| {
            let (connections, dealt) = mpsc::channel(WAITING);
            let (end, ended) = oneshot::channel();
            let serve = serve();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            thread::Builder::new().name(format!("lane-{n}")).spawn(move || {
                // Nobody waits for the end any more when the process is ending.
                let _ = end.send(runtime.block_on(serve(ReceiverStream::new(dealt))));
            })?;
            Ok(Lane { connections, ended })
        };
        Ok(Self { lanes: (0..count).map(lane).collect::<io::Result<_>>()? })
    }

    /// Deals out what `listener` accepts, for as long as it is polled.
    pub(super) fn deal(&self, listener: TcpListenerStream) -> impl Future<Output = ()> + Send + use<E> {
        let lanes: Vec<_> = self.lanes.iter().map(|lane| lane.connections.clone()).collect();
        async move {
            let mut accepted = listener;
            let mut next = 0;
            while let Some(connection) = accepted.next().await {
                // Out of file descriptors, or gone before it was taken: the next one may fare better.
                let Ok(connection) = connection.and_then(TcpStream::into_std) else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let _ = lanes[next % lanes.len()].send(connection).await;
                next += 1;
            }
        }
    }

    /// Resolves when every lane has ended, or one has failed.
    pub(super) async fn ended(self) -> Result<(), E> {
        for lane in self.lanes {
            // A lane that ends without a word has panicked, which ends its connections and no others.
            if let Ok(ended) = lane.ended.await {
                ended?;
            }
        }
        Ok(())
    }
}

/// A connection on the runtime that it was dealt to.
pub(super) fn arrived(dealt: Dealt) -> impl Stream<Item = io::Result<TcpStream>> {
    dealt.map(|connection| {
        // Answers are smaller than a packet: without this each would wait for the acknowledgement of the last.
        connection.set_nodelay(true)?;
        TcpStream::from_std(connection)
    })
}
