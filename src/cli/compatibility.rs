//! The environment of an envoyproxy/ratelimit deployment, where it means something here.
//!
//! Whatever is set there is done, or ends the start by its name: a limit that is silently not enforced, or enforced where
//! it was to be watched, is worse than none.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::admin::PORT;
use super::args::{AlsoReported, Merging, duration, socket_file};
use super::called;
use super::counters::Counters;
use super::reading::{A_HOST, Wrong};
use super::redis_variables;
use super::tls::TlsVariables;
use super::traces::Traces;
use super::variables::{OF_TLS, is_without_effect, says_something, truth, variable};
use super::xds::XdsVariables;
use crate::app::Address;
use crate::config::{OnRefusal, Options};
use crate::response::{Emit, HeaderLine, HeaderSet};
use crate::rls::MaxAge;
use crate::telemetry::{Dialect, Metrics, NearLimit, StatsdOptions};

/// How often statistics may be sent.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

/// What it says.
#[derive(Debug)]
pub(super) struct Environment {
    merge_domains: bool,
    /// `STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT`.
    on_refusal: OnRefusal,
    shadow_mode: bool,
    headers: Option<Arc<HeaderSet>>,
    /// `NEAR_LIMIT_RATIO`.
    pub(super) near_limit: NearLimit,
    /// `RUNTIME_ROOT`/`RUNTIME_SUBDIRECTORY`/`RUNTIME_APPDIRECTORY`, else `./config`.
    pub(super) config: PathBuf,
    /// `GRPC_UDS`, else `GRPC_HOST` and `GRPC_PORT`.
    pub(super) grpc: Address,
    /// `GRPC_SERVER_USE_TLS` and what goes with it.
    pub(super) tls: TlsVariables,
    /// `HOST` and `PORT`.
    pub(super) http: SocketAddr,
    /// `DEBUG_HOST` and `DEBUG_PORT`, if one of them is set.
    pub(super) admin: Option<SocketAddr>,
    /// `GRPC_MAX_CONNECTION_AGE`; none where it is 0.
    max_connection_age: Option<Duration>,
    /// `GRPC_MAX_CONNECTION_AGE_GRACE`, an hour by default as there.
    connection_grace: Duration,
    /// `LOG_LEVEL`.
    pub(super) log_level: Option<tracing::Level>,
    /// `LOG_FORMAT`.
    pub(super) json: bool,
    /// `REDIS_URL` with `REDIS_AUTH`, or else the first of `STATE_DIRECTORY`.
    pub(super) store: Counters,
    /// `USE_PROMETHEUS`, `USE_STATSD` and `USE_DOG_STATSD`.
    pub(super) reports: Reports,
    /// `CONFIG_TYPE` and what belongs to it.
    pub(super) xds: XdsVariables,
    /// `TRACING_ENABLED`, and what OpenTelemetry has.
    pub(super) traces: Traces,
    /// A variable that asks for what there is not, with what that is and what follows: the start must not go on.
    pub(super) missing: Option<(&'static str, &'static str)>,
    /// Variables that are set, and change nothing.
    pub(super) without_effect: Vec<String>,
}

/// How that server's metrics are reported.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    /// On `/metrics`, under its names.
    with_its_names: bool,
    /// Answers tell what was asked: `RESPONSE_DYNAMIC_METADATA`.
    tells_request: bool,
    /// By UDP.
    statsd: Option<StatsdOptions>,
}

impl Reports {
    /// Has `metrics` report so, and what flags ask for `also`.
    pub(super) fn apply_to(self, also: AlsoReported, metrics: &Metrics) {
        if also.heavy_hitters_metrics {
            metrics.report_heavy_hitters();
        }
        if self.with_its_names || also.ratelimit_metrics {
            metrics.report_ratelimit_names();
        }
        if self.tells_request || also.request_metadata {
            metrics.tell_request();
        }
        if let Some(statsd) = self.statsd {
            metrics.report_to_statsd(statsd);
        }
    }
}

