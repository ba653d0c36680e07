//! What a URL says of a server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo};

use super::tls::TlsOptions;
use super::url::{Kind, PARAMETERS, Parts, WrongUrl};
use crate::regular;

/// The most requests of one run of the script.
const TOGETHER: usize = 16;
/// What keys begin with, where nothing else is said.
const PREFIX: &str = "spillway:";
/// The most bytes of a file with a password.
const LONGEST_PASSWORD: u64 = 64 << 10;
/// A peer that acknowledges nothing for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// A server, and how it is used: `redis://user:password@host:6379/0?prefix=spillway:&timeout=10ms`.
///
/// `redis-sentinel://user:password@host:26379,host:26379/0?master=mymaster` names sentinels, which know where the server is;
/// `redis-cluster://user:password@host:6379,host:6379` servers that each have a part of the counters.
///
/// | Parameter | Meaning |
/// |---|---|
/// | `prefix` | what keys begin with; `spillway:` |
/// | `timeout` | how long a decision is waited for, as `5ms`, where that is less than `--store-timeout` |
/// | `lease` | `on`: parts of fixed windows are taken ahead of time and spent in memory; `off` |
/// | `password_file` | a file with the password, so that it is in no command line |
/// | `tls_ca` | with `rediss://`: a file with the authorities that are trusted, instead of the system's |
/// | `tls_cert`, `tls_key` | with `rediss://`: files with the client's certificate and its key |
/// | `tls_any_name` | `on`: a certificate of another name is good, too; `off` |
/// | `master` | with sentinels: the master's name |
/// | `sentinel_auth` | with sentinels: their own password, or `user:password` |
///
/// `rediss://`, `rediss-sentinel://` and `rediss-cluster://` are TLS. All files are read again whenever a connection is made, so that what they hold can be renewed.
#[derive(Clone)]
pub struct RedisOptions {
    /// How the servers go together.
    pub(super) kind: Kind,
    /// Those that the URL names: at least one.
    pub(super) servers: Vec<ConnectionInfo>,
    /// What sentinels know the master by; empty where there are none.
    pub(super) master: String,
    /// The sentinels' own password, perhaps with a user and `:` before it.
    sentinel_auth: Option<String>,
    /// What keys begin with.
    pub prefix: String,
    /// How long a decision is waited for, where that is less than whoever asks waits.
    pub timeout: Option<Duration>,
    /// A file with the password. It is read when a connection is made.
    pub password_file: Option<PathBuf>,
    /// What TLS is made with, where the URL asks for it.
    pub tls: TlsOptions,
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
        let Parts { kind, has_tls, servers, parameters } = Parts::of(url)?;
        let (mut prefix, mut timeout, mut password_file) = (PREFIX.to_owned(), None, None);
        let (mut lease, mut tls) = (false, TlsOptions::default());
        let (mut master, mut sentinel_auth) = (None, None);
        for (name, value) in parameters {
            match &*name {
                "prefix" => prefix = value,
                "master" => master = Some(value),
                "sentinel_auth" => sentinel_auth = Some(value),
                "timeout" => {
                    let millis = value.strip_suffix("ms").and_then(|millis| millis.parse().ok());
                    let millis = millis.filter(|millis| *millis > 0);
                    timeout = Some(Duration::from_millis(millis.ok_or(WrongUrl::Timeout(value))?));
                }
                "lease" => lease = switch(&name, &value)?,
                "tls_ca" => tls.authorities = Some(PathBuf::from(&*value)),
                "tls_cert" => tls.certificate = Some(PathBuf::from(&*value)),
                "tls_key" => tls.key = Some(PathBuf::from(&*value)),
                "tls_any_name" => tls.any_name = switch(&name, &value)?,
                "password_file" => password_file = Some(PathBuf::from(&*value)),
                // It may be the rest of a password.
                _ if name.contains('@') => {
                    return Err(WrongUrl::of(url, "write a `?` in a password as `%3F`"));
                }
                _ => return Err(WrongUrl::Parameter { name, known: known() }),
            }
        }
        let misplaced = |name, scheme| Err(WrongUrl::Misplaced { name, scheme });
        if tls.is_some() && !has_tls {
            return misplaced("tls_…", "rediss");
        }
        if !tls.is_whole() {
            return Err(WrongUrl::HalfCertificate);
        }
        if kind != Kind::Sentinel && master.is_some() {
            return misplaced("master", "redis-sentinel");
        }
        if kind != Kind::Sentinel && sentinel_auth.is_some() {
            return misplaced("sentinel_auth", "redis-sentinel");
        }
        if kind == Kind::Sentinel && master.is_none() {
            return Err(WrongUrl::NoMaster);
        }
        let with_settings = |server: ConnectionInfo| {
            let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(GONE_AFTER);
            let keepalive = TcpKeepalive::new().with_time(GONE_AFTER);
            server.set_tcp_settings(tcp.set_keepalive(keepalive))
        };
        Ok(Self {
            kind,
            servers: servers.into_iter().map(with_settings).collect(),
            master: master.unwrap_or_default(),
            sentinel_auth,
            prefix,
            timeout,
            password_file,
            tls,
            lease,
            clock: CountedBy::default(),
            together: TOGETHER,
        })
    }

    /// Where the servers are.
    pub fn address(&self) -> String {
        let servers = self.servers.iter().map(|server| address(server.addr())).collect::<Vec<_>>().join(",");
        match self.kind {
            Kind::Single | Kind::Cluster => servers,
            Kind::Sentinel => format!("{} as sentinels say at {servers}", self.master),
        }
    }

    /// What may be wrong where nothing is answered: a server without TLS waits for the end of what it takes for a line.
    pub(super) fn hint(&self) -> &'static str {
        match self.servers[0].addr() {
            ConnectionAddr::TcpTls { .. } => "; there may be no TLS on that port",
            _ => "",
        }
    }

    /// Makes sure that the files can be used.
    pub(super) fn check(&self) -> Result<(), WrongUrl> {
        self.servers.iter().try_for_each(|server| self.client(server.clone()).map(drop))
    }

    /// A client of a server, with what is in the files now.
    pub(super) fn client(&self, mut server: ConnectionInfo) -> Result<redis::Client, WrongUrl> {
        if let Some(path) = &self.password_file {
            let wrong = |source| WrongUrl::Password { path: path.clone(), source };
            let password = regular::read(path, LONGEST_PASSWORD).map_err(wrong)?;
            let password = String::from_utf8(password)
                .map_err(|_| wrong(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))?;
            let settings =
                server.redis_settings().clone().set_password(password.trim_end_matches(['\r', '\n']));
            server = server.set_redis_settings(settings);
        }
        self.client_as_is(server)
    }

    /// A client of a sentinel, which knows passwords of its own.
    pub(super) fn client_of_sentinel(&self, sentinel: &ConnectionInfo) -> Result<redis::Client, WrongUrl> {
        let settings = match self.sentinel_auth.as_deref().map(|auth| auth.split_once(':').ok_or(auth)) {
            None => RedisConnectionInfo::default(),
            Some(Err(password) | Ok(("", password))) => RedisConnectionInfo::default().set_password(password),
            Some(Ok((user, password))) => {
                RedisConnectionInfo::default().set_username(user).set_password(password)
            }
        };
        self.client_as_is(sentinel.clone().set_redis_settings(settings))
    }

    fn client_as_is(&self, server: ConnectionInfo) -> Result<redis::Client, WrongUrl> {
        if matches!(server.addr(), ConnectionAddr::TcpTls { .. }) {
            return self.tls.client(server);
        }
        redis::Client::open(server).map_err(|error| WrongUrl::of(&self.address(), &error.to_string()))
    }

    /// A server that others have named, used as those of the URL.
    pub(super) fn server_at(&self, host: &str, port: u16) -> ConnectionInfo {
        let first = self.servers[0].clone();
        let host = host.to_owned();
        let address = match first.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        first.set_addr(address)
    }
}

