//! Why a server has not answered, as it is told to whoever asked.

use std::error::Error;
use std::{fmt, io};

use redis::RedisError;

use super::options::RedisOptions;
use super::sentinel::Named;
use super::tls;
use super::url::WrongUrl;
use crate::store::StoreError;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No way there.
    Unreachable(io::ErrorKind, String),
    /// It refused.
    Refused(String),
    /// It answered what it cannot have answered.
    Garbled(String),
    /// What was asked for is at another server of the cluster.
    Elsewhere {
        /// That server.
        server: Named,
        /// Whether it is there for this time only, while it is on its way.
        once: bool,
    },
}

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        use redis::ErrorKind::{AuthenticationFailed, Extension, Io, Server};
        if let Some(words) = tls::failure(error) {
            return Self::Unreachable(io::ErrorKind::ConnectionAborted, words);
        }
        if let Some(server) = error.redirect_node().and_then(|(server, _)| named(server)) {
            let once = error.code() == Some("ASK");
            return Self::Elsewhere { server, once };
        }
        match error.kind() {
            Io => Self::Unreachable(
                if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::ConnectionAborted },
                error.to_string(),
            ),
            AuthenticationFailed => Self::Refused("it does not accept the user or the password".into()),
            Server(_) | Extension => Self::Refused(words(error)),
            _ => Self::Garbled(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(_, words) | Self::Refused(words) | Self::Garbled(words) => f.write_str(words),
            Self::Elsewhere { server: (host, port), .. } => write!(f, "it is at `{host}:{port}` now"),
        }
    }
}

impl Failure {
    /// There is no way there, as `words` tell.
    pub(super) fn unreachable(words: String) -> Self {
        Self::Unreachable(io::ErrorKind::NotConnected, words)
    }

    /// What is needed on this side is not there.
    pub(super) fn unusable(error: &WrongUrl) -> Self {
        let cause = Error::source(error).map(|cause| format!(": {cause}"));
        Self::Unreachable(io::ErrorKind::InvalidInput, format!("{error}{}", cause.unwrap_or_default()))
    }

    /// Whether whoever tried had to wait for it.
    pub(super) fn took_long(&self) -> bool {
        matches!(self, Self::Unreachable(io::ErrorKind::TimedOut, _))
    }

    /// As callers are told.
    pub(super) fn error(self, options: &RedisOptions) -> StoreError {
        let unreachable = |kind, words| StoreError::Unreachable {
            address: options.address(),
            source: io::Error::new(kind, words),
        };
        match self {
            Self::Refused(reason) => StoreError::Refused { reason },
            Self::Unreachable(kind, words) => unreachable(kind, words),
            Self::Garbled(words) => unreachable(io::ErrorKind::InvalidData, words),
            Self::Elsewhere { .. } => StoreError::Refused { reason: self.to_string() },
        }
    }
}

/// `host:port`, where an IPv6 address may have no brackets.
fn named(server: &str) -> Option<Named> {
    let (host, port) = server.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

/// What the server said, without what the client's library makes of it.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}
