//! Subjects as operators change them: who is there, what they bought, and what they show to be known by.
//!
//! A change is made beside the files: what it does not name stays as they say, and goes on following them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem, json as answer, read_secretly};
use super::api::Api;
use super::asked::{Question, known};
use super::connection::Connection;
use crate::control::{Amendment, NotChanged};
use crate::subjects::{CredentialChange, SubjectChange, credential_sha256};
use crate::telemetry::AdminChange;

/// The most bytes of an id.
const LONGEST_ID: usize = 256;

/// The fields of a subject. What is not there stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fields {
    enabled: Option<bool>,
    attributes: Map<String, Value>,
    billing_anchor: Option<String>,
    time_zone: Option<String>,
    facts: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    id: String,
    enabled: Option<bool>,
    #[serde(default)]
    attributes: Map<String, Value>,
    billing_anchor: Option<String>,
    time_zone: Option<String>,
    #[serde(default)]
    facts: Map<String, Value>,
    #[serde(default)]
    credentials: Vec<Credential>,
}

/// A credential, as it is or by its SHA-256.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    kind: String,
    value: Option<String>,
    sha256: Option<String>,
    #[serde(default)]
    attributes: Map<String, Value>,
}

/// Shows no credential.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Credential {
    fn change(self, enabled: bool) -> Result<CredentialChange, Problem> {
        let Self { kind, value, sha256, attributes } = self;
        let sha256 = match (value, sha256) {
            (Some(value), None) if !value.is_empty() => credential_sha256(value.as_bytes()),
            (None, Some(sha256)) => sha256.to_ascii_lowercase(),
            _ => {
                return Err(Problem::wrong("a credential is given by `value`, or by `sha256`")
                    .hint("write `{\"kind\": \"api_key\", \"value\": \"key_1\"}`".to_owned()));
            }
        };
        Ok(CredentialChange { kind, sha256, enabled, attributes })
    }
}

/// Who asks for a change of whom.
struct Asked {
    api: Arc<Api>,
    peer: SocketAddr,
    domain: String,
    id: String,
}

impl Asked {
    /// Makes the change, writes its line in the log and shows the subject as it is then.
    async fn make(self, what: &str, status: StatusCode, change: Option<SubjectChange>) -> Answer {
        let Self { api, peer, domain, id } = self;
        known(&domain, &api.served.engine().policy())?;
        let before = api.ask(Question::Subject { domain: domain.clone(), id: id.clone() }).await.ok();
        let amendment = Amendment { domain: domain.clone(), id: id.clone(), change };
        let served = Arc::clone(&api.served);
        // On a thread that serves nobody: the files are read once more.
        let made = tokio::task::spawn_blocking(move || served.change_subject(&amendment)).await;
        let made = made.map_err(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change panicked, which is a bug")
        })?;
        let no_files = || {
            Problem::new(
                StatusCode::CONFLICT,
                "the configuration came from no files that could be read again",
            )
        };
        let generation = made.ok_or_else(no_files)?.map_err(|why| refused(&why))?;
        // One that was made here and taken back is no more.
        let after = api.ask(Question::Subject { domain: domain.clone(), id: id.clone() }).await.ok();
        let object = format!("{domain}: subject {id}");
        AdminChange {
            peer,
            what,
            object: &object,
            before: &line(before.as_ref()),
            after: &line(after.as_ref()),
        }
        .emit();
        Ok(answer(
            status,
            &json!({"generation": generation, "durable": api.served.keeps_changes(), "subject": after}),
        ))
    }
}

