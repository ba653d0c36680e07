//! Builds the parts, runs the servers, drains.

mod accept;
mod admin_thread;
mod background;
mod dispatch;
mod grpc;
mod http;
mod json;
mod limits;
mod slots;
mod workers;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use self::admin_thread::AdminThread;
use self::background::{
    Evicted, answer_operators, free_counters, reload_files, report_clock_steps, report_statistics,
    send_statistics, watch_store,
};
use self::grpc::Grpc;
use crate::admin::{self, AdminParts, Health, StorePlace, TokenFile};
use crate::clock::Clock;
use crate::control::{Publisher, Watched};
use crate::limiter::Limiter;
use crate::rls::{self, BeyondBounds, InvalidAuthority, MaxAge};
use crate::store::Store;
use crate::telemetry::{Drained, Listening, Metrics, NotReady, Ready};

pub use limits::{Limits, TooFewDescriptors};

/// How long the last statistics may take to be sent.
const LAST_STATISTICS: Duration = Duration::from_secs(1);

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
    /// For probes and scrapes.
    pub http: TcpListener,
    /// For operators, if there is one.
    pub admin: Option<AdminPort>,
}

/// The port on which operators see and change what is going on.
#[derive(Debug)]
pub struct AdminPort {
    /// The port.
    pub listener: TcpListener,
    /// Who may use it; without it everybody who reaches it.
    pub token: Option<TokenFile>,
    /// Where counters are kept, for who looks.
    pub store: StorePlace,
}

impl Listeners {
    /// Opens both ports, or neither.
    pub async fn bind(grpc: SocketAddr, http: SocketAddr) -> Result<Self, ServeError> {
        let listeners =
            Self { grpc: listen("gRPC", grpc).await?, http: listen("HTTP", http).await?, admin: None };
        for (what, listener) in [("gRPC", &listeners.grpc), ("HTTP", &listeners.http)] {
            report(what, listener);
        }
        Ok(listeners)
    }

    /// Opens the admin port as well.
    pub async fn bind_admin(
        &mut self,
        address: SocketAddr,
        token: Option<TokenFile>,
        store: StorePlace,
    ) -> Result<(), ServeError> {
        let listener = listen("admin", address).await?;
        report("admin", &listener);
        self.admin = Some(AdminPort { listener, token, store });
        Ok(())
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { what, address, source })
}

fn report(what: &'static str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        Listening { what, address }.emit();
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
    /// How old a connection for gRPC may become, if there is a bound.
    pub connection_age: Option<MaxAge>,
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
    let json = rls::JsonRequests::start(Arc::clone(&limiter), Arc::clone(&metrics));
    let json = json.map_err(|error| failed("JSON", error))?;
    let begun = watched.as_ref().map(|watched| watched.files.clone()).unwrap_or_default();
    publisher.latest().begin(&begun, limiter.engine.policy().rules());
    let _admin = listeners.admin.map(|AdminPort { listener, token, store }| {
        let (health, metrics, limiter) = (Arc::clone(&health), Arc::clone(&metrics), Arc::clone(&limiter));
        let (publisher, watched) = (Arc::clone(&publisher), watched.clone());
        let parts = AdminParts { health, metrics, limiter, publisher, watched, store, token };
        AdminThread::start(listener, bounds.connections.http, parts)
    });
    let _background = [
        watched.map(|watched| reload_files(watched, publisher, &metrics)),
        Some(answer_operators(listeners.http, bounds.connections.http, operators, json)),
        Some(report_clock_steps(&limiter, &metrics)),
        Some(watch_store(&limiter, &metrics)),
        Some(free_counters(&limiter, &evicted, &metrics)),
        report_statistics(&limiter, &metrics),
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
    // What was counted since the last time. The name was looked up before, as a rule, and nobody waits for long.
    let last = send_statistics(Arc::clone(&limiter), Arc::clone(&metrics));
    let _ = tokio::time::timeout(LAST_STATISTICS, last).await;
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
