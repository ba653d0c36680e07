//! Builds the parts, runs the servers, drains.

mod accept;
mod background;
mod dispatch;
mod grpc;
mod http;
mod limits;
mod slots;
mod workers;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use self::background::{
    Evicted, answer_operators, free_counters, reload_files, report_clock_steps, watch_store,
};
use self::grpc::Grpc;
use crate::admin::{self, Health};
use crate::clock::Clock;
use crate::control::{Publisher, Watched};
use crate::limiter::Limiter;
use crate::rls::{self, BeyondBounds, InvalidAuthority};
use crate::store::Store;
use crate::telemetry::{Drained, Listening, Metrics, NotReady, Ready};

pub use limits::{Limits, TooFewDescriptors};

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is in use, or may not be opened.
    #[error("cannot listen for {what} on `{address}`: {}", reason(source))]
    Bind {
        /// The server for the port.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// A server ended although nothing stopped it.
    #[error("the {what} server failed")]
    Failed {
        /// The server.
        what: &'static str,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// Open ports, ready to be served.
#[derive(Debug)]
pub struct Listeners {
    /// For Envoy.
    pub grpc: TcpListener,
    /// For operators.
    pub http: TcpListener,
}

impl Listeners {
    /// Opens both ports, or neither.
    pub async fn bind(grpc: SocketAddr, http: SocketAddr) -> Result<Self, ServeError> {
        async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
            TcpListener::bind(address).await.map_err(|source| ServeError::Bind { what, address, source })
        }
        let listeners = Self { grpc: listen("gRPC", grpc).await?, http: listen("HTTP", http).await? };
        for (what, listener) in [("gRPC", &listeners.grpc), ("HTTP", &listeners.http)] {
            if let Ok(address) = listener.local_addr() {
                Listening { what, address }.emit();
            }
        }
        Ok(listeners)
    }
}

/// Bounds on clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// The most connections of each port.
    pub connections: Limits,
    /// The answer to a request that is beyond a bound.
    pub requests: BeyondBounds,
    /// What becomes of a call whose `:authority` is invalid.
    pub authorities: InvalidAuthority,
}

/// Answers from `limiter` until `shutdown` resolves, then drains. While the server drains it is not ready: for `drain_delay`
/// it still answers, so that probes can move the traffic elsewhere; then it sends GOAWAY and finishes the calls in flight.
/// Meanwhile it reloads the files that are `watched` when they change.
pub async fn serve<S: Store, C: Clock>(
    limiter: Arc<Limiter<S, C>>,
    metrics: Arc<Metrics>,
    watched: Option<Watched>,
    listeners: Listeners,
    bounds: Bounds,
    drain_delay: Duration,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let health = Arc::new(Health::default());
    let serving = rls::Serving::new();
    let mut grpc = Grpc::start(&limiter, &metrics, &serving, listeners.grpc, bounds)?;
    let evicted = Arc::new(Evicted::default());
    let publisher = Arc::new(Publisher::new(Arc::clone(&limiter)));
    let operators = admin::Parts {
        health: Arc::clone(&health),
        metrics: Arc::clone(&metrics),
        limiter: Arc::clone(&limiter),
        latest: publisher.latest(),
    };
    let _background = [
        watched.map(|watched| reload_files(watched, publisher, &metrics)),
        Some(answer_operators(listeners.http, bounds.connections.http, operators)),
        Some(report_clock_steps(&limiter, &metrics)),
        Some(watch_store(&limiter, &metrics)),
        Some(free_counters(&limiter, &evicted, &metrics)),
    ];

    serving.set(true);
    health.set_ready(true);
    Ready.emit();
    grpc.serve_until(shutdown).await?;

    health.set_ready(false);
    metrics.set_draining();
    serving.set(false);
    if !drain_delay.is_zero() {
        NotReady { drain_delay }.emit();
        grpc.serve_until(tokio::time::sleep(drain_delay)).await?;
    }
    // Ends the streams of clients that watch the health.
    drop(serving);
    let complete = grpc.drain().await;
    evicted.report(&limiter.store);
    metrics.report_held_back(true);
    Drained { complete }.emit();
    Ok(())
}

/// The number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn failed(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ServeError {
    ServeError::Failed { what, source: source.into() }
}
