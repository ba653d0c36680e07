//! What envoyproxy/ratelimit answers on its debug port, for scripts that ask there.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};

use super::answer::Problem;
use super::api::Api;
use super::shown::{RuleRow, rules};
use crate::policy::Policy;

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

/// All rules, in the order of the files.
fn rows(policy: &Policy) -> Vec<RuleRow<'_>> {
    let mut found = Vec::new();
    for domain in policy.domains() {
        rules(&domain.name, &domain.root, "", &mut found);
    }
    found.sort_by_key(|rule| (Arc::clone(&rule.place().file), rule.place().line, rule.place().column));
    found
}

/// `domain.key_value.key`, as that server names the limit at the end of a path.
fn full_key(rule: &RuleRow<'_>) -> String {
    let path = rule.path.split(" > ").map(|node| match node.split_once('=') {
        Some((key, value)) => format!("{key}_{value}"),
        None => node.to_owned(),
    });
    std::iter::once(rule.domain.to_owned()).chain(path).collect::<Vec<_>>().join(".")
}

/// The rules in force, a line for each limit. Windows that it has no unit for are written as policies write them.
pub(super) async fn rlconfig(State(api): State<Arc<Api>>) -> Response {
    let policy = api.served.engine().policy();
    let mut text = String::new();
    for row in rows(&policy) {
        let Some(rule) = &row.node.rule else { continue };
        let key = full_key(&row);
        if rule.is_unlimited() {
            text.push_str(&format!("{key}: unlimited\n"));
        }
        for limit in &rule.limits {
            let unit = match limit.window.in_units() {
                Some((unit, 1)) => unit.name().to_uppercase(),
                _ => limit.window.to_string(),
            };
            let requests =
                limit.requests.written().map_or("by subject".to_owned(), |requests| requests.to_string());
            text.push_str(&format!(
                "{key}: unit={unit} requests_per_unit={requests}, shadow_mode: {}\n",
                rule.shadow
            ));
        }
    }
    (TEXT, text).into_response()
}

/// What was counted for each rule, under that server's names.
pub(super) async fn stats(State(api): State<Arc<Api>>) -> Response {
    let policy = api.served.engine().policy();
    let counts = api.metrics.counts(policy.catalog());
    let mut text = String::new();
    for row in rows(&policy) {
        let index = row.node.rule.as_ref().and_then(|rule| rule.index);
        let counted = index.and_then(|index| counts.rules.get(index.0 as usize)).copied().unwrap_or_default();
        let key = full_key(&row);
        for (name, count) in [
            ("near_limit", counted.near),
            ("over_limit", counted.over),
            ("shadow_mode", counted.shadow),
            ("total_hits", counted.total),
            ("within_limit", counted.within),
        ] {
            text.push_str(&format!("ratelimit.service.rate_limit.{key}.{name}: {count}\n"));
        }
    }
    (TEXT, text).into_response()
}

/// Profiles of a Go program, which this is not.
pub(super) async fn debug(uri: Uri) -> Problem {
    Problem::missing(format!("there is no `{}`: Spillway is no Go program", uri.path())).hint(
        "`/metrics` on the HTTP port has its memory, CPU time and threads; `perf` profiles it".to_owned(),
    )
}
