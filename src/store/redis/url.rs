//! A URL and its parts: which servers, how they go together, and what else is said.

use std::path::PathBuf;

use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::tls::FileError;

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
        /// The URL, without what is secret in it.
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
    /// The files of TLS hold something else than they should.
    #[error("the files for TLS cannot be used: {0}")]
    Tls(String),
    /// A file of TLS cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
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
        Self::Url { url: shown(url), reason: reason.into() }
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
        let (authority, rest) = rest.split_at(end_of_authority(rest));
        // A password may hold anything but what ends it.
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
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

/// Where the servers, and who asks them, end in what follows the `://` (RFC 3986, 3.2).
fn end_of_authority(rest: &str) -> usize {
    rest.find(['/', '?']).unwrap_or(rest.len())
}

/// The parameters that there are, and whether what they say may be shown.
pub(super) const PARAMETERS: [(&str, bool); 10] = [
    ("prefix", true),
    ("timeout", true),
    ("lease", true),
    ("password_file", true),
    ("tls_ca", true),
    ("tls_cert", true),
    ("tls_key", true),
    ("tls_any_name", true),
    ("master", true),
    ("sentinel_auth", false),
];

/// A URL as it may be shown: without its user and its password, and without the values of parameters that are secret or not known.
/// Where a password holds what ends it, as a `/` or a `?` that is not escaped, it is left out all the same, and so is all of the URL
/// where it cannot be told from the value of a parameter.
#[must_use]
pub fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", without_secrets(rest)),
        None => without_secrets(url),
    }
}

/// What follows the `://`, as it may be shown.
fn without_secrets(rest: &str) -> String {
    let Some(last) = rest.rfind('@') else { return with_parameters(rest) };
    let (before, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let holds_at = |parameter: &&str| parameter.contains('@');
    let is_known = |parameter: &str| {
        let name = parameter.split_once('=').map(|(name, _)| name);
        PARAMETERS.iter().any(|(known, _)| name == Some(known))
    };
    let hidden = if names_servers(before) && parameters.split('&').filter(holds_at).all(is_known) {
        // Each `@` behind the servers is within a value.
        before.rfind('@')
    } else {
        let value = rest[..last].rsplit(['?', '&']).next().and_then(|parameter| parameter.split_once('='));
        let is_secret = value.is_some_and(|(name, _)| !PARAMETERS.contains(&(name, true)));
        if last > before.len() && is_secret {
            return "…".to_owned();
        }
        Some(last)
    };
    match hidden {
        Some(at) => format!("…{}", with_parameters(&rest[at..])),
        None => with_parameters(rest),
    }
}

/// Whether servers are all that is named before the path, with ports that are numbers, behind a user and a password.
fn names_servers(before: &str) -> bool {
    let authority = &before[..end_of_authority(before)];
    authority.rsplit('@').next().unwrap_or_default().split(',').all(|server| {
        let port = server.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let (host, port) = port.map_or((server, None), |(host, port)| (host, Some(port)));
        !host.is_empty() && port.is_none_or(|port| port.parse::<u16>().is_ok())
    })
}

fn with_parameters(rest: &str) -> String {
    let Some((before, parameters)) = rest.split_once('?') else { return rest.to_owned() };
    let each = parameters.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if PARAMETERS.contains(&(name, true)) => parameter.to_owned(),
        Some((name, _)) => format!("{name}=…"),
        None => "…".to_owned(),
    });
    format!("{before}?{}", each.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_is_not_shown() {
        for (url, told) in [
            ("redis://db:6379/1?prefix=a:&lease=on", "redis://db:6379/1?prefix=a:&lease=on"),
            ("redis://ann:geheim@db/0", "redis://…@db/0"),
            ("redis://ann:ge@heim@db/0", "redis://…@db/0"),
            (
                "redis://db?password_file=/run/spillway@prod/pw",
                "redis://db?password_file=/run/spillway@prod/pw",
            ),
            (
                "redis-sentinel://ann:geheim@a:26379,[::1]/?master=m&sentinel_auth=ann:ge@heim",
                "redis-sentinel://…@a:26379,[::1]/?master=m&sentinel_auth=…",
            ),
            ("redis-sentinel://a,b/?sentinel_auth=ge%26heim", "redis-sentinel://a,b/?sentinel_auth=…"),
            ("redis://db?pasword=geheim&timeout=5ms", "redis://db?pasword=…&timeout=5ms"),
            // These passwords are to be escaped. They are not shown as long as they are not.
            ("redis://:ge/heim@db", "redis://…@db"),
            ("redis://ann:ge?heim@db?lease=on", "redis://…@db?lease=on"),
            ("redis://:1234?geheim@db", "redis://…@db"),
            ("redis://:1234?ge&heim@db/0?lease=on", "redis://…@db/0?lease=on"),
            ("redis://:1234?prefix=geheim@db", "redis://…@db"),
            ("redis://ann:1/ge?heim@db", "redis://…@db"),
            ("redis://ann:1?geheim", "redis://ann:1?…"),
            // It may be a password, or a slip in the name of a parameter whose value is one.
            ("redis://ann:1?ge=heim@db", "redis://…"),
            ("redis://db?pasword=ge@heim&timeout=5ms", "redis://…"),
            ("redis://ann:ge?heim@db?password_file=/run/spillway@prod", "redis://…@prod"),
            ("redis-sentinel://ann:geheim?sentinel_auth=ge@heim", "redis-sentinel://…"),
            ("ann:geheim@db", "…@db"),
            ("db:6379", "db:6379"),
        ] {
            assert_eq!(shown(url), told, "{url}");
        }
    }

    #[test]
    fn an_at_sign_in_a_parameter_names_no_server() {
        let parts = |url| Parts::of(url).unwrap();
        let of = parts("redis://db:7000?password_file=/run/spillway@prod/pw");
        assert_eq!(of.servers[0].addr().to_string(), "db:7000");
        assert_eq!(of.parameters, [("password_file".into(), "/run/spillway@prod/pw".into())]);
        let of = parts("redis-sentinel://a:1,b:2/?master=m&sentinel_auth=p@ss");
        assert_eq!(
            of.servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>(),
            ["a:1", "b:2"]
        );
        assert!(of.servers.iter().all(|server| server.redis_settings().username().is_none()));
        let of = parts("redis://ann:p@ss@db/?prefix=a@b:");
        let settings = of.servers[0].redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("ann"), Some("p@ss")));
    }
}
