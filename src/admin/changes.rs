//! What changes something. Each change that was made is one line of the log, and of what `/api/v1/changes` shows: who asked, for what,
//! and what it was before.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, json as answer, ok, read};
use super::api::Api;
use super::asked::ResetBody;
use super::audit::MOST;
use super::connection::Connection;
use super::reads::{Rows, wanted};
use crate::telemetry::AdminChange;

/// Gives back the hits of a descriptor's counters, or of all counters of a subject.
pub(super) async fn reset(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    body: Bytes,
) -> Answer {
    let question = read::<ResetBody>(&body)?.question(&api.served.engine().policy())?;
    let told = match api.ask(question).await {
        Ok(told) => told,
        Err(problem) => {
            if let Some(told) = problem.change_in_doubt() {
                note_reset(&api, &connection, told, &format!("not known: {}", problem.message())).await;
            }
            return Err(problem);
        }
    };
    let after = if told["after"].is_null() { "not known".to_owned() } else { used(&told["after"]) };
    note_reset(&api, &connection, &told, &after).await;
    Ok(answer(StatusCode::OK, &told))
}

async fn note_reset(api: &Api, connection: &Connection, told: &Value, after: &str) {
    let whose = match told["subject"].as_str() {
        Some(subject) => format!("subject {subject}"),
        None => told["descriptor"].as_str().unwrap_or_default().to_owned(),
    };
    let object = format!("{}: {whose}", told["domain"].as_str().unwrap_or_default());
    let before = used(&told["before"]);
    api.note(AdminChange {
        peer: &connection.operator(),
        what: "counters reset",
        object: &object,
        before: &before,
        after,
    })
    .await;
}

/// The last changes, the newest first.
pub(super) async fn made(State(api): State<Arc<Api>>, rows: Rows) -> Answer {
    let wanted = wanted(rows)?;
    let word = wanted.word();
    let mut found = api.audit.last();
    // What an object says first is its domain, where it has one.
    found.retain(|made| made.object.split_once(": ").is_none_or(|(domain, _)| wanted.is_in(domain)));
    found.retain(|made| {
        let texts = [&made.what, &made.object, &made.before, &made.after];
        texts.into_iter().any(|text| text.to_lowercase().contains(&word))
    });
    let total = found.len();
    let changes: Vec<_> = wanted.rows(found).collect();
    Ok(ok(&json!({"total": total, "most": MOST, "durable": api.audit.is_durable, "changes": changes})))
}

/// `3 of 5, 40 of 1000`.
fn used(counters: &Value) -> String {
    /// More nobody reads in one line.
    const MOST: usize = 20;
    let all = counters.as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = all.iter().take(MOST).map(|counter| {
        let numbers = &counter["numbers"];
        format!("{} of {}", numbers["used"], numbers["limit"])
    });
    let more = (all.len() > MOST).then(|| format!("{} more", all.len() - MOST));
    shown.chain(more).collect::<Vec<_>>().join(", ")
}
