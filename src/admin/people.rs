//! Subjects as operators change them: who is there, what they bought, and what they show to be known by.
//!
//! A change is made beside the files: what it does not name stays as they say, and goes on following them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem, json as answer, read_secretly};
use super::api::Api;
use super::asked::{Question, Used, known};
use super::connection::Connection;
use super::desk::subject_as_configured;
use super::differences;
use crate::control::{Amendment, NotChanged, slips};
use crate::subjects::{CredentialChange, ID, SubjectChange, TakenBack, credential_sha256, is_id};
use crate::telemetry::{AdminChange, AdminSubjectChange, Operator};

/// What is said where replicas share their counters, so that one might think they share this.
const ALONE: &str = "this replica alone has the change, and as long as it runs: replicas share counters, and no subjects. Make it at each \
                     one, or write it into the subjects file";

/// The fields of a subject. What is not there stays as it is; of what is null the files count again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fields {
    enabled: Said<bool>,
    attributes: Map<String, Value>,
    billing_anchor: Said<String>,
    time_zone: Said<String>,
    facts: Map<String, Value>,
}

/// What is said of a field.
#[derive(Debug, Default)]
enum Said<T> {
    /// Nothing: it is not there.
    #[default]
    Nothing,
    /// Null.
    TakenBack,
    Value(T),
}

impl<'d, T: Deserialize<'d>> Deserialize<'d> for Said<T> {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::TakenBack, Self::Value))
    }
}

impl<T> Said<T> {
    fn is_taken_back(&self) -> bool {
        matches!(self, Self::TakenBack)
    }

    fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::TakenBack => None,
        }
    }
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
    peer: Operator,
    domain: String,
    id: String,
}

impl Asked {
    /// Makes the change, notes it and shows the subject as it is then.
    async fn make(self, what: &str, status: StatusCode, change: Option<SubjectChange>) -> Answer {
        let Self { api, peer, domain, id } = self;
        let warnings = {
            let policy = api.served.engine().policy();
            known(&domain, &policy)?;
            let both = policy.domain(domain.as_bytes()).zip(change.as_ref());
            let slips = both.map_or_else(Vec::new, |(domain, change)| slips(domain, change));
            slips.into_iter().chain(api.store.is_shared.then(|| ALONE.to_owned())).collect::<Vec<_>>()
        };
        // What it was and is, is known also while the store is away.
        let as_configured =
            || subject_as_configured(api.served.engine(), api.served.now(), &domain, &id).ok();
        let before = as_configured();
        let amendment = Amendment { domain: domain.clone(), id: id.clone(), change };
        let served = Arc::clone(&api.served);
        // On a thread that serves nobody: it may have to wait for the disk.
        let made = tokio::task::spawn_blocking(move || served.change_subject(&amendment)).await;
        let made = made.map_err(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change panicked, which is a bug")
        })?;
        let object = format!("{domain}: subject {id}");
        let generation = match made {
            Ok(generation) => generation,
            Err(why) => {
                if let NotChanged::InDoubt(_) = &why {
                    let after = format!("not known: {why}");
                    let change =
                        AdminChange { peer: &peer, what, object: &object, before: "", after: &after };
                    api.note(change).await;
                }
                return Err(refused(&why));
            }
        };
        // One that was made here and taken back is no more.
        let with_counters = Question::Subject { domain: domain.clone(), id: id.clone(), used: Used::IfKnown };
        let after = api.ask(with_counters).await.ok().or_else(as_configured);
        let differences = differences::between(before.as_ref(), after.as_ref());
        let changes = differences::by_field(&differences);
        AdminSubjectChange { peer: &peer, what, domain: &domain, subject: &id, changes }.emit();
        let (before, now) = differences::sides(&differences);
        api.keep(AdminChange { peer: &peer, what, object: &object, before: &before, after: &now }).await;
        Ok(answer(
            status,
            &json!({"generation": generation, "durable": api.served.keeps_changes(), "subject": after, "warnings": warnings}),
        ))
    }
}

fn refused(why: &NotChanged) -> Problem {
    let status = match why {
        NotChanged::Unknown { .. } | NotChanged::NoSubjects(_) => StatusCode::NOT_FOUND,
        NotChanged::TooMany => StatusCode::INSUFFICIENT_STORAGE,
        NotChanged::Exists { .. } => StatusCode::CONFLICT,
        NotChanged::Wrong(_) | NotChanged::NoNumber(_) | NotChanged::TooManyAttributes { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        NotChanged::NotKept(_) | NotChanged::InDoubt(_) | NotChanged::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, why.to_string())
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
    if !is_id(&id) {
        return Err(Problem::wrong(ID));
    }
    let credentials = credentials.into_iter().map(|one| one.change(true)).collect::<Result<_, _>>()?;
    let change = SubjectChange {
        created: true,
        enabled,
        attributes,
        billing_anchor,
        time_zone,
        facts,
        credentials,
        taken_back: TakenBack::default(),
    };
    Asked { api, peer: connection.operator(), domain, id }
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
    let taken_back = TakenBack {
        enabled: enabled.is_taken_back(),
        billing_anchor: billing_anchor.is_taken_back(),
        time_zone: time_zone.is_taken_back(),
    };
    let change = SubjectChange {
        enabled: enabled.value(),
        attributes,
        billing_anchor: billing_anchor.value(),
        time_zone: time_zone.value(),
        facts,
        taken_back,
        ..SubjectChange::default()
    };
    if change == SubjectChange::default() {
        return Err(Problem::wrong("the body names nothing that is to change")
            .hint("write `{\"attributes\": {\"plan\": \"scale\"}}`, say".to_owned()));
    }
    Asked { api, peer: connection.operator(), domain, id }
        .make("subject change", StatusCode::OK, Some(change))
        .await
}

/// Takes back every change that was made of a subject here: the files alone count again.
pub(super) async fn take_back(
    State(api): State<Arc<Api>>,
    Extension(connection): Extension<Connection>,
    Path((domain, id)): Path<(String, String)>,
) -> Answer {
    Asked { api, peer: connection.operator(), domain, id }
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
    Asked { api, peer: connection.operator(), domain, id }
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
    Asked { api, peer: connection.operator(), domain, id }
        .make("credential revoke", StatusCode::OK, Some(change))
        .await
}
