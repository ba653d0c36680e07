//! The operators' ports. Their connections are bounded in number and time, because any client may reach them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service as _;

use super::accept::accept;
use super::json::Peer;
use super::slots::{Slot, Slots};
use crate::admin::Connection;
use crate::telemetry::{ConnectionRefused, Metrics};

/// The most time that a client may take to send the headers of its request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most time that a connection is kept, so that a client that reads no answer does not keep its place.
const LASTS: Duration = Duration::from_secs(60);
/// The most bytes of a request's head.
const BUFFER: usize = 16 << 10;

/// Answers the requests on `listener` with `router`, as long as it is polled.
pub(super) async fn serve(
    listener: Arc<TcpListener>,
    router: Router,
    slots: Arc<Slots>,
    metrics: Arc<Metrics>,
    what: &'static str,
) {
    let mut open = JoinSet::new();
    loop {
        let (connection, peer) = accept(&listener, &metrics).await;
        let Some(slot) = slots.admit().await else {
            ConnectionRefused { what, peer }.emit(&metrics);
            continue;
        };
        open.spawn(answer(connection, peer, router.clone(), slot));
        // Removes the tasks that ended. A panic was logged, and ended one connection.
        while open.join_next().now_or_never().flatten().is_some() {}
    }
}

async fn answer(connection: TcpStream, peer: SocketAddr, router: Router, slot: Slot) {
    let activity = Arc::clone(&slot.activity);
    let known = Connection::new(peer, move || activity.call(Instant::now()));
    let of_requests = known.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        of_requests.is_in_use();
        request.extensions_mut().insert(of_requests.clone());
        request.extensions_mut().insert(Peer(peer));
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
