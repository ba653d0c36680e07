//! The routes of the admin port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use super::answer::Problem;
use super::api::{Api, LONGEST_BODY};
use super::guard::{LOGIN, guard, login, logout};
use super::{certificates, changes, compatibility, heavy, live, page, people, reads};
use crate::model::lossy;

/// The longest that an answer may take, until its first byte.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// What describes the routes.
const DOCUMENT: &str = include_str!("openapi.json");

/// All routes, with who may use them.
pub(super) fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .route("/certificates", get(certificates::certificates))
        .route("/changes", get(changes::made))
        .route("/config", get(reads::config))
        .route("/config/reload", post(changes::reload))
        .route("/counters/lookup", post(reads::lookup))
        .route("/counters/reset", post(changes::reset))
        .route("/denials", get(reads::denials))
        .route("/domains", get(reads::domains))
        .route("/explain", post(reads::explain))
        .route("/heavy", get(heavy::heavy))
        .route("/live", get(live::live))
        .route("/logout", post(logout))
        .route("/openapi.json", get(document))
        .route("/rules", get(reads::rules))
        .route("/store", get(reads::store_state))
        .route("/subjects", get(reads::subjects))
        .route("/subjects/{domain}", post(people::create))
        .route("/subjects/{domain}/{id}", get(reads::subject).patch(people::change))
        .route("/subjects/{domain}/{id}/changes", delete(people::take_back))
        .route("/subjects/{domain}/{id}/credentials", post(people::add_credential))
        .route("/subjects/{domain}/{id}/credentials/revoke", post(people::revoke_credential))
        .route("/unmatched", get(reads::unmatched));
    Router::new()
        .nest("/api/v1", v1)
        .merge(page::routes())
        .route(LOGIN, post(login))
        .route("/rlconfig", get(compatibility::rlconfig))
        .route("/stats", get(compatibility::stats))
        .route("/debug/{*rest}", get(compatibility::debug))
        .fallback(nothing)
        .method_not_allowed_fallback(not_that_way)
        .layer(middleware::from_fn(to_its_end))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn(in_one_shape))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(api)
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

async fn nothing(uri: Uri) -> Problem {
    Problem::missing(format!("there is no `{}` here", uri.path()))
        .hint("`/api/v1/openapi.json` lists what there is".to_owned())
}

async fn not_that_way(uri: Uri) -> Problem {
    other_method(uri.path())
}

fn other_method(path: &str) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{path}` is not asked for by this method"))
        .hint("`/api/v1/openapi.json` lists what there is".to_owned())
}

/// Has what may change something go on when nobody waits for it any more: what is changed is noted, whoever has gone by then.
async fn to_its_end(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    tokio::spawn(next.run(request)).await.unwrap_or_else(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request panicked, which is a bug")
            .into_response()
    })
}

/// Ends what takes too long: a body that does not come, a store that does not answer.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWERED_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::away("the answer took too long").into_response(),
    }
}

/// Has every error say why, in the one shape that errors have: also those that are found before a handler is asked.
async fn in_one_shape(request: Request, next: Next) -> Response {
    /// The most bytes of a reason.
    const LONGEST: usize = 4 << 10;
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let problem = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, format!("a body has at most {} KiB", LONGEST_BODY >> 10))
        }
        StatusCode::METHOD_NOT_ALLOWED => other_method(&path),
        _ => {
            let text = to_bytes(body, LONGEST).await.unwrap_or_default();
            Problem::new(status, format!("the request is not understood: {}", lossy(text.trim_ascii())))
        }
    };
    let mut response = problem.into_response();
    // Which methods there are.
    response
        .headers_mut()
        .extend(parts.headers.get(header::ALLOW).map(|allow| (header::ALLOW, allow.clone())));
    response
}
