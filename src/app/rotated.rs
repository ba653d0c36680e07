//! When an open connection is to close because of what the files for TLS say by now.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::certificates::{AtRotation, Certificates, Rotation};
use crate::model::{Peer, any_part};
use crate::telemetry::{ClientShutOut, Metrics};

/// How long after a rotation connections for Envoy are looked at and closed, at least, and how much longer at most: who has just
/// connected has made its first call by then, and not all clients come back, or are verified, at once.
const AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(9));

/// Rotations that a connection has seen. To be taken before its handshake: whatever comes later is seen as a change.
#[derive(Debug)]
pub(super) struct Seen {
    rotations: watch::Receiver<Rotation>,
    /// How often it was said anew by then which clients are let in.
    clients: u64,
}

impl Seen {
    pub(super) fn of(rotations: &watch::Sender<Rotation>) -> Self {
        let rotations = rotations.subscribe();
        let clients = rotations.borrow().clients;
        Self { rotations, clients }
    }
}

/// A connection over TLS that may have to close before its client wants to.
#[derive(Debug)]
pub(super) struct Rotated {
    certificates: Arc<Certificates>,
    seen: Seen,
    /// The client's certificate and those that lead to its authority; empty where it has shown none.
    shown: Vec<CertificateDer<'static>>,
    peer: Peer,
    metrics: Arc<Metrics>,
}

/// Why a connection is to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closes {
    /// It was made with certificates that were replaced, and such connections do not stay.
    Replaced,
    /// Its client would not be let in any more.
    ShutOut,
}

impl Rotated {
    /// Of a connection on which the client has `shown` a certificate, or none. None is returned where nothing that the files may
    /// come to say closes it.
    pub(super) fn of(
        certificates: &Arc<Certificates>,
        seen: Seen,
        shown: Option<&[CertificateDer<'static>]>,
        peer: Peer,
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        let shown = shown.unwrap_or_default();
        if shown.is_empty() && certificates.at_rotation() == AtRotation::Keep {
            return None;
        }
        let (certificates, metrics) = (Arc::clone(certificates), Arc::clone(metrics));
        let shown = shown.iter().map(|der| der.clone().into_owned()).collect();
        Some(Self { certificates, seen, shown, peer, metrics })
    }

    /// Resolves when the connection is to close: within ten seconds of the rotation.
    pub(super) async fn closes(self) -> Closes {
        let (least, more) = AFTER;
        self.closes_after(|| least + more.mul_f64(any_part())).await
    }

    /// The same, at once.
    pub(super) async fn closes_at_once(self) -> Closes {
        self.closes_after(|| Duration::ZERO).await
    }

    async fn closes_after(mut self, pause: impl Fn() -> Duration) -> Closes {
        let Seen { rotations, clients: known } = &mut self.seen;
        loop {
            // An error means that the server ends.
            if rotations.changed().await.is_err() {
                return std::future::pending().await;
            }
            tokio::time::sleep(pause()).await;
            let Rotation { clients, at } = *rotations.borrow_and_update();
            // A verification takes as long as several calls, so nobody is verified anew where nothing has changed for clients.
            if std::mem::replace(known, clients) != clients
                && let Some(rejection) = self.certificates.rejects(&self.shown, at)
            {
                let (port, peer, reason) = (self.certificates.port(), self.peer, rejection.reason);
                ClientShutOut { port, peer, reason, words: &rejection.words }.emit(&self.metrics);
                return Closes::ShutOut;
            }
            if self.certificates.at_rotation() == AtRotation::Close {
                return Closes::Replaced;
            }
        }
    }
}
