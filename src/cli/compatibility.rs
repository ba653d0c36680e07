//! The environment of an envoyproxy/ratelimit deployment, where it means something here.
//!
//! Whatever is set there is done, or ends the start by its name: a limit that is silently not enforced, or enforced where
//! it was to be watched, is worse than none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use super::args::Merging;
use super::counters::Counters;
use super::redis_variables;
use super::variables::{is_without_effect, says_something, truth, variable};
use crate::config::Options;
use crate::response::{Emit, HeaderLine, HeaderSet};

/// What it says.
#[derive(Debug)]
pub(super) struct Environment {
    merge_domains: bool,
    shadow_mode: bool,
    headers: Option<Arc<HeaderSet>>,
    /// `RUNTIME_ROOT`/`RUNTIME_SUBDIRECTORY`/`RUNTIME_APPDIRECTORY`, else `./config`.
    pub(super) config: PathBuf,
    /// `GRPC_HOST` and `GRPC_PORT`.
    pub(super) grpc: SocketAddr,
    /// `HOST` and `PORT`.
    pub(super) http: SocketAddr,
    /// `LOG_LEVEL`.
    pub(super) log_level: Option<tracing::Level>,
    /// `LOG_FORMAT`.
    pub(super) json: bool,
    /// `REDIS_URL` with `REDIS_AUTH`, or else the first of `STATE_DIRECTORY`.
    pub(super) store: Counters,
    /// A variable that asks for what there is not, with what that is and what follows: the start must not go on.
    pub(super) missing: Option<(&'static str, &'static str)>,
    /// Variables that are set, and change nothing.
    pub(super) without_effect: Vec<String>,
}

/// A variable whose value is not understood.
#[derive(Debug)]
pub(super) struct Wrong {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment has {}={:?}: expected {}", self.name, self.value, self.expected)
    }
}

impl Environment {
    /// What the environment says, or all that is wrong with it.
    pub(super) fn read() -> Result<Self, Vec<Wrong>> {
        let mut reader = Reader::default();
        let shown = reader.switch("LIMIT_RESPONSE_HEADERS_ENABLED");
        let headers = reader.headers();
        let path = |name| variable(name).map(PathBuf::from);
        let config = path("RUNTIME_ROOT").map_or_else(
            || "config".into(),
            |root| {
                let below = path("RUNTIME_SUBDIRECTORY").unwrap_or_default();
                root.join(below).join(path("RUNTIME_APPDIRECTORY").unwrap_or_else(|| "config".into()))
            },
        );
        let environment = Self {
            merge_domains: reader.switch("MERGE_DOMAIN_CONFIG"),
            shadow_mode: reader.switch("SHADOW_MODE"),
            headers: headers.filter(|_| shown).map(Arc::new),
            config,
            grpc: reader.address("GRPC_HOST", "GRPC_PORT", 8081),
            http: reader.address("HOST", "PORT", 8080),
            log_level: reader.log_level(),
            json: reader.json(),
            store: redis_variables::store()
                .unwrap_or_else(|| Counters::in_state_directory(variable("STATE_DIRECTORY").as_deref())),
            missing: missing(),
            without_effect: without_effect(),
        };
        if reader.wrong.is_empty() { Ok(environment) } else { Err(reader.wrong) }
    }

    /// How files are read: `MERGE_DOMAIN_CONFIG`, unless the flag says so already, `SHADOW_MODE` and
    /// `LIMIT_RESPONSE_HEADERS_ENABLED`. With `RUNTIME_ROOT`, files are policies whatever their names are.
    pub(super) fn options(&self, merging: Merging) -> Options {
        Options {
            merge_domains: merging.merge_domains || self.merge_domains,
            shadow_mode: self.shadow_mode,
            every_file: variable("RUNTIME_ROOT").is_some(),
            headers: self.headers.clone(),
        }
    }
}

/// Those that are set and change nothing, by name.
fn without_effect() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut set: Vec<String> = names.filter(|name| is_without_effect(name) && says_something(name)).collect();
    set.sort_unstable();
    set
}

const MEMCACHED: &str = "counters in memcached, which Spillway does not have: each replica would count alone, and together they \
                         would let pass a multiple of every limit; unset it, and use REDIS_URL or --store";
const NO_REDIS: &str =
    "counters in Redis, and REDIS_URL does not say where; set it, or unset this to have them in memory";
const TLS: &str = "TLS, which Spillway does not have yet: what calls it expects to be encrypted; unset it, and have a sidecar \
                   or the mesh encrypt";
