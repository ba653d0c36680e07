//! `POST /json` on the operators' port.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
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

/// Whether a browser sends it in the name of a page, which any site can have it do. No page has business here.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none")
}

async fn answer(
    State(requests): State<JsonRequests>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    if is_of_a_page(&headers) {
        let text = "a page in a browser may not charge counters\n".to_owned();
        return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text);
    }
    let (status, text) = requests.answer(&body, peer).await;
    let kind = if text.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
    (status, [(header::CONTENT_TYPE, kind)], text)
}
