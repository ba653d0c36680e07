//! `/healthcheck`, `/ready` and `/metrics`, on the port where users of envoyproxy/ratelimit look for them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;

use super::Health;
use crate::clock::Clock;
use crate::control::{Latest, Remote};
use crate::limiter::Limiter;
use crate::policy::Policy;
use crate::store::Store;
use crate::telemetry::{Format, Metrics, Snapshot, SubjectCounts, XdsSource};

/// What the operator's routes report.
#[derive(Debug)]
pub struct Parts<S, C> {
    /// Whether traffic should be sent here.
    pub health: Arc<Health>,
    /// What happened since the start.
    pub metrics: Arc<Metrics>,
    /// What decides.
    pub limiter: Arc<Limiter<S, C>>,
    /// Which configuration is in force.
    pub latest: Arc<Latest>,
}

/// Routes that report the process and what it enforces.
pub fn router<S: Store, C: Clock>(parts: Parts<S, C>) -> Router {
    Router::new()
        .route("/healthcheck", get(healthcheck::<S, C>))
        .route("/ready", get(ready::<S, C>))
        .route("/metrics", get(prometheus::<S, C>))
        .with_state(Arc::new(parts))
}

/// As envoyproxy/ratelimit words it: `OK` with 200, or 500.
async fn healthcheck<S: Store, C: Clock>(State(parts): State<Arc<Parts<S, C>>>) -> impl IntoResponse {
    if parts.health.is_ready() {
        (StatusCode::OK, "OK")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "not ready")
    }
}

async fn ready<S: Store, C: Clock>(State(parts): State<Arc<Parts<S, C>>>) -> impl IntoResponse {
    if parts.health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn prometheus<S: Store, C: Clock>(
    State(parts): State<Arc<Parts<S, C>>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let (store, policy) = (parts.limiter.store.statistics(), parts.limiter.engine.policy());
    let configuration = parts.latest.status();
    let now = Snapshot {
        counters: store.counters,
        counter_bytes: store.bytes,
        evicted: store.evicted,
        expired: store.expired,
        now: parts.limiter.clock.now(),
        rules: policy.rules(),
        is_ready: parts.health.is_ready(),
        generation: configuration.generation,
        is_stale: configuration.stale,
        changed: configuration.since,
        xds: parts.latest.remotes().into_iter().map(source).collect(),
        catalog: Arc::clone(policy.catalog()),
        subjects: subjects(&policy),
    };
    match text(Arc::clone(&parts.metrics), now, format).await {
        Some(body) => ([(header::CONTENT_TYPE, format.content_type())], body).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The numbers are added up on a thread that nobody waits for: of very many rules that takes its time, and probes come to the
/// same port. A text that is long leaves in parts, each made when the one before was taken, so that a slow reader keeps no more
/// than the numbers. None if that panicked, which was logged.
async fn text(metrics: Arc<Metrics>, now: Snapshot, format: Format) -> Option<Body> {
    let added = tokio::task::spawn_blocking(move || {
        let mut parts = metrics.exposition(now, format);
        (parts.next(), parts.next(), parts)
    });
    let (first, second, rest) = added.await.ok()?;
    let Some(second) = second else { return first.map(|all| Body::from(Bytes::from_owner(all))) };
    let parts = first.into_iter().chain([second]).chain(rest).map(Bytes::from_owner);
    Some(Body::from_stream(stream::iter(parts.map(Ok::<_, Infallible>))))
}

fn source(remote: Remote) -> XdsSource {
    XdsSource {
        name: remote.name,
        is_connected: remote.is_connected,
        is_refused: remote.is_refused,
        updated: remote.updated,
        updates: remote.accepted,
        nacks: remote.refused,
    }
}

/// How many subjects each domain has, in order.
fn subjects(policy: &Policy) -> Vec<SubjectCounts> {
    let of_domain = policy.domains().filter_map(|domain| {
        let directory = domain.directory.as_ref()?;
        let (subjects, credentials) = (directory.subjects() as u64, directory.credentials() as u64);
        Some(SubjectCounts { domain: domain.name.clone(), subjects, credentials })
    });
    let mut counts: Vec<_> = of_domain.collect();
    counts.sort_unstable_by(|one, other| one.domain.cmp(&other.domain));
    counts
}
