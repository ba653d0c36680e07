//! `POST /json` on the operators' port.

use std::net::SocketAddr;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Router};
use futures_util::StreamExt as _;

use crate::rls::JsonRequests;

/// Of a text that there is no room for so much is read all the same: a client that sends without reading would not see the answer.
const READ_ON: usize = 32 << 20;

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The route that answers by `requests`.
pub(super) fn router(requests: JsonRequests) -> Router {
    Router::new().route("/json", post(answer)).with_state(requests)
}

/// Whether a browser sends it in the name of a page, which any site can have it do. No page has business here.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none")
}

async fn answer(
    State(requests): State<JsonRequests>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> impl IntoResponse {
    if is_of_a_page(&headers) {
        let text = "a page in a browser may not charge counters\n".to_owned();
        return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text);
    }
    let (status, text) = decided(&requests, body, peer).await;
    let kind = if text.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
    (status, [(header::CONTENT_TYPE, kind)], text)
}

async fn decided(requests: &JsonRequests, body: Body, peer: SocketAddr) -> (StatusCode, String) {
    let mut body = body.into_data_stream();
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

/// Reads what is left, and keeps nothing of it.
async fn read_on(mut body: BodyDataStream) {
    let mut left = READ_ON;
    while let Some(Ok(piece)) = body.next().await {
        let Some(rest) = left.checked_sub(piece.len()) else { return };
        left = rest;
    }
}
