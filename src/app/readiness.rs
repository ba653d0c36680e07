//! When this process says that it is ready, where control planes have a word in that.

use std::future::pending;
use std::sync::Arc;

use super::origins::Xds;
use crate::admin::Health;
use crate::clock::Clock;
use crate::control::Latest;
use crate::limiter::Limiter;
use crate::rls;
use crate::store::Store;
use crate::telemetry::{NoDomain, Ready, XdsWaiting};

/// Waits until each control plane has sent a set without mistakes, unless that is not to be waited for.
pub(super) async fn first_answers(xds: Option<&Xds>, latest: &Latest) {
    let Some(xds) = xds.filter(|xds| !xds.starts_without) else { return };
    let names: Vec<&str> = xds.followed.servers.iter().map(|server| server.name.as_str()).collect();
    XdsWaiting { sources: &names.join(", ") }.emit();
    let mut changes = latest.changes();
    while latest.remotes().iter().any(|remote| !remote.has_answered) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Says that the process is ready from now on, or while there is a domain where that is asked for. Does not end.
pub(super) async fn ready_from_now<S: Store, C: Clock>(
    xds: Option<&Xds>,
    limiter: &Arc<Limiter<S, C>>,
    latest: &Latest,
    health: &Health,
    serving: &rls::Serving,
) {
    let needs_a_domain = xds.is_some_and(|xds| xds.needs_a_domain);
    let mut changes = latest.changes();
    loop {
        let is_ready = !needs_a_domain || limiter.engine.policy().domains().next().is_some();
        let was_ready = health.is_ready();
        serving.set(is_ready);
        health.set_ready(is_ready);
        // Once it is so: whoever reads the line may ask at once.
        match (was_ready, is_ready) {
            (false, true) => Ready.emit(),
            (true, false) => NoDomain.emit(),
            _ => {}
        }
        if !needs_a_domain || changes.changed().await.is_err() {
            return pending().await;
        }
    }
}