/// A server's host.
pub(super) fn host(server: &ConnectionAddr) -> String {
    match server {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        address => address.to_string(),
    }
}

/// A server's host and port.
pub(super) fn address(server: &ConnectionAddr) -> String {
    match server {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            format!("{host}:{port}")
        }
        address => address.to_string(),
    }
}

fn known() -> String {
    PARAMETERS.map(|(name, _)| format!("`{name}`")).join(", ")
}

fn switch(name: &str, value: &str) -> Result<bool, WrongUrl> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(WrongUrl::Switch { name: name.into(), value: value.into() }),
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
        assert_eq!((options.prefix.as_str(), options.timeout), ("a:", Some(Duration::from_millis(25))));
        assert_eq!(options.password_file, Some(PathBuf::from("/run/secret")));
        let settings = options.servers[0].redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("ann"), Some("geheim"), 3)
        );
        assert!(options.servers[0].tcp_settings().nodelay());
        assert!(!format!("{options:?}").contains("geheim"));

        let plain = RedisOptions::read("valkey://db.internal").unwrap();
        assert_eq!(plain.address(), "db.internal:6379");
        assert_eq!((plain.prefix.as_str(), plain.timeout), ("spillway:", None));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_its_password() {
        for (url, told) in [
            ("db:6379", "`db:6379` is no URL of a Redis or Valkey server: write `redis://host:6379/0`"),
            (
                "rediss://ann:geheim@db/#insecure",
                "`rediss://…@db/#insecure` is no URL of a Redis or Valkey server: `#insecure` would trust anybody who answers; name whom to trust, as in `?tls_ca=/etc/spillway/ca.pem`",
            ),
            ("redis://db?tls_ca=ca.pem", "`tls_…` is said of no such server. Write it with `rediss://`"),
            (
                "rediss://db?tls_cert=client.pem",
                "`tls_cert` and `tls_key` go together. Write both, as in `tls_cert=client.pem&tls_key=client.key`",
            ),
            ("rediss://db?tls_any_name=yes", "`tls_any_name=yes` means nothing. Write `tls_any_name=on`"),
            ("rediss://db?tls_ca=no/such/file.pem", "cannot read `no/such/file.pem`: there is no such file"),
            (
                "redis://:geheim@db/x",
                "`redis://…@db/x` is no URL of a Redis or Valkey server: write `redis://host:6379/0`",
            ),
            (
                "redis://ann:1234?geheim@db",
                "`redis://…@db` is no URL of a Redis or Valkey server: write a `?` in a password as `%3F`",
            ),
            (
                "redis://db?timeuot=1ms",
                "there is no parameter `timeuot`. There are `prefix`, `timeout`, `lease`, `password_file`, `tls_ca`, `tls_cert`, `tls_key`, `tls_any_name`, `master`, `sentinel_auth`",
            ),
            ("redis://db?timeout=0ms", "`timeout=0ms` is no time in milliseconds. Write `timeout=10ms`"),
            ("redis://db?timeout=1s", "`timeout=1s` is no time in milliseconds. Write `timeout=10ms`"),
        ] {
            let wrong = RedisOptions::read(url).and_then(|options| options.check()).unwrap_err();
            assert_eq!(wrong.to_string(), told);
        }
    }
}