impl Environment {
    /// What the environment says, or all that is wrong with it. What only concerns traces is read where calls are served: it is set for
    /// every program of a cluster, as a rule.
    pub(super) fn read(is_serving: bool) -> Result<Self, Vec<Wrong>> {
        let mut reader = Reader::default();
        let shown = reader.switch("LIMIT_RESPONSE_HEADERS_ENABLED");
        let headers = reader.headers();
        let path = |name| variable(name).map(PathBuf::from);
        let config = runtime_root().map_or_else(
            || "config".into(),
            |root| {
                let below = path("RUNTIME_SUBDIRECTORY").unwrap_or_default();
                root.join(below).join(path("RUNTIME_APPDIRECTORY").unwrap_or_else(|| "config".into()))
            },
        );
        let environment = Self {
            merge_domains: reader.switch("MERGE_DOMAIN_CONFIG"),
            on_refusal: if reader.switch("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT") {
                OnRefusal::RefusingCount
            } else {
                OnRefusal::AllCount
            },
            // Both are read, so that both are told where they are not understood.
            shadow_mode: reader.switch("SHADOW_MODE") | reader.switch("QUOTA_MODE"),
            headers: headers.filter(|_| shown).map(Arc::new),
            near_limit: reader.near_limit(),
            config,
            grpc: reader.grpc(),
            tls: reader.tls(),
            http: reader.address("HOST", "PORT", 8080),
            admin: reader.admin(),
            max_connection_age: reader
                .time("GRPC_MAX_CONNECTION_AGE", MaxAge::LEAST, "a time of at least 10 s, as in `24h`, or 0")
                .filter(|age| !age.is_zero()),
            connection_grace: reader
                .time("GRPC_MAX_CONNECTION_AGE_GRACE", Duration::ZERO, "a time, as in `1h`")
                .unwrap_or(Duration::from_secs(3_600)),
            log_level: reader.log_level(),
            json: reader.json(),
            store: redis_variables::store()
                .unwrap_or_else(|| Counters::in_state_directory(variable("STATE_DIRECTORY").as_deref())),
            reports: Reports {
                with_its_names: reader.switch("USE_PROMETHEUS"),
                tells_request: reader.switch("RESPONSE_DYNAMIC_METADATA"),
                statsd: reader.statsd(),
            },
            xds: XdsVariables::read(&mut reader.wrong),
            traces: if is_serving { Traces::read(&mut reader.wrong) } else { Traces::none() },
            missing: missing(),
            without_effect: without_effect(),
        };
        if reader.wrong.is_empty() { Ok(environment) } else { Err(reader.wrong) }
    }

    /// How files are read: `MERGE_DOMAIN_CONFIG`, unless the flag says so already, `SHADOW_MODE` or `QUOTA_MODE`,
    /// `STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT`, and `LIMIT_RESPONSE_HEADERS_ENABLED`. With `RUNTIME_ROOT`, files are policies whatever their names are.
    pub(super) fn options(&self, merging: Merging) -> Options {
        Options {
            merge_domains: merging.merge_domains || self.merge_domains,
            on_refusal: self.on_refusal,
            shadow_mode: self.shadow_mode,
            every_file: runtime_root().is_some(),
            headers: self.headers.clone(),
        }
    }
}

impl Environment {
    /// How old connections may become: what the flag says, else `GRPC_MAX_CONNECTION_AGE`.
    pub(super) fn connection_age(&self, flag: Option<Duration>) -> Option<MaxAge> {
        let age = flag.or(self.max_connection_age)?;
        Some(MaxAge { age, grace: self.connection_grace })
    }
}

/// `RUNTIME_ROOT`, which has a default under that server's name.
fn runtime_root() -> Option<PathBuf> {
    let default = called::as_ratelimit().then(|| called::RUNTIME_ROOT.into());
    variable("RUNTIME_ROOT").map(PathBuf::from).or(default)
}

/// Those that are set and change nothing, by name.
fn without_effect() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_tls_used = says_something("GRPC_SERVER_USE_TLS");
    let is_idle = |name: &str| is_without_effect(name) || (!is_tls_used && OF_TLS.contains(&name));
    let mut set: Vec<String> = names.filter(|name| is_idle(name) && says_something(name)).collect();
    set.sort_unstable();
    set
}

