//! The certificates of the ports that speak TLS.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::ok;
use super::api::Api;
use super::shown::time;
use crate::model::Timestamp;
use crate::telemetry::{TlsClients, TlsState};

const SECONDS_OF_A_DAY: i64 = 24 * 3_600;

/// What each port shows, what it holds clients against, and for how long that is good.
pub(super) async fn certificates(State(api): State<Arc<Api>>) -> Response {
    let now = api.served.now().wall;
    let ports = api.metrics.certificates();
    ok(&json!({"ports": ports.iter().map(|port| shown(port, now)).collect::<Vec<_>>()}))
}

fn shown(state: &TlsState, now: Timestamp) -> Value {
    let until = |seconds: u64| json!({"until": at(seconds), "days_left": days_left(seconds, now)});
    let clients = state.in_force.clients.as_ref().map(|TlsClients { authorities, lists_until }| {
        let authorities = authorities.iter().map(|(subject, seconds)| {
            json!({"subject": subject, "not_after": at(*seconds), "days_left": days_left(*seconds, now)})
        });
        json!({
            "authorities": authorities.collect::<Vec<_>>(),
            "revocations": lists_until.map(until),
        })
    });
    json!({
        "port": state.port,
        "names": state.in_force.names,
        "not_after": at(state.in_force.not_after),
        "days_left": days_left(state.in_force.not_after, now),
        "stale": state.refusal.is_some(),
        "failure": state.refusal.as_deref(),
        "clients": clients,
    })
}

/// A time; the last that there is for one beyond it, as of certificates that never expire.
fn at(seconds: u64) -> String {
    time(Timestamp::from_secs(seconds.min(LAST)))
}

/// The end of the year 2553, beyond which a time in nanoseconds is too large for 64 bits.
const LAST: u64 = u64::MAX / 1_000_000_000 - 1;

/// Whole days; less than 0 when it is over.
fn days_left(until: u64, now: Timestamp) -> i64 {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    seconds(until).saturating_sub(seconds(now.as_nanos() / 1_000_000_000)).div_euclid(SECONDS_OF_A_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_ones_and_negative_when_it_is_over() {
        let now = Timestamp::from_secs(1_800_000_000);
        let left = |more: i64| days_left(1_800_000_000_u64.checked_add_signed(more).unwrap(), now);
        assert_eq!([left(86_400), left(86_399), left(0), left(-1)], [1, 0, 0, -1]);
        assert!(days_left(u64::MAX, now) > 1_000_000);
    }

    #[test]
    fn a_time_that_is_far_away_is_a_time() {
        assert_eq!(at(1_800_000_000), "2027-01-15T08:00:00Z");
        assert!(at(253_402_300_799).starts_with('2'), "{}", at(253_402_300_799));
    }
}
