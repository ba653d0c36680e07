//! The numbers as they change: an event stream (`text/event-stream`) of one tick a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::Problem;
use super::api::Api;
use super::connection::Connection;
use super::guard::{has_certificate, is_known};
use super::reads::store;
use super::shown::time;
use super::viewers::{MOST, Viewers};
use crate::model::Catalog;
use crate::telemetry::{Counts, RuleTotals};

/// The time between two ticks.
const EVERY: Duration = Duration::from_secs(1);
/// The most rules of a tick, the busiest first.
const MOST_RULES: usize = 200;
/// The most domains of a tick, the busiest first.
const MOST_DOMAINS: usize = 100;

/// One more viewer.
pub(super) async fn live(State(api): State<Arc<Api>>, request: Request) -> Response {
    let connection = request.extensions().get::<Connection>().cloned();
    let headers = request.headers().clone();
    let has_certificate = has_certificate(connection.as_ref());
    let Some(ticks) = api.viewers.join(connection) else {
        return Problem::away(format!("{MOST} viewers are watching already, which is the most"))
            .into_response();
    };
    // Who was let in by a token that holds no more is let out.
    let may_look = move |_: &Arc<str>| {
        has_certificate || api.token.as_ref().is_none_or(|token| is_known(token, &headers))
    };
    let ticks = ReceiverStream::new(ticks).take_while(may_look);
    let events = ticks.map(|tick| Ok::<_, Infallible>(Event::default().event("tick").data(tick)));
    Sse::new(events).into_response()
}

/// Makes the ticks, as long as it is polled. While nobody watches it does nothing.
pub(super) async fn tick(api: Arc<Api>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Before> = None;
    loop {
        ticks.tick().await;
        if api.viewers.len() == 0 {
            before = None;
            continue;
        }
        let now = Before::now(&api);
        let tick = told(&api, before.as_ref(), &now, &api.viewers);
        api.viewers.tick(&tick.to_string().into());
        before = Some(now);
    }
}

/// What was counted up to a moment.
struct Before {
    at: Instant,
    catalog: Arc<Catalog>,
    counts: Counts,
}

impl Before {
    fn now(api: &Api) -> Self {
        let catalog = Arc::clone(api.served.engine().policy().catalog());
        Self { at: Instant::now(), counts: api.metrics.counts(&catalog), catalog }
    }
}

/// What changed between two moments. The first tick, and that after a reload, which numbers rules anew, has no rates yet.
fn told(api: &Api, before: Option<&Before>, now: &Before, viewers: &Viewers) -> Value {
    let before = before.filter(|before| Arc::ptr_eq(&before.catalog, &now.catalog));
    let seconds = before.map_or(0.0, |before| (now.at - before.at).as_secs_f64());
    let (domains, rules) = match before {
        Some(before) => (domain_rates(before, now, seconds), rule_rates(before, now, seconds)),
        None => (Vec::new(), Vec::new()),
    };
    let left_out = rules.len().saturating_sub(MOST_RULES);
    let (status, connections) = (api.latest.status(), api.metrics.connections());
    json!({
        "at": time(api.served.now().wall),
        "interval_seconds": seconds,
        "ready": api.health.is_ready(),
        "generation": status.generation,
        "stale": status.stale,
        "domains": domains.into_iter().take(MOST_DOMAINS).map(|(_, told)| told).collect::<Vec<_>>(),
        "rules": rules.into_iter().take(MOST_RULES).map(|(_, told)| told).collect::<Vec<_>>(),
        "rules_left_out": left_out,
        "store": store(api),
        "connections": {"grpc": connections.grpc, "http": connections.http, "admin": connections.admin},
        "memory_bytes": api.metrics.resident_bytes(),
        "viewers": viewers.len(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    let rate = now.wrapping_sub(before) as f64 / seconds.max(0.001);
    (rate * 10.0).round() / 10.0
}

/// By how much was asked, the busiest first; domains that nobody asked for are left out.
fn domain_rates(before: &Before, now: &Before, seconds: f64) -> Vec<(u64, Value)> {
    let each = now.catalog.domains.iter().zip(&now.counts.domains).zip(&before.counts.domains);
    let each = each.filter_map(|((name, now), before)| {
        let asked =
            now.ok.wrapping_add(now.over_limit).wrapping_sub(before.ok.wrapping_add(before.over_limit));
        (asked > 0).then(|| {
            let told = json!({
                "name": &**name,
                "ok_per_second": rate(before.ok, now.ok, seconds),
                "over_limit_per_second": rate(before.over_limit, now.over_limit, seconds),
            });
            (asked, told)
        })
    });
    busiest_first(each.collect())
}

/// The same of rules.
fn rule_rates(before: &Before, now: &Before, seconds: f64) -> Vec<(u64, Value)> {
    let each = now.catalog.rules.iter().zip(&now.counts.rules).zip(&before.counts.rules);
    let each = each.filter_map(|(((domain, label), now_counts), before)| {
        let hits = now_counts.total.wrapping_sub(before.total);
        (hits > 0).then(|| {
            let per_second = |of: fn(&RuleTotals) -> u64| rate(of(before), of(now_counts), seconds);
            let told = json!({
                "domain": now.catalog.domain(*domain).map_or("", |name| &**name),
                "rule": &**label,
                "hits_per_second": per_second(|counts| counts.total),
                "within_limit_per_second": per_second(|counts| counts.within),
                "near_limit_per_second": per_second(|counts| counts.near),
                "over_limit_per_second": per_second(|counts| counts.over),
                "shadow_mode_per_second": per_second(|counts| counts.shadow),
            });
            (hits, told)
        })
    });
    busiest_first(each.collect())
}

fn busiest_first(mut rates: Vec<(u64, Value)>) -> Vec<(u64, Value)> {
    rates.sort_by_key(|(many, _)| std::cmp::Reverse(*many));
    rates
}
