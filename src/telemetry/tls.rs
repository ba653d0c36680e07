//! What is counted of TLS, for each port that speaks it.

use std::sync::atomic::{AtomicBool, AtomicU64};

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Metrics;
use super::labelled::Labelled;

/// A port that may speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPort {
    /// For Envoy.
    Grpc,
    /// For operators.
    Admin,
}

impl TlsPort {
    pub(super) const ALL: [Self; 2] = [Self::Grpc, Self::Admin];

    /// As metrics name it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Admin => "admin",
        }
    }

    /// As log lines name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC",
            Self::Admin => "admin",
        }
    }
}

/// The numbers of one port.
#[derive(Debug, Default)]
pub(super) struct TlsCounts {
    /// Handshakes that failed, by reason.
    pub(super) failures: Labelled,
    /// The last second in which the server's certificate is good, since 1970; 0 where the port speaks no TLS.
    pub(super) not_after: AtomicU64,
    /// When the first list of revoked certificates is out of date, in seconds since 1970; 0 where there is none.
    pub(super) lists_until: AtomicU64,
    /// How often certificates were put in force.
    pub(super) loads: AtomicU64,
    /// How often they were refused.
    pub(super) refused: AtomicU64,
    /// Whether newer files were refused.
    pub(super) is_stale: AtomicBool,
    /// What is in force, for who looks.
    pub(super) in_force: ArcSwapOption<TlsInForce>,
    /// Why newer files were refused, if they were.
    pub(super) refusal: ArcSwapOption<String>,
}

/// The certificates that are in force at a port. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInForce {
    /// The names of the server's certificate.
    pub names: Vec<String>,
    /// The last second in which it is good.
    pub not_after: u64,
    /// What clients are known by, where they need a certificate.
    pub clients: Option<TlsClients>,
}

/// What certificates of clients are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClients {
    /// The authorities that issue theirs, each with the last second in which it is good.
    pub authorities: Vec<(String, u64)>,
    /// When the first list of revoked certificates is out of date.
    pub lists_until: Option<u64>,
}

/// How it stands with the certificates of a port.
#[derive(Clone, Debug)]
pub struct TlsState {
    /// `grpc` or `admin`.
    pub port: &'static str,
    /// What is in force.
    pub in_force: Arc<TlsInForce>,
    /// Why newer files were refused, if they were.
    pub refusal: Option<Arc<String>>,
}

impl Metrics {
    /// How it stands with the certificates of each port that speaks TLS.
    pub fn certificates(&self) -> Vec<TlsState> {
        let of = |port: TlsPort| {
            let counts = self.tls(port);
            let in_force = counts.in_force.load_full()?;
            Some(TlsState { port: port.label(), in_force, refusal: counts.refusal.load_full() })
        };
        TlsPort::ALL.into_iter().filter_map(of).collect()
    }

    pub(super) fn tls(&self, port: TlsPort) -> &TlsCounts {
        let [grpc, admin] = &self.tls;
        match port {
            TlsPort::Grpc => grpc,
            TlsPort::Admin => admin,
        }
    }
}