const XDS: &str = "a configuration from an xDS server, which Spillway does not ask yet: there would be no limits but those of \
                   files; unset it to serve these";

const SOCKET: &str = "a Unix socket, on which Spillway does not listen yet: Envoy's calls to it would fail, and all requests pass; \
                      unset it, and use GRPC_HOST and GRPC_PORT";

/// The first variable that asks for what there is not.
fn missing() -> Option<(&'static str, &'static str)> {
    let is_set = |name: &'static str| variable(name).is_some().then_some(name);
    let other_than = |name: &'static str, known: &[&str]| {
        let other =
            variable(name).filter(|value| !known.iter().any(|known| value.eq_ignore_ascii_case(known)));
        other.map(|_| name)
    };
    let says = |name: &'static str| says_something(name).then_some(name);
    let has_redis = variable("REDIS_URL").is_some();
    let memcached = is_set("MEMCACHE_HOST_PORT").or(is_set("MEMCACHE_SRV"));
    memcached
        .or(other_than("BACKEND_TYPE", &["memory", "redis"]))
        .map(|name| (name, MEMCACHED))
        .or(other_than("BACKEND_TYPE", &["memory"]).filter(|_| !has_redis).map(|name| (name, NO_REDIS)))
        .or_else(redis_variables::missing)
        .or(says("GRPC_SERVER_USE_TLS").map(|name| (name, TLS)))
        .or(is_set("GRPC_UDS").map(|name| (name, SOCKET)))
        .or(other_than("CONFIG_TYPE", &["FILE"]).map(|name| (name, XDS)))
}

#[derive(Default)]
struct Reader {
    wrong: Vec<Wrong>,
}

impl Reader {
    fn wrong(&mut self, name: &'static str, value: String, expected: &'static str) {
        self.wrong.push(Wrong { name, value, expected });
    }

    fn switch(&mut self, name: &'static str) -> bool {
        let Some(value) = variable(name) else { return false };
        truth(&value).unwrap_or_else(|| {
            self.wrong(name, value, "`true` or `false`");
            false
        })
    }

    /// Three headers, whose names may be given by `LIMIT_LIMIT_HEADER`, `LIMIT_REMAINING_HEADER` and `LIMIT_RESET_HEADER`.
    fn headers(&mut self) -> Option<HeaderSet> {
        let mut line = |variable_name, name: &str, shown| {
            let given = variable(variable_name);
            let parsed = HeaderLine::parse(given.as_deref().unwrap_or(name), shown);
            if let (Err(_), Some(given)) = (&parsed, given) {
                self.wrong(variable_name, given, "the name of a header");
            }
            parsed.ok()
        };
        let lines = [
            line("LIMIT_LIMIT_HEADER", "RateLimit-Limit", "limit"),
            line("LIMIT_REMAINING_HEADER", "RateLimit-Remaining", "remaining"),
            line("LIMIT_RESET_HEADER", "RateLimit-Reset", "reset_s"),
        ];
        HeaderSet::new(lines.into_iter().collect::<Option<Vec<_>>>()?, Emit::Always).ok()
    }

    fn address(&mut self, host: &'static str, port: &'static str, default_port: u16) -> SocketAddr {
        let number = match variable(port).map(|value| (value.parse(), value)) {
            None => default_port,
            Some((Ok(number), _)) => number,
            Some((Err(_), value)) => {
                self.wrong(port, value, "a port, from 0 to 65535");
                default_port
            }
        };
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), number);
        let Some(name) = variable(host) else { return anywhere };
        let found = (name.as_str(), number).to_socket_addrs().ok().and_then(|mut found| found.next());
        found.unwrap_or_else(|| {
            self.wrong(host, name, "an address of this machine, or a name that has one");
            anywhere
        })
    }

    fn log_level(&mut self) -> Option<tracing::Level> {
        let value = variable("LOG_LEVEL")?;
        let level = match value.to_lowercase().as_str() {
            "warning" => Some(tracing::Level::WARN),
            "fatal" | "panic" => Some(tracing::Level::ERROR),
            "error" | "warn" | "info" | "debug" | "trace" => value.parse().ok(),
            _ => None,
        };
        if level.is_none() {
            self.wrong("LOG_LEVEL", value, "`error`, `warn`, `info`, `debug` or `trace`");
        }
        level
    }

    fn json(&mut self) -> bool {
        let Some(value) = variable("LOG_FORMAT") else { return false };
        match value.to_lowercase().as_str() {
            "json" => true,
            "text" => false,
            _ => {
                self.wrong("LOG_FORMAT", value, "`text` or `json`");
                false
            }
        }
    }
}
