//! A URL and its parts: which servers, how they go together, and what else is said.

use std::path::PathBuf;

use redis::{ConnectionInfo, IntoConnectionInfo};

/// How servers go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is one.
    Single,
    /// Those that are named know which one is the master.
    Sentinel,
    /// Each has a part of the counters.
    Cluster,
}

/// A URL in its parts.
pub(super) struct Parts {
    pub(super) kind: Kind,
    pub(super) has_tls: bool,
    /// Those that are named, with the user, the password and the database.
    pub(super) servers: Vec<ConnectionInfo>,
    /// Names and values behind the `?`.
    pub(super) parameters: Vec<(String, String)>,
}

/// Why a URL names no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrongUrl {
    /// It is none, or none of Redis.
    #[error("`{url}` is no URL of a Redis or Valkey server: {reason}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It has a parameter that there is none of.
    #[error("there is no parameter `{name}`. There are {known}")]
    Parameter {
        /// The parameter.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// It has a parameter that such servers do not have.
    #[error("`{name}` is said of no such server. Write it with `{scheme}://`")]
    Misplaced {
        /// The parameter.
        name: &'static str,
        /// Where it belongs.
        scheme: &'static str,
    },
    /// Sentinels are named, and not what they are to be asked for.
    #[error(
        "which master the sentinels are to be asked for is not said. Write its name, as in `?master=mymaster`"
    )]
    NoMaster,
    /// Its `timeout` is none.
    #[error("`timeout={0}` is no time in milliseconds. Write `timeout=10ms`")]
    Timeout(String),
    /// A switch is neither `on` nor `off`.
    #[error("`{name}={value}` means nothing. Write `{name}=on`")]
    Switch {
        /// The switch.
        name: String,
        /// What it is.
        value: String,
    },
    /// A certificate is named without its key, or a key without its certificate.
    #[error(
        "`tls_cert` and `tls_key` go together. Write both, as in `tls_cert=client.pem&tls_key=client.key`"
    )]
    HalfCertificate,
    /// A file of TLS holds something else than it should.
    #[error("the files for TLS cannot be used: {0}")]
    Tls(String),
    /// A file of TLS cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The password's file cannot be read.
    #[error("cannot read the password in `{path}`")]
    Password {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl WrongUrl {
    pub(super) fn of(url: &str, reason: &str) -> Self {
        Self::Url { url: without_password(url), reason: reason.into() }
    }
}

impl Parts {
    /// The parts of `url`, which may name several servers with `,` between them if its scheme says how they go together.
    pub(super) fn of(url: &str) -> Result<Self, WrongUrl> {
        let wrong = |reason: &str| WrongUrl::of(url, reason);
        let unreadable = || wrong("write `redis://host:6379/0`");
        let (scheme, rest) = url.split_once("://").ok_or_else(unreadable)?;
        let (kind, has_tls) = match scheme {
            "redis" | "valkey" => (Kind::Single, false),
            "rediss" | "valkeys" => (Kind::Single, true),
            "redis-sentinel" => (Kind::Sentinel, false),
            "rediss-sentinel" => (Kind::Sentinel, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            _ => return Err(unreadable()),
        };
        if rest.ends_with("#insecure") {
            return Err(wrong(
                "`#insecure` would trust anybody who answers; name whom to trust, as in `?tls_ca=/etc/spillway/ca.pem`",
            ));
        }
        if rest.contains('#') {
            return Err(wrong("nothing goes behind a `#`"));
        }
        // A password may hold anything but what ends it.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (format!("{user}@"), rest),
            None => (String::new(), rest),
        };
        let (hosts, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() > 1 && kind == Kind::Single {
            return Err(wrong(
                "several servers are a cluster, `redis-cluster://`, or sentinels, `redis-sentinel://`",
            ));
        }
        let scheme = if has_tls { "rediss" } else { "redis" };
        let default_port = if kind == Kind::Sentinel { 26379 } else { 6379 };
        let (mut servers, mut parameters) = (Vec::new(), Vec::new());
        for host in hosts {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let port = if has_port { String::new() } else { format!(":{default_port}") };
            let server = redis::parse_redis_url(&format!("{scheme}://{user}{host}{port}{rest}"));
            let mut server = server.ok_or_else(unreadable)?;
            parameters = server.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
            server.set_query(None);
            let server = server.into_connection_info();
            servers.push(
                server.map_err(|error| wrong(error.detail().unwrap_or("write `redis://host:6379/0`")))?,
            );
        }
        if kind == Kind::Cluster && servers.iter().any(|server| server.redis_settings().db() != 0) {
            return Err(wrong("a cluster has the database 0 only"));
        }
        Ok(Self { kind, has_tls, servers, parameters })
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://…{}", &url[at..]),
        _ => url.to_owned(),
    }
}