const MEMCACHED: &str = "counters in memcached, which Spillway does not have: each replica would count alone, and together they \
                         would let pass a multiple of every limit; unset it, and use REDIS_URL or --store";
const NO_REDIS: &str =
    "counters in Redis, and REDIS_URL does not say where; set it, or unset this to have them in memory";
const CONFIG: &str = "configurations from where Spillway gets none: there would be no limits; it may be `FILE` or `GRPC_XDS_SOTW`";

/// The first variable that asks for what there is not.
fn missing() -> Option<(&'static str, &'static str)> {
    let is_set = |name: &'static str| variable(name).is_some().then_some(name);
    let other_than = |name: &'static str, known: &[&str]| {
        let other =
            variable(name).filter(|value| !known.iter().any(|known| value.eq_ignore_ascii_case(known)));
        other.map(|_| name)
    };
    let has_redis = variable("REDIS_URL").is_some();
    let memcached = is_set("MEMCACHE_HOST_PORT").or(is_set("MEMCACHE_SRV"));
    memcached
        .or(other_than("BACKEND_TYPE", &["memory", "redis"]))
        .map(|name| (name, MEMCACHED))
        .or(other_than("BACKEND_TYPE", &["memory"]).filter(|_| !has_redis).map(|name| (name, NO_REDIS)))
        .or_else(redis_variables::missing)
        .or(other_than("CONFIG_TYPE", &["FILE", "GRPC_XDS_SOTW"]).map(|name| (name, CONFIG)))
}

#[derive(Default)]
struct Reader {
    wrong: Vec<Wrong>,
}

impl Reader {
    fn wrong(&mut self, name: &'static str, value: &str, expected: &'static str) {
        self.wrong.push(Wrong::new(name, value, expected));
    }

    fn switch(&mut self, name: &'static str) -> bool {
        let Some(value) = variable(name) else { return false };
        truth(&value).unwrap_or_else(|| {
            self.wrong(name, &value, "`true` or `false`");
            false
        })
    }

