//! `POST /json` on the operators' port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Router};
use futures_util::StreamExt as _;
use http_body::Body as _;
use tokio::time::timeout;

use crate::rls::JsonRequests;

/// Of a text that there is no room for so much is read all the same: a client that sends without reading would not see the answer.
const READ_ON: usize = 32 << 20;

/// How long the next piece of it may take.
const COMES_WITHIN: Duration = Duration::from_secs(1);

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What requests are decided with.
#[derive(Clone, Debug)]
pub(super) struct Decider {
    pub(super) requests: JsonRequests,
    /// Whether there is a configuration to decide by: calls over gRPC wait until then.
    pub(super) has_begun: Arc<AtomicBool>,
}

/// The route that answers by `decider`.
pub(super) fn router(decider: Decider) -> Router {
    Router::new().route("/json", post(answer)).with_state(decider)
}

/// Whether a browser sends it in the name of a page, which any site can have it do. No page has business here.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none")
}

async fn answer(
    State(Decider { requests, has_begun }): State<Decider>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> impl IntoResponse {
    if is_of_a_page(&headers) {
        let text = "a page in a browser may not charge counters\n".to_owned();
        return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text);
    }
    let (status, text) = if has_begun.load(Ordering::Acquire) {
        decided(&requests, body, peer).await
    } else {
        let text = "nothing is decided before each control plane has sent its policies\n";
        (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
    };
    let kind = if text.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
    (status, [(header::CONTENT_TYPE, kind)], text)
}

async fn decided(requests: &JsonRequests, body: Body, peer: SocketAddr) -> (StatusCode, String) {
    let announced = requests.may_have(body.size_hint().lower());
    let mut body = body.into_data_stream();
    if let Err(no_room) = announced {
        read_on(body).await;
        return requests.without_room(no_room, peer);
    }
    let mut text = requests.text();
    while let Some(piece) = body.next().await {
        let added = match piece {
            Ok(piece) => text.add(&piece),
            Err(error) => return (StatusCode::BAD_REQUEST, format!("the request broke off: {error}")),
        };
        if let Err(no_room) = added {
            drop(text);
            read_on(body).await;
            return requests.without_room(no_room, peer);
        }
    }
    requests.answer(text, peer).await
}

/// Reads what is left as it comes, and keeps nothing of it.
async fn read_on(mut body: BodyDataStream) {
    let mut left = READ_ON;
    while let Ok(Some(Ok(piece))) = timeout(COMES_WITHIN, body.next()).await {
        let Some(rest) = left.checked_sub(piece.len()) else { return };
        left = rest;
    }
}
