//! A TCP proxy that stalls and resets: what networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What becomes of bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They arrive.
    Open,
    /// They wait until the way is open again; those of the answers too.
    Stalled,
    /// Requests arrive, and answers wait.
    AnswersStalled,
    /// They take so long each way.
    Slow(Duration),
    /// All connections are reset.
    Reset,
}

/// A way to a server, on the runtime that it is made on.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, watched) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, watched.clone()));
            }
        });
        Self { address, way: Arc::new(way) }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn carry(client: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_zero_linger().unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut reset = way.clone();
    let requests = |way| matches!(way, Way::Open | Way::AnswersStalled | Way::Slow(_));
    let answers = |way| matches!(way, Way::Open | Way::Slow(_));
    tokio::select! {
        () = pass(from_client, to_server, way.clone(), requests) => {}
        () = pass(from_server, to_client, way, answers) => {}
        _ = reset.wait_for(|way| *way == Way::Reset) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    passes: impl Fn(Way) -> bool,
) {
    // What is slow on its way does not hold up what follows.
    let (send, mut on_their_way) = mpsc::unbounded_channel();
    let watched = way.clone();
    let read = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let takes = match *watched.borrow() {
                Way::Slow(long) => long,
                _ => Duration::ZERO,
            };
            if send.send((Instant::now() + takes, bytes[..length].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((at, bytes)) = on_their_way.recv().await {
            tokio::time::sleep_until(at).await;
            if way.wait_for(|way| passes(*way)).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = async { read.await; std::future::pending().await } => {}
    }
}

/// Lets time pass for what is on its way.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}
