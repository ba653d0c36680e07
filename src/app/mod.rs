//! Builds the parts, runs the servers, drains.

mod accept;
mod admin_thread;
mod background;
mod certificates;
mod dispatch;
mod grpc;
mod handshakes;
mod http;
mod json;
mod limits;
mod listen;
mod origins;
mod readiness;
mod rotated;
mod slots;
mod socket;
mod workers;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use self::admin_thread::AdminThread;
use self::background::{
    Evicted, answer_operators, ask_control_planes, follow_certificates, free_counters, reload_files,
    report_clock_steps, report_statistics, send_statistics, settle_changes, watch_store,
};
use self::grpc::Grpc;
use self::readiness::{first_answers, ready_from_now};
use crate::admin::{self, AdminParts, Health, StorePlace, TokenFile};
use crate::clock::Clock;
use crate::control::Publisher;
use crate::limiter::Limiter;
use crate::rls::{self, BeyondBounds, InvalidAuthority, MaxAge};
use crate::store::Store;
use crate::telemetry::{Drained, Listening, Metrics, NotReady};

pub use certificates::{AtRotation, Certificates};
pub use limits::{Limits, TooFewDescriptors};
pub use listen::{Address, GrpcPort};
pub use origins::{Origins, Xds};

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
        address: Address,
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

impl ServeError {
    /// Whether the same start may succeed a moment later: another process listens there still, or the address is not there yet.
    pub fn may_pass(&self) -> bool {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable};
        match self {
            Self::Bind { source, .. } => matches!(source.kind(), AddrInUse | AddrNotAvailable),
            Self::Failed { .. } => true,
        }
    }
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
    pub grpc: GrpcPort,
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
    /// What it shows, if it speaks TLS.
    pub tls: Option<Arc<Certificates>>,
    /// Who may use it; without it everybody who reaches it.
    pub token: Option<TokenFile>,
    /// Where counters are kept, for who looks.
    pub store: StorePlace,
}

impl Listeners {
    /// Opens both ports, or neither.
    pub async fn bind(grpc: impl Into<Address>, http: SocketAddr) -> Result<Self, ServeError> {
        let (grpc, http) = (GrpcPort::bind(grpc.into()).await?, listen("HTTP", http).await?);
        if let Ok(address) = grpc.address() {
            Listening { what: "gRPC", address: &address.to_string() }.emit();
        }
        report("HTTP", &http);
        Ok(Self { grpc, http, admin: None })
    }

    /// Opens the admin port as well.
    pub async fn bind_admin(
        &mut self,
        address: SocketAddr,
        tls: Option<Arc<Certificates>>,
        token: Option<TokenFile>,
        store: StorePlace,
    ) -> Result<(), ServeError> {
        let listener = listen("admin", address).await?;
        report("admin", &listener);
        self.admin = Some(AdminPort { listener, tls, token, store });
        Ok(())
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind {
        what,
        address: address.into(),
        source,
    })
}

fn report(what: &'static str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        Listening { what, address: &address.to_string() }.emit();
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
/// Meanwhile it puts in force what comes from `origins`: files that change, sets of control planes.
pub async fn serve<S: Store, C: Clock>(
    limiter: Arc<Limiter<S, C>>,
    metrics: Arc<Metrics>,
    origins: impl Into<Origins>,
    listeners: Listeners,
    bounds: Bounds,
    drain_delay: Duration,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let Origins { files: watched, read, xds } = origins.into();
    let health = Arc::new(Health::default());
    let serving = rls::Serving::new();
    let served = [listeners.grpc.tls.clone(), listeners.admin.as_ref().and_then(|admin| admin.tls.clone())];
    let _certificates =
        served.map(|certificates| Some(follow_certificates(certificates?, &limiter, &metrics)));
    let evicted = Arc::new(Evicted::default());
    let publisher = Arc::new(Publisher::new(Arc::clone(&limiter)).counting_in(&metrics));
    let operators = admin::Parts {
        health: Arc::clone(&health),
        metrics: Arc::clone(&metrics),
        limiter: Arc::clone(&limiter),
        latest: publisher.latest(),
    };
    let json = rls::JsonRequests::start(Arc::clone(&limiter), Arc::clone(&metrics), bounds.requests);
    let json = json.map_err(|error| failed("JSON", error))?;
    let begun = watched.as_ref().map(|watched| watched.files.clone()).unwrap_or_default();
    publisher.latest().begin(&begun, limiter.engine.policy().rules());
    if let Some(Xds { followed, .. }) = &xds {
        publisher.begin_remotes(followed.servers.iter().map(|server| server.name.as_str()), read);
    }
    let _admin = listeners.admin.map(|AdminPort { listener, tls, token, store }| {
        let (health, metrics, limiter) = (Arc::clone(&health), Arc::clone(&metrics), Arc::clone(&limiter));
        let (publisher, watched) = (Arc::clone(&publisher), watched.clone());
        let parts = AdminParts { health, metrics, limiter, publisher, watched, store, token };
        AdminThread::start(listener, tls, bounds.connections.http, parts)
    });
    let latest = publisher.latest();
    let has_begun = Arc::new(AtomicBool::new(false));
    let decider = json::Decider { requests: json, has_begun: Arc::clone(&has_begun) };
    let _asking = ask_control_planes(xds.as_ref(), &publisher, &metrics);
    let settling = settle_changes(&publisher, &metrics);
    let freeing = free_counters(&limiter, &publisher, &evicted, &metrics);
    let _background = [
        Some(settling),
        watched.map(|watched| reload_files(watched, publisher, &metrics)),
        Some(answer_operators(listeners.http, bounds.connections.http, operators, decider)),
        Some(report_clock_steps(&limiter, &metrics)),
        Some(watch_store(&limiter, &metrics)),
        Some(freeing),
        report_statistics(&limiter, &metrics),
    ];

    tokio::pin!(shutdown);
    // Nobody is let pass, or refused, by a configuration that is not there yet: until then calls wait, and Envoy gives them up.
    tokio::select! {
        () = first_answers(xds.as_ref(), &latest) => {}
        () = &mut shutdown => {
            Drained { complete: true }.emit();
            return Ok(());
        }
    }
    has_begun.store(true, Ordering::Release);
    let mut grpc = Grpc::start(&limiter, &metrics, &serving, listeners.grpc, bounds)?;
    let asked = async {
        tokio::select! {
            () = shutdown => {}
            () = ready_from_now(xds.as_ref(), &limiter, &latest, &health, &serving) => {}
        }
    };
    grpc.serve_until(asked).await?;

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
