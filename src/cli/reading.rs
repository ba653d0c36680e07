//! Reads variables of the environment, and notes those that are not understood.

use std::fmt;

use super::variables::variable;
use crate::store::shown_url;

/// Variables whose values may hold passwords.
const SECRET: &[&str] = &[
    "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "REDIS_AUTH",
    "REDIS_SENTINEL_AUTH",
    "REDIS_PERSECOND_AUTH",
    "REDIS_PERSECOND_SENTINEL_AUTH",
];

/// What is expected of a host.
pub(super) const A_HOST: &str = "an address of this machine, or a name that has one";

/// A value as it may be shown: without the passwords in it.
pub(super) fn shown(name: &str, value: &str) -> String {
    if SECRET.contains(&name) {
        return "…".to_owned();
    }
    if value.contains("://") || value.contains('@') { shown_url(value) } else { value.to_owned() }
}

/// A variable whose value is not understood.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) name: &'static str,
    /// As it may be shown.
    pub(super) value: String,
    pub(super) expected: &'static str,
}

impl Wrong {
    pub(super) fn new(name: &'static str, value: &str, expected: &'static str) -> Self {
        Self { name, value: shown(name, value), expected }
    }

    /// Whether the same value may be understood a moment later: who knows the names of hosts may not answer yet.
    pub(super) fn may_pass(&self) -> bool {
        self.expected == A_HOST
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment has {}={:?}: expected {}", self.name, self.value, self.expected)
    }
}

/// Reads variables. What is not understood goes to `wrong`.
pub(super) struct Reading<'w> {
    pub(super) wrong: &'w mut Vec<Wrong>,
}

impl Reading<'_> {
    /// What `parse` makes of a variable, if that is set and understood.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = variable(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.wrong.push(Wrong::new(name, &value, expected));
        }
        parsed
    }
}