    /// Three headers, whose names may be given by `LIMIT_LIMIT_HEADER`, `LIMIT_REMAINING_HEADER` and `LIMIT_RESET_HEADER`.
    fn headers(&mut self) -> Option<HeaderSet> {
        let mut line = |variable_name, name: &str, shown| {
            let given = variable(variable_name);
            let parsed = HeaderLine::parse(given.as_deref().unwrap_or(name), shown);
            if let (Err(_), Some(given)) = (&parsed, given) {
                self.wrong(variable_name, &given, "the name of a header");
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

    fn near_limit(&mut self) -> NearLimit {
        let Some(value) = variable("NEAR_LIMIT_RATIO") else { return NearLimit::default() };
        value.parse().ok().and_then(NearLimit::from_ratio).unwrap_or_else(|| {
            self.wrong("NEAR_LIMIT_RATIO", &value, "a part of a limit from 0 to 1, as in `0.8`");
            NearLimit::default()
        })
    }

    /// Where statistics are sent, if they are.
    fn statsd(&mut self) -> Option<StatsdOptions> {
        let (plain, with_tags) = (self.switch("USE_STATSD"), self.switch("USE_DOG_STATSD"));
        let is_wanted = !self.switch("DISABLE_STATS") && (plain || with_tags);
        let port = variable("STATSD_PORT").unwrap_or_else(|| "8125".to_owned());
        let port = port.parse().unwrap_or_else(|_| {
            self.wrong("STATSD_PORT", &port, "a port, from 0 to 65535");
            0
        });
        let interval = variable("STATS_FLUSH_INTERVAL").unwrap_or_else(|| "10s".to_owned());
        let interval =
            duration(&interval).filter(|interval| INTERVALS.contains(interval)).unwrap_or_else(|| {
                self.wrong("STATS_FLUSH_INTERVAL", &interval, "a time from `100ms` to `1h`, as in `10s`");
                Duration::from_secs(10)
            });
        let options = StatsdOptions {
            host: variable("STATSD_HOST").unwrap_or_else(|| "localhost".to_owned()),
            port,
            interval,
            dialect: if with_tags { Dialect::DogStatsd } else { Dialect::Statsd },
            tags: self.tags(),
        };
        is_wanted.then_some(options)
    }

    /// `EXTRA_TAGS`, in the order of their names.
    fn tags(&mut self) -> Vec<(String, String)> {
        let Some(text) = variable("EXTRA_TAGS") else { return Vec::new() };
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        let pairs = pairs.map(|pair| pair.split_once(':').map(|(name, value)| (name.trim(), value.trim())));
        let Some(mut tags) = pairs.collect::<Option<Vec<_>>>() else {
            self.wrong("EXTRA_TAGS", &text, "names and values, as in `region:eu,stage:prod`");
            return Vec::new();
        };
        tags.sort_unstable();
        tags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The file of a Unix socket prevails, as in envoyproxy/ratelimit.
    fn grpc(&mut self) -> Address {
        let address = self.address("GRPC_HOST", "GRPC_PORT", 8081);
        let Some(file) = variable("GRPC_UDS") else { return Address::Tcp(address) };
        if let Ok(path) = socket_file(file.strip_prefix("unix:").unwrap_or(&file)) {
            return Address::Unix(path);
        }
        self.wrong("GRPC_UDS", &file, "the file of a Unix socket, as in `/run/ratelimit.sock`");
        Address::Tcp(address)
    }

    fn tls(&mut self) -> TlsVariables {
        let path = |name| variable(name).map(PathBuf::from);
        let text = variable("GRPC_CLIENT_TLS_SAN");
        let names = text.iter().flat_map(|text| text.split(',')).map(str::parse).collect::<Result<_, _>>();
        TlsVariables {
            is_used: self.switch("GRPC_SERVER_USE_TLS"),
            certificate: path("GRPC_SERVER_TLS_CERT"),
            key: path("GRPC_SERVER_TLS_KEY"),
            authorities: path("GRPC_CLIENT_TLS_CACERT"),
            names: names.unwrap_or_else(|_| {
                let value = text.unwrap_or_default();
                self.wrong(
                    "GRPC_CLIENT_TLS_SAN",
                    &value,
                    "a DNS name, an address or a URI, as in `envoy.default`",
                );
                Vec::new()
            }),
        }
    }

    /// On this machine alone where no host is said.
    fn admin(&mut self) -> Option<SocketAddr> {
        let is_said = variable("DEBUG_HOST").is_some();
        if !is_said && variable("DEBUG_PORT").is_none() {
            return None;
        }
        let address = self.address("DEBUG_HOST", "DEBUG_PORT", PORT);
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
        Some(if is_said { address } else { here })
    }

    fn address(&mut self, host: &'static str, port: &'static str, default_port: u16) -> SocketAddr {
        let number = match variable(port).map(|value| (value.parse(), value)) {
            None => default_port,
            Some((Ok(number), _)) => number,
            Some((Err(_), value)) => {
                self.wrong(port, &value, "a port, from 0 to 65535");
                default_port
            }
        };
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), number);
        let Some(name) = variable(host) else { return anywhere };
        let found = (name.as_str(), number).to_socket_addrs().ok().and_then(|mut found| found.next());
        found.unwrap_or_else(|| {
            self.wrong(host, &name, A_HOST);
            anywhere
        })
    }

    /// A time of at least `least`, or 0.
    fn time(&mut self, name: &'static str, least: Duration, expected: &'static str) -> Option<Duration> {
        let value = variable(name)?;
        let time = if value == "0" { Some(Duration::ZERO) } else { duration(&value) };
        let time = time.filter(|time| time.is_zero() || *time >= least);
        if time.is_none() {
            self.wrong(name, &value, expected);
        }
        time
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
            self.wrong(
                "LOG_LEVEL",
                &value,
                "`error`, `warn`, `info`, `debug` or `trace`; or `warning`, `fatal` or `panic`",
            );
        }
        level
    }

    fn json(&mut self) -> bool {
        let Some(value) = variable("LOG_FORMAT") else { return false };
        match value.to_lowercase().as_str() {
            "json" => true,
            "text" => false,
            _ => {
                self.wrong("LOG_FORMAT", &value, "`text` or `json`");
                false
            }
        }
    }
}
