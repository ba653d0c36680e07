//! The operators' ports. Their connections are bounded in number and time, because any client may reach them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service as _;

use super::accept::accept;
use super::certificates::Certificates;
use super::handshakes::handshake;
use super::json::Peer;
use super::rotated::Rotated;
use super::slots::{Slot, Slots};
use super::socket::Socket;
use crate::admin::Connection;
use crate::telemetry::{ConnectionRefused, Metrics};
use crate::tls::Certificate;

/// The most time that a client may take to send the headers of its request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most time that a connection is kept, so that a client that reads no answer does not keep its place.
const LASTS: Duration = Duration::from_secs(60);
/// How long a request keeps its connection from being closed for another one. A probe is answered in less: whoever begins requests and
/// does not go on, or reads no answer, keeps none out.
pub(super) const IN_USE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head.
const BUFFER: usize = 16 << 10;

/// Answers the requests on `listener` with `router`, as long as it is polled; over TLS where there are `certificates`.
pub(super) async fn serve(
    listener: Arc<TcpListener>,
    router: Router,
    slots: Arc<Slots>,
    metrics: Arc<Metrics>,
    what: &'static str,
    certificates: Option<Arc<Certificates>>,
) {
    let mut open = JoinSet::new();
    loop {
        let (connection, peer) = accept(|context| listener.poll_accept(context), &metrics).await;
        let Some(slot) = slots.admit().await else {
            ConnectionRefused { what, peer: peer.into() }.emit(&metrics);
            continue;
        };
        let activity = Arc::clone(&slot.activity);
        let known = Connection::new(peer, move || activity.call(Instant::now()));
        match &certificates {
            None => open.spawn(answer(connection, known, router.clone(), slot)),
            Some(certificates) => {
                let (certificates, metrics) = (Arc::clone(certificates), Arc::clone(&metrics));
                open.spawn(answer_by_tls(connection, known, router.clone(), slot, certificates, metrics))
            }
        };
        // Removes the tasks that ended. A panic was logged, and ended one connection.
        while open.join_next().now_or_never().flatten().is_some() {}
    }
}

/// Makes the handshake, and answers whoever is let in.
async fn answer_by_tls(
    connection: TcpStream,
    known: Connection,
    router: Router,
    slot: Slot,
    certificates: Arc<Certificates>,
    metrics: Arc<Metrics>,
) {
    let seen = certificates.seen_rotations();
    let shaking = handshake(&certificates, Socket::of(connection), known.peer.into(), &metrics);
    let stream = tokio::select! {
        stream = shaking => stream,
        () = slot.wanted() => None,
    };
    if let Some(stream) = stream {
        let shown = stream.get_ref().1.peer_certificates();
        let rotated = Rotated::of(&certificates, seen, shown, known.peer.into(), &metrics);
        let name = shown.and_then(<[_]>::first).map(|der| {
            let read = Certificate::read(der).ok().and_then(|read| read.names.into_iter().next());
            read.map_or_else(|| "a certificate without a name".to_owned(), |name| name.to_string())
        });
        // Its one request is answered, or it never comes. A page that goes on showing is cut.
        tokio::select! {
            () = answer(stream, known.over_tls(name), router, slot) => {}
            () = shut_out(rotated) => {}
        }
    }
}

/// Resolves when the client of a connection would not be let in any more.
async fn shut_out(rotated: Option<Rotated>) {
    match rotated {
        Some(rotated) => drop(rotated.closes_at_once().await),
        None => std::future::pending().await,
    }
}

async fn answer(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    known: Connection,
    router: Router,
    slot: Slot,
) {
    let of_requests = known.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        of_requests.is_in_use();
        request.extensions_mut().insert(of_requests.clone());
        request.extensions_mut().insert(Peer(of_requests.peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        // One request for each connection: a client that sends many and reads no answer would keep its place.
        .keep_alive(false)
        .max_buf_size(BUFFER)
        // hyper panics when it writes a date before 1970.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(connection), service);
    tokio::select! {
        // An error is the client's.
        _ = connection => {}
        () = slot.wanted() => {}
        () = known.end.notified() => {}
        () = too_long(&known) => {}
    }
}

/// Resolves when a connection has been kept for as long as it may be. One whose answer goes on is kept while it is read.
async fn too_long(connection: &Connection) {
    tokio::time::sleep(LASTS).await;
    while connection.is_lasting() {
        tokio::time::sleep(LASTS).await;
    }
}
