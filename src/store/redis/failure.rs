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
    /// Only some of the keys are there: the slot is on its way to another server of the cluster.
    OnItsWay(String),
    /// The counters are called by another secret by now, as the server was emptied or replaced.
    Rekeyed,
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
        // The error of a pipeline has no details of its own: the first of its commands that failed tells why.
        let of_command = error.clone().into_server_errors().and_then(|errors| errors.first().cloned());
        let of_command = of_command.map(|(_, error)| RedisError::from(error));
        let error = of_command.as_ref().unwrap_or(error);
        if let Some(words) = tls::failure(error) {
            return Self::Unreachable(io::ErrorKind::ConnectionAborted, words);
        }
        if let Some(server) = error.redirect_node().and_then(|(server, _)| named(server)) {
            let once = error.code() == Some("ASK");
            return Self::Elsewhere { server, once };
        }
        if error.code() == Some("REKEYED") {
            return Self::Rekeyed;
        }
        if error.code() == Some("TRYAGAIN") {
            return Self::OnItsWay(words(error));
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
            Self::Unreachable(_, words)
            | Self::Refused(words)
            | Self::Garbled(words)
            | Self::OnItsWay(words) => f.write_str(words),
            Self::Rekeyed => f.write_str("its counters are called by another secret by now"),
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
            Self::Refused(reason) | Self::OnItsWay(reason) => StoreError::Refused { reason },
            Self::Unreachable(kind, words) => unreachable(kind, words),
            Self::Garbled(words) => unreachable(io::ErrorKind::InvalidData, words),
            Self::Rekeyed => StoreError::Rekeyed,
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

#[cfg(test)]
mod tests {
    use redis::{ConnectionLike, RedisResult, Value};

    use super::*;

    /// A server that answers a pipeline with these lines.
    struct Answering(&'static [&'static str]);

    impl ConnectionLike for Answering {
        fn req_packed_command(&mut self, _: &[u8]) -> RedisResult<Value> {
            unreachable!("it is only asked for pipelines")
        }

        fn req_packed_commands(&mut self, _: &[u8], _: usize, _: usize) -> RedisResult<Vec<Value>> {
            self.0.iter().map(|line| redis::parse_redis_value(line.as_bytes())).collect()
        }

        fn get_db(&self) -> i64 {
            0
        }

        fn check_connection(&mut self) -> bool {
            true
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    #[test]
    fn what_fails_behind_asking_tells_why() {
        let failure = |lines| {
            let mut pipeline = redis::pipe();
            pipeline.cmd("ASKING").ignore().cmd("EVALSHA").arg("hash").arg(0);
            let error = pipeline.query::<(Vec<u8>,)>(&mut Answering(lines)).unwrap_err();
            Failure::of(&error)
        };
        let moved = failure(&["+OK\r\n", "-MOVED 5 127.0.0.1:7001\r\n"]);
        let at = ("127.0.0.1".to_owned(), 7001);
        assert!(matches!(&moved, Failure::Elsewhere { server, once: false } if *server == at), "{moved:?}");
        let asks = failure(&["+OK\r\n", "-ASK 5 [::1]:7002\r\n"]);
        let at = ("::1".to_owned(), 7002);
        assert!(matches!(&asks, Failure::Elsewhere { server, once: true } if *server == at), "{asks:?}");
        let parted = failure(&["+OK\r\n", "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"]);
        assert!(matches!(parted, Failure::OnItsWay(_)), "{parted:?}");
        let refused = failure(&["+OK\r\n", "-NOPERM no permission to run the 'evalsha' command\r\n"]);
        assert_eq!(refused.to_string(), "NOPERM no permission to run the 'evalsha' command");
    }
}
