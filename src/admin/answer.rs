//! Answers as JSON, and what is said of requests that cannot be answered.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::store::StoreError;

/// Why a request is not answered as it asks, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
    hint: Option<String>,
    /// Of a change that may have been made all the same: what it is of, for the list of changes.
    in_doubt: Option<Value>,
}

pub(super) type Answer = Result<Response, Problem>;

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, in_doubt: None }
    }

    /// What is asked for does not exist.
    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The request is not understood.
    pub(super) fn wrong(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What is asked for cannot be had now.
    pub(super) fn away(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The change that was asked for may have been made, or not. It is of `what`.
    pub(super) fn of_change_in_doubt(self, what: Value) -> Self {
        Self { in_doubt: Some(what), ..self }
    }

    /// What the change is of that may have been made, or not.
    pub(super) fn change_in_doubt(&self) -> Option<&Value> {
        self.in_doubt.as_ref()
    }

    /// The same with a sentence that says what to do.
    pub(super) fn hint(self, hint: impl Into<Option<String>>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::away(format!("the counters cannot be read: {error}"))
    }
}

#[derive(Serialize)]
struct Written<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json(self.status, &Written { error: &self.message, hint: self.hint.as_deref() })
    }
}

/// An answer with this status.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            (status, [(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The answer to a request that is answered as it asks.
pub(super) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// What a body says.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::wrong(format!("the body is not understood: {error}"))
            .hint("`/api/v1/openapi.json` says what is expected, with examples".to_owned())
    })
}

/// What a body says in which credentials may be: what is wrong with it is told by its place alone.
pub(super) fn read_secretly<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let unknown = error.to_string();
        // Names of fields are no credentials.
        let what = unknown.strip_prefix("unknown field ").map(|rest| format!("unknown field {rest}"));
        let what = what.or_else(|| unknown.starts_with("missing field ").then_some(unknown));
        let what = what.unwrap_or_else(|| format!("line {line}, column {column} is not as it should be"));
        Problem::wrong(format!("the body is not understood: {what}"))
            .hint("`/api/v1/openapi.json` says what is expected, with examples".to_owned())
    })
}
