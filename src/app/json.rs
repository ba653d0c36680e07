//! `POST /json` on the operators' port.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Router};

use crate::rls::JsonRequests;

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The route that answers by `requests`.
pub(super) fn router(requests: JsonRequests) -> Router {
    Router::new().route("/json", post(answer)).with_state(requests)
}

async fn answer(
    State(requests): State<JsonRequests>,
    Extension(Peer(peer)): Extension<Peer>,
    body: Bytes,
) -> impl IntoResponse {
    let (status, text) = requests.answer(&body, peer).await;
    let kind = if text.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
    (status, [(header::CONTENT_TYPE, kind)], text)
}
