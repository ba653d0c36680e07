//! `/healthcheck`, `/ready` and `/metrics`, on the port where users of envoyproxy/ratelimit look for them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Health;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::store::MemoryStore;
use crate::telemetry::{Metrics, Snapshot};

struct Parts<C> {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    engine: Arc<Engine<MemoryStore, C>>,
}

/// Routes that tell about `engine` and the process around it.
pub fn router<C: Clock>(
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    engine: Arc<Engine<MemoryStore, C>>,
) -> Router {
    Router::new()
        .route("/healthcheck", get(healthcheck))
        .route("/ready", get(ready))
        .route("/metrics", get(prometheus))
        .with_state(Arc::new(Parts { health, metrics, engine }))
}

/// As envoyproxy/ratelimit words it: `OK` with 200, or 500.
async fn healthcheck<C: Clock>(State(parts): State<Arc<Parts<C>>>) -> impl IntoResponse {
    if parts.health.is_ready() {
        (StatusCode::OK, "OK")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "not ready")
    }
}

async fn ready<C: Clock>(State(parts): State<Arc<Parts<C>>>) -> impl IntoResponse {
    if parts.health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn prometheus<C: Clock>(State(parts): State<Arc<Parts<C>>>) -> impl IntoResponse {
    let store = &parts.engine.store;
    let text = parts.metrics.render(&Snapshot {
        counters: store.len(),
        counter_bytes: store.bytes(),
        evicted: store.evicted(),
        rules: parts.engine.policy().rules(),
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
