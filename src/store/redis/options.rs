//! What a URL says of a server.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// How long a decision is waited for, where nothing else is said: Envoy waits for 20 ms.
const TIMEOUT: Duration = Duration::from_millis(10);
/// The most requests of one run of the script.
const TOGETHER: usize = 16;
/// What keys begin with, where nothing else is said.
const PREFIX: &str = "spillway:";
/// A peer that acknowledges nothing for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// A server, and how it is used: `redis://user:password@host:6379/0?prefix=spillway:&timeout=10ms`.
///
/// | Parameter | Meaning |
/// |---|---|
/// | `prefix` | what keys begin with; `spillway:` |
/// | `timeout` | how long a decision is waited for, in milliseconds; `10ms` |
/// | `lease` | `on`: parts of fixed windows are taken ahead of time and spent in memory; `off` |
/// | `password_file` | a file with the password, so that it is in no command line |
#[derive(Clone)]
pub struct RedisOptions {
    server: ConnectionInfo,
    /// What keys begin with.
    pub prefix: String,
    /// How long a decision is waited for.
    pub timeout: Duration,
    /// A file with the password. It is read when a connection is made.
    pub password_file: Option<PathBuf>,
    /// Whether leases are taken ([`LeasedStore`](crate::store::LeasedStore)).
    pub lease: bool,
    /// What hits are counted by.
    pub clock: CountedBy,
    /// The most requests that are decided in one run of the script: others wait meanwhile.
    pub together: usize,
}

/// Whose clock hits are counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountedBy {
    /// The server's, so that replicas count in the same windows.
    #[default]
    Server,
    /// The caller's: for tests, which set it.
    Caller,
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
    #[error("there is no parameter `{0}`. There are `prefix`, `timeout`, `lease` and `password_file`")]
    Parameter(String),
    /// Its `timeout` is none.
    #[error("`timeout={0}` is no time in milliseconds. Write `timeout=10ms`")]
    Timeout(String),
    /// Its `lease` is neither `on` nor `off`.
    #[error("`lease={0}` means nothing. Write `lease=on`")]
    Lease(String),
    /// The password's file cannot be read.
    #[error("cannot read the password in `{path}`")]
    Password {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// What `url` says.
    ///
    /// # Errors
    ///
    /// When it is none of Redis, or has other parameters than there are.
    pub fn read(url: &str) -> Result<Self, WrongUrl> {
        let wrong = |reason: &str| WrongUrl::Url { url: without_password(url), reason: reason.into() };
        let mut parsed = redis::parse_redis_url(url).ok_or_else(|| wrong("write `redis://host:6379/0`"))?;
        if !matches!(parsed.scheme(), "redis" | "valkey") {
            return Err(wrong(
                "only one server over TCP, `redis://`, is supported yet; for TLS have a sidecar or the mesh encrypt",
            ));
        }
        let (mut prefix, mut timeout, mut password_file) = (PREFIX.to_owned(), TIMEOUT, None);
        let mut lease = false;
        for (name, value) in parsed.query_pairs() {
            match &*name {
                "prefix" => prefix = value.into_owned(),
                "timeout" => {
                    let millis = value.strip_suffix("ms").and_then(|millis| millis.parse().ok());
                    let millis = millis.filter(|millis| *millis > 0);
                    timeout =
                        Duration::from_millis(millis.ok_or_else(|| WrongUrl::Timeout(value.into_owned()))?);
                }
                "lease" => {
                    lease = match &*value {
                        "on" => true,
                        "off" => false,
                        _ => return Err(WrongUrl::Lease(value.into_owned())),
                    }
                }
                "password_file" => password_file = Some(PathBuf::from(&*value)),
                _ => return Err(WrongUrl::Parameter(name.into_owned())),
            }
        }
        parsed.set_query(None);
        let server = parsed
            .into_connection_info()
            .map_err(|error| wrong(error.detail().unwrap_or("write `redis://host:6379/0`")))?;
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(GONE_AFTER);
        let keepalive = redis::io::tcp::socket2::TcpKeepalive::new().with_time(GONE_AFTER);
        let server = server.set_tcp_settings(tcp.set_keepalive(keepalive));
        Ok(Self {
            server,
            prefix,
            timeout,
            password_file,
            lease,
            clock: CountedBy::default(),
            together: TOGETHER,
        })
    }

    /// Where the server is.
    pub fn address(&self) -> String {
        match self.server.addr() {
            ConnectionAddr::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            address => address.to_string(),
        }
    }

    /// A client with the password that is in the file now.
    pub(super) fn client(&self) -> Result<redis::Client, WrongUrl> {
        let mut server = self.server.clone();
        if let Some(path) = &self.password_file {
            let password = fs::read_to_string(path)
                .map_err(|source| WrongUrl::Password { path: path.clone(), source })?;
            let settings =
                server.redis_settings().clone().set_password(password.trim_end_matches(['\r', '\n']));
            server = server.set_redis_settings(settings);
        }
        redis::Client::open(server)
            .map_err(|error| WrongUrl::Url { url: self.address(), reason: error.to_string() })
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://…{}", &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_server_is_and_how_it_is_used() {
        let options = RedisOptions::read(
            "redis://ann:geheim@[::1]:7000/3?prefix=a:&timeout=25ms&password_file=%2Frun%2Fsecret",
        )
        .unwrap();
        assert_eq!(options.address(), "[::1]:7000");
        assert_eq!((options.prefix.as_str(), options.timeout), ("a:", Duration::from_millis(25)));
        assert_eq!(options.password_file, Some(PathBuf::from("/run/secret")));
        let settings = options.server.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("ann"), Some("geheim"), 3)
        );
        assert!(options.server.tcp_settings().nodelay());
        assert!(!format!("{options:?}").contains("geheim"));

        let plain = RedisOptions::read("valkey://db.internal").unwrap();
        assert_eq!(plain.address(), "db.internal:6379");
        assert_eq!((plain.prefix.as_str(), plain.timeout), ("spillway:", Duration::from_millis(10)));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_its_password() {
        for (url, told) in [
            ("db:6379", "`db:6379` is no URL of a Redis or Valkey server: write `redis://host:6379/0`"),
            (
                "rediss://ann:geheim@db",
                "`rediss://…@db` is no URL of a Redis or Valkey server: only one server over TCP, `redis://`, is supported yet; for TLS have a sidecar or the mesh encrypt",
            ),
            (
                "redis://:geheim@db/x",
                "`redis://…@db/x` is no URL of a Redis or Valkey server: write `redis://host:6379/0`",
            ),
            (
                "redis://db?timeuot=1ms",
                "there is no parameter `timeuot`. There are `prefix`, `timeout`, `lease` and `password_file`",
            ),
            ("redis://db?timeout=0ms", "`timeout=0ms` is no time in milliseconds. Write `timeout=10ms`"),
            ("redis://db?timeout=1s", "`timeout=1s` is no time in milliseconds. Write `timeout=10ms`"),
        ] {
            assert_eq!(RedisOptions::read(url).unwrap_err().to_string(), told);
        }
    }
}
