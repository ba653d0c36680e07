//! The routes of the admin port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use super::answer::Problem;
use super::api::{Api, LONGEST_BODY};
use super::guard::{LOGIN, guard, login, logout};
use super::{changes, compatibility, live, page, people, reads};

/// The longest that an answer may take, until its first byte.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// What describes the routes.
const DOCUMENT: &str = include_str!("openapi.json");

/// All routes, with who may use them.
pub(super) fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .route("/config", get(reads::config))
        .route("/config/reload", post(changes::reload))
        .route("/counters/lookup", post(reads::lookup))
        .route("/counters/reset", post(changes::reset))
        .route("/denials", get(reads::denials))
        .route("/domains", get(reads::domains))
        .route("/explain", post(reads::explain))
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
        .layer(middleware::from_fn(in_time))
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
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` is not asked for by this method", uri.path()))
        .hint("`/api/v1/openapi.json` lists what there is".to_owned())
}

/// Ends what takes too long: a body that does not come, a store that does not answer.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWERED_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::away("the answer took too long").into_response(),
    }
}
