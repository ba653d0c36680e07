//! Handshakes of TLS. A handshake takes a core a millisecond (an RSA key) and waits for its client, so those for Envoy are made on
//! a thread of their own: neither a worker nor who accepts connections waits for any.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificates::Certificates;
use super::rotated::Rotated;
use super::slots::{Slot, Slots};
use super::socket::{Carrier, Detached, Socket};
use super::workers::Accepted;
use crate::model::Peer;
use crate::telemetry::{HandshakeFailed, Metrics};
use crate::tls::Rejection;

/// The most time that a client may take for the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The most handshakes at a time. Of more, those that began first are given up: their clients have had the most time.
const MOST: usize = 1_024;
/// The most connections that wait for the thread.
const WAITING: usize = 1_024;

/// The thread on which handshakes are made. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Handshakes(mpsc::Sender<Accepted<Detached>>);

impl Handshakes {
    /// Starts it. The connections that are let in are sent to `done`.
    pub(super) fn start(
        certificates: Arc<Certificates>,
        done: mpsc::Sender<Accepted<Carrier>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (to_begin, begun) = mpsc::channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("handshakes".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, run(begun, certificates, done, metrics));
        })?;
        Ok(Self(to_begin))
    }

    /// Begins one. None if the thread has ended, which is an internal error (bug).
    pub(super) async fn begin(&self, socket: Detached, peer: Peer, slot: Slot) -> Option<()> {
        self.0.send(Accepted { socket, peer, slot, rotated: None }).await.ok()
    }
}

async fn run(
    mut begun: mpsc::Receiver<Accepted<Detached>>,
    certificates: Arc<Certificates>,
    done: mpsc::Sender<Accepted<Carrier>>,
    metrics: Arc<Metrics>,
) {
    let slots = Slots::new(MOST, HANDSHAKE_WITHIN, metrics.handshakes());
    let mut open = JoinSet::new();
    while let Some(connection) = begun.recv().await {
        let (slots, certificates) = (Arc::clone(&slots), Arc::clone(&certificates));
        let (metrics, done) = (Arc::clone(&metrics), done.clone());
        open.spawn_local(async move {
            let Some(turn) = slots.admit().await else { return };
            let Accepted { socket, peer, slot, .. } = connection;
            let Ok(socket) = Socket::new(socket) else { return };
            let seen = certificates.seen_rotations();
            let made = tokio::select! {
                made = handshake(&certificates, socket, peer, &metrics) => made,
                () = turn.wanted() => {
                    report(&certificates, peer, &Rejection::displaced(), &metrics);
                    None
                }
                () = slot.wanted() => None,
            };
            if let Some(mut stream) = made
                && stream.get_mut().0.detach().is_ok()
            {
                let shown = stream.get_ref().1.peer_certificates();
                let rotated = Rotated::of(&certificates, seen, shown, peer, &metrics);
                let socket = Carrier::Tls(Box::new(stream));
                // An error means that the server drains.
                let _ = done.send(Accepted { socket, peer, slot, rotated }).await;
            }
        });
        // Removes the tasks that ended. A panic was logged, and ended one handshake.
        while open.join_next().now_or_never().flatten().is_some() {}
    }
}

/// Makes a handshake with the configuration that is in force. What fails is reported, and none is returned.
pub(super) async fn handshake(
    certificates: &Certificates,
    socket: Socket,
    peer: Peer,
    metrics: &Metrics,
) -> Option<TlsStream<Socket>> {
    let accepted = TlsAcceptor::from(certificates.config()).accept(socket).into_fallible();
    let rejection = match tokio::time::timeout(HANDSHAKE_WITHIN, accepted).await {
        Ok(Ok(stream)) => return Some(stream),
        // A client that never sent a byte was a probe.
        Ok(Err((_, socket))) if !socket.has_spoken() => return None,
        Ok(Err((error, _))) => Rejection::of(&error),
        Err(_) => Rejection::too_slow(HANDSHAKE_WITHIN),
    };
    report(certificates, peer, &rejection, metrics);
    None
}

fn report(certificates: &Certificates, peer: Peer, rejection: &Rejection, metrics: &Metrics) {
    let Rejection { reason, words } = rejection;
    HandshakeFailed { port: certificates.port(), peer, reason, words }.emit(metrics);
}
