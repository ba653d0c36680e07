//! What changes something. Each change that was made is one line of the log, and of what `/api/v1/changes` shows: who asked, for what,
//! and what it was before.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, Problem, json as answer, ok, read};
use super::api::Api;
use super::asked::ResetBody;
use super::audit::MOST;
use super::connection::Connection;
use super::reads::{Rows, wanted};
use super::reloads::Reloaded;
use super::shown;
use crate::control::{Change, Published, yielding};
use crate::telemetry::{AdminChange, ConfigReloaded};

/// Reads the configuration anew and says what became of it.
pub(super) async fn reload(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
) -> Answer {
    let (reloaded, is_own) = api.reloads.next(reloaded(&api)).await;
    let Reloaded { before, status, told, after } = reloaded?;
    // What several asked for is one change.
    if is_own {
        let before = format!("generation {before}");
        api.note(AdminChange {
            peer: &connection.operator(),
            what: "config reload",
            object: "config",
            before: &before,
            after: &after,
        })
        .await;
    }
    Ok(answer(status, &told))
}

async fn reloaded(api: &Api) -> Result<Reloaded, Problem> {
    let mut before = api.latest.status().generation;
    let served = Arc::clone(&api.served);
    let published = yielding(move || served.reload()).await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "loading the configuration panicked, which is a bug")
    })?;
    let published = published.ok_or_else(|| {
        Problem::new(StatusCode::CONFLICT, "the configuration came from no files that could be read again")
    })?;
    let (status, told, after) = match published {
        Published::Applied { generation, rules, change, names, warnings } => {
            // Files that changed may have been read meanwhile for another reason.
            before = generation.saturating_sub(1);
            ConfigReloaded { files: names.len(), rules, change: &change.told() }.emit(&api.metrics);
            let Change { rules_before, added, removed, .. } = &change;
            let told = json!({
                "result": "applied",
                "generation": generation,
                "rules": rules,
                "rules_before": rules_before,
                "domains_added": added,
                "domains_removed": removed,
                "files": names,
                "diagnostics": shown::mistakes(&warnings),
            });
            (StatusCode::OK, told, format!("generation {generation}"))
        }
        Published::Rejected(diagnostics) => {
            before = api.latest.status().generation;
            let told = json!({"result": "rejected", "generation": before, "diagnostics": shown::mistakes(&diagnostics)});
            (StatusCode::UNPROCESSABLE_ENTITY, told, "rejected".to_owned())
        }
        Published::Superseded => {
            let generation = api.latest.status().generation;
            let told = json!({"result": "superseded", "generation": generation, "diagnostics": []});
            (StatusCode::OK, told, format!("generation {generation}"))
        }
    };
    Ok(Reloaded { before, status, told, after })
}

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