fn refused(why: &NotChanged) -> Problem {
    let status = match why {
        NotChanged::Unknown { .. } | NotChanged::NoSubjects(_) => StatusCode::NOT_FOUND,
        NotChanged::Exists { .. } | NotChanged::Superseded | NotChanged::Files(_) => StatusCode::CONFLICT,
        NotChanged::Wrong(_) | NotChanged::NoNumber(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotChanged::NotKept(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let hint = match why {
        NotChanged::Files(_) => Some("`/api/v1/config` and `spillway check` say where".to_owned()),
        _ => None,
    };
    Problem::new(status, why.to_string()).hint(hint)
}

/// What is worth a word in the log; nobody where there is nobody.
fn line(subject: Option<&Value>) -> String {
    let Some(subject) = subject else { return "nobody".to_owned() };
    let facts = ["enabled", "attributes", "billing_anchor", "time_zone", "facts", "credentials"];
    let facts: Map<String, Value> = facts
        .into_iter()
        .map(|name| (name.to_owned(), subject[name].clone()))
        .filter(|(_, value)| !value.is_null())
        .collect();
    Value::Object(facts).to_string()
}

/// Creates a subject that the files do not have.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    Path(domain): Path<String>,
    body: Bytes,
) -> Answer {
    let New { id, enabled, attributes, billing_anchor, time_zone, facts, credentials } =
        read_secretly(&body)?;
    if id.is_empty() || id.len() > LONGEST_ID || id.contains(['/', '\n', '\r', '\0']) {
        return Err(Problem::wrong(format!(
            "an id has from 1 to {LONGEST_ID} bytes, and no `/` or line break in it"
        )));
    }
    let credentials = credentials.into_iter().map(|one| one.change(true)).collect::<Result<_, _>>()?;
    let change =
        SubjectChange { created: true, enabled, attributes, billing_anchor, time_zone, facts, credentials };
    Asked { api, peer: connection.peer, domain, id }
        .make("subject create", StatusCode::CREATED, Some(change))
        .await
}

/// Changes what is named: a plan, a number of its own, facts, whether it is enabled.
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    Path((domain, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let Fields { enabled, attributes, billing_anchor, time_zone, facts } = read_secretly(&body)?;
    let change =
        SubjectChange { enabled, attributes, billing_anchor, time_zone, facts, ..SubjectChange::default() };
    if change == SubjectChange::default() {
        return Err(Problem::wrong("the body names nothing that is to change")
            .hint("write `{\"attributes\": {\"plan\": \"scale\"}}`, say".to_owned()));
    }
    Asked { api, peer: connection.peer, domain, id }
        .make("subject change", StatusCode::OK, Some(change))
        .await
}

/// Takes back every change that was made of a subject here: the files alone count again.
pub(super) async fn take_back(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    Path((domain, id)): Path<(String, String)>,
) -> Answer {
    Asked { api, peer: connection.peer, domain, id }
        .make("subject changes taken back", StatusCode::OK, None)
        .await
}

/// Gives a subject a credential, or lets one resolve again.
pub(super) async fn add_credential(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    Path((domain, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let credentials = vec![read_secretly::<Credential>(&body)?.change(true)?];
    let change = SubjectChange { credentials, ..SubjectChange::default() };
    Asked { api, peer: connection.peer, domain, id }
        .make("credential add", StatusCode::OK, Some(change))
        .await
}

/// Lets a credential resolve no more.
pub(super) async fn revoke_credential(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    Path((domain, id)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let credential = read_secretly::<Credential>(&body)?.change(false)?;
    {
        let policy = api.served.engine().policy();
        known(&domain, &policy)?;
        let directory = policy.domain(domain.as_bytes()).and_then(|domain| domain.directory.as_ref());
        let subject = directory.and_then(|directory| directory.subject(&id));
        // To revoke what nobody has is a slip, and who made it has to know that the right one still resolves.
        if subject.is_some_and(|subject| !subject.has_credential(&credential.kind, &credential.sha256)) {
            return Err(Problem::missing(format!(
                "`{id}` has no such credential of the kind `{}`",
                credential.kind
            )));
        }
    }
    let credentials = vec![credential];
    let change = SubjectChange { credentials, ..SubjectChange::default() };
    Asked { api, peer: connection.peer, domain, id }
        .make("credential revoke", StatusCode::OK, Some(change))
        .await
}
