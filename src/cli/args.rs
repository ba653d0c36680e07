//! What can be typed.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, Subcommand, ValueEnum};

use super::counters::Counters;
use super::examples;
use super::tls::Tls;
use super::xds::XdsUrl;
use crate::app::Address;
use crate::config::{TimeError, hits, point_in_time};
use crate::model::Timestamp;
use crate::rls::MaxAge;
use crate::telemetry::build;

/// An Envoy rate limit service that answers exactly as an API's documentation says
#[derive(Debug, Parser)]
#[command(version = build::VERSION_AND_COMMIT, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve Envoy over gRPC
    #[command(after_help = examples::SERVE)]
    Serve(Box<Serve>),
    /// Report every mistake in policy files, with its line and column
    #[command(after_help = examples::CHECK)]
    Check(Check),
    /// Show which rule a request reaches, what it counts and what is answered
    #[command(after_help = examples::EXPLAIN)]
    Explain(Explain),
    /// Run the policies' own tests
    #[command(after_help = examples::TEST)]
    Test(Test),
    /// Show what a running server does, once a second: rates, denials and headroom of each rule
    #[command(after_help = examples::TOP)]
    Top(Top),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each command, for whoever packages it
    #[command(hide = true)]
    Man {
        /// Where to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print the JSON Schema of a policy file, for editors
    #[command(after_help = examples::SCHEMA)]
    Schema,
    /// Turn the limits of another rate limit service into policies, and tell what changes
    #[command(after_help = examples::MIGRATE)]
    Migrate(Migrate),
    /// Show every variable of the environment: what becomes of it, what it says, and its value now
    #[command(after_help = examples::ENV)]
    Env(Env),
    /// Look at counters on a disk, copy and move them, while no server has them open
    #[command(after_help = examples::STORE)]
    Store(Store),
}

#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// A directory or a file of envoyproxy/ratelimit, or a limits file of Limitador
    #[arg(value_name = "FROM")]
    pub(super) from: PathBuf,
    /// Where policies are written; without it they are printed
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    #[command(flatten)]
    pub(super) merging: Merging,
}

#[derive(Debug, clap::Args)]
pub(super) struct Env {
    /// Only those that are set
    #[arg(long)]
    pub(super) set: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// The server's HTTP port
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = host_and_port)]
    pub(super) address: String,
    /// The time between two looks, as `1s`
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = look_interval)]
    pub(super) interval: Duration,
}

#[derive(Debug, clap::Args)]
pub(super) struct Store {
    #[command(subcommand)]
    pub(super) action: StoreAction,
}

/// Whose counters they are, and by which policy they were counted.
#[derive(Debug, clap::Args)]
pub(super) struct Whose {
    /// Descriptors as Envoy sends them: `key=value,key=value`; write `\,` for a comma in a value
    #[arg(value_name = "DESCRIPTOR", requires = "domain")]
    pub(super) descriptors: Vec<String>,
    /// The domain that Envoy's filter is configured with
    #[arg(long, value_name = "NAME")]
    pub(super) domain: Option<String>,
    /// Policy file, or directory of them [default: ./config]
    #[arg(long, value_name = "PATH", env = "SPILLWAY_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, requires = "descriptors")]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) merging: Merging,
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreAction {
    /// Tell how many counters there are; or, with a domain and descriptors, what is used of whose limits
    Inspect {
        /// The store's directory, as in `disk:/var/lib/spillway`
        store: PathBuf,
        #[command(flatten)]
        whose: Whose,
    },
    /// Let a customer begin anew: forget the counters of some descriptors
    Reset {
        /// The store's directory
        store: PathBuf,
        #[command(flatten)]
        whose: Whose,
        /// Forget the tier that this subject of the domain has reached, so that it follows from its facts alone again
        #[arg(long, value_name = "SUBJECT", requires = "domain", conflicts_with = "descriptors")]
        tier_of: Option<String>,
    },
    /// Copy a store to a new directory, from which a server can go on
    Backup {
        /// The store's directory
        store: PathBuf,
        /// The new one
        to: PathBuf,
    },
    /// Make the file as small as its counters
    Compact {
        /// The store's directory
        store: PathBuf,
    },
    /// Print all counters as JSON, one a line. The first line has the secret that their keys are made under
    Export {
        /// The store's directory
        store: PathBuf,
    },
    /// Make a store of the lines that `export` printed, from standard input
    Import {
        /// The new store's directory
        store: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Policy file, or directory of them [default: ./config]
    #[arg(long, value_name = "PATH", env = "SPILLWAY_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// An xDS server that sends rate limits, as `http://envoy-gateway:18001?node_id=envoy-ratelimit`; may be given several times,
    /// and beside `--config`. Policies are read from files then only where `--config` says so
    #[arg(long, value_name = "URL", env = "SPILLWAY_XDS", value_delimiter = ',')]
    pub(super) xds: Vec<XdsUrl>,
    /// Where Envoy calls: RLS, grpc.health.v1 and reflection; `unix:PATH` for a Unix socket [default: 0.0.0.0:8081]
    #[arg(long, value_name = "ADDRESS", env = "SPILLWAY_GRPC_ADDR", value_parser = grpc_address)]
    pub(super) grpc_addr: Option<Address>,
    /// Where operators look: /healthcheck, /ready, /metrics; and where requests come as JSON: POST /json [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS", env = "SPILLWAY_HTTP_ADDR", value_parser = address)]
    pub(super) http_addr: Option<SocketAddr>,
    /// Where operators see and change what is going on: the API below /api/v1, /rlconfig, /stats; `off` for nowhere [default:
    /// 127.0.0.1:6070]
    #[arg(long, value_name = "ADDRESS", env = "SPILLWAY_ADMIN_ADDR", value_parser = admin_address)]
    pub(super) admin_addr: Option<AdminAddress>,
    /// A file with the token that the admin port asks for, at least 16 characters; needed where it listens on another address
    /// than this machine's own. It is read again when it changes
    #[arg(long, value_name = "PATH", env = "SPILLWAY_ADMIN_TOKEN_FILE")]
    pub(super) admin_token_file: Option<PathBuf>,
    /// Where counters are kept: `memory`, `disk:DIR` or the URL of a Redis or Valkey server [default: `disk:$STATE_DIRECTORY`
    /// where systemd sets that, else `memory`]
    #[arg(long, value_name = "STORE", env = "SPILLWAY_STORE", hide_env_values = true)]
    pub(super) store: Option<Counters>,
    /// How long a store is waited for, as `10ms`; what happens then, each limit's `on_store_failure` says
    #[arg(long, value_name = "TIME", env = "SPILLWAY_STORE_TIMEOUT", default_value = "10ms", value_parser = store_timeout)]
    pub(super) store_timeout: Duration,
    /// How many replicas share the store: each counts to as large a part of a limit with `on_store_failure: local`, and takes
    /// leases of such a part
    #[arg(long, value_name = "N", env = "SPILLWAY_REPLICAS", default_value_t = NonZeroU32::MIN, value_parser = replicas)]
    pub(super) replicas: NonZeroU32,
    /// The most counters that are kept; when there are more, those furthest from their limits are dropped first
    #[arg(long, value_name = "N", env = "SPILLWAY_MAX_COUNTERS", default_value_t = 10_000_000, value_parser = counters)]
    pub(super) max_counters: usize,
    /// The most memory that counters take, as `512MiB` or `2GB` [default: half of what the cgroup or the machine has]
    #[arg(long, value_name = "BYTES", env = "SPILLWAY_MAX_COUNTER_MEMORY", value_parser = memory)]
    pub(super) max_counter_memory: Option<usize>,
    /// How old a connection for gRPC may become before its client is asked to open another one, so that clients find replicas
    /// that were started later; as `1h`, give or take a tenth [default: any age]
    #[arg(long, value_name = "TIME", env = "SPILLWAY_MAX_CONNECTION_AGE", value_parser = connection_age)]
    pub(super) max_connection_age: Option<Duration>,
    /// The most connections for gRPC; when there are more, idle ones make room [default: what the limit of file
    /// descriptors allows, 16,384 at most]
    #[arg(long, value_name = "N", env = "SPILLWAY_MAX_CONNECTIONS", value_parser = connections)]
    pub(super) max_connections: Option<usize>,
    /// What becomes of a request that is beyond a bound (16 MiB, 1,024 descriptors): it is refused as one over its limit,
    /// or answered by an error, which lets it pass in Envoy's default failure mode
    #[arg(
        long,
        value_name = "ANSWER",
        env = "SPILLWAY_BEYOND_BOUNDS",
        ignore_case = true,
        default_value = "refuse"
    )]
    pub(super) beyond_bounds: Beyond,
    /// What becomes of a call whose `:authority` is not valid, as from a cluster with Istio's name: it is answered, or reset
    /// as HTTP/2 asks for, which lets the request pass in Envoy's default failure mode
    #[arg(
        long,
        value_name = "ANSWER",
        env = "SPILLWAY_INVALID_AUTHORITY",
        ignore_case = true,
        default_value = "accept"
    )]
    pub(super) invalid_authority: Authority,
    /// How long calls are still served after SIGTERM or SIGINT while /ready and gRPC health say no, as `15s`
    #[arg(long, value_name = "TIME", env = "SPILLWAY_DRAIN_DELAY", default_value = "0s", value_parser = drain_delay)]
    pub(super) drain_delay: Duration,
    #[command(flatten)]
    pub(super) tls: Tls,
    #[command(flatten)]
    pub(super) also: AlsoReported,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT", env = "SPILLWAY_LOG_FORMAT", ignore_case = true)]
    pub(super) log_format: Option<LogFormat>,
    /// Which log lines are written: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL", env = "SPILLWAY_LOG_LEVEL")]
    pub(super) log_level: Option<tracing::Level>,
    #[command(flatten)]
    pub(super) merging: Merging,
}

/// What is reported only where it is asked for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct AlsoReported {
    /// Report the busiest and the most refused keys of the last minutes as metrics, 100 of each; keys are what clients send
    #[arg(long, env = "SPILLWAY_HEAVY_HITTERS_METRICS")]
    pub(super) heavy_hitters_metrics: bool,
    /// Report the metrics of envoyproxy/ratelimit, too, under its names: `ratelimit_service_rate_limit_total_hits` and so on
    #[arg(long, env = "SPILLWAY_RATELIMIT_METRICS")]
    pub(super) ratelimit_metrics: bool,
    /// Tell Envoy the domain and the descriptors of each request in the answer's dynamic metadata, with `…` for credentials, so that
    /// an access log has them and `spillway explain --access-log` can say why
    #[arg(long, env = "SPILLWAY_REQUEST_METADATA")]
    pub(super) request_metadata: bool,
}

/// Why an address is none.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NoAddress {
    /// It is not written as one.
    #[error("{0}")]
    Malformed(String),
    /// Its name has none, or nobody could be asked. A moment later it may have one.
    #[error("there is no such address; write `HOST:PORT` or `:PORT`, as in `127.0.0.1:8081`{0}")]
    Unresolved(&'static str),
}

impl NoAddress {
    /// The same where something else may be written as well.
    fn or(self, other: &'static str) -> Self {
        match self {
            Self::Malformed(why) => Self::Malformed(format!("{why}{other}")),
            Self::Unresolved(_) => Self::Unresolved(other),
        }
    }
}

/// Where the admin port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminAddress {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// An address, of this machine alone where only a port is given, or `off`.
fn admin_address(text: &str) -> Result<AdminAddress, NoAddress> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(AdminAddress::Off);
    }
    let whole = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    address(&whole).map(AdminAddress::At).map_err(|wrong| wrong.or("; or `off`"))
}

/// An address, or the file of a Unix socket.
fn grpc_address(text: &str) -> Result<Address, NoAddress> {
    match text.strip_prefix("unix:") {
        Some(path) => socket_file(path).map(Address::Unix).map_err(NoAddress::Malformed),
        None => {
            address(text).map(Address::Tcp).map_err(|wrong| wrong.or("; or `unix:/run/spillway/grpc.sock`"))
        }
    }
}

/// `/run/spillway/grpc.sock`; with `//` before it, too, as gRPC writes the name of a Unix socket.
pub(super) fn socket_file(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("//").unwrap_or(text);
    if path.is_empty() || path.starts_with('@') {
        return Err("expected the file of a Unix socket, as in `unix:/run/spillway/grpc.sock`".to_owned());
    }
    Ok(PathBuf::from(path))
}

/// `0.0.0.0:8081`, `localhost:8081`, or `:8081` for every address of the machine.
fn address(text: &str) -> Result<SocketAddr, NoAddress> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut found = whole.to_socket_addrs().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            NoAddress::Malformed("expected an address and a port, as in `0.0.0.0:8081`".to_owned())
        }
        _ => NoAddress::Unresolved(""),
    })?;
    found.next().ok_or(NoAddress::Unresolved(""))
}

fn time(text: &str) -> Result<Timestamp, String> {
    point_in_time(text).map_err(|error| format!("{error}; {}", TimeError::HINT))
}

fn cost(text: &str) -> Result<u64, String> {
    if text.starts_with('-') {
        return Err("a request costs 0 hits or more; write `--hits 0` to look without counting".to_owned());
    }
    hits(text).map_err(|(message, hint)| match hint {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    })
}

fn counters(text: &str) -> Result<usize, String> {
    number(text, 1_000)
}

fn connections(text: &str) -> Result<usize, String> {
    number(text, 1)
}

/// A number of at least so much, whose digits may be grouped by `_`.
fn number(text: &str, least: u64) -> Result<usize, String> {
    let number = hits(text).map_err(|(message, hint)| match hint {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    })?;
    if number < least {
        return Err(format!("the least is {least}"));
    }
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// The least memory for counters: there is a table of some for each of many locks.
const LEAST_MEMORY: usize = 1 << 20;

fn memory(text: &str) -> Result<usize, String> {
    let bytes =
        ByteSize::from_str(text).map_err(|_| "expected a size, such as `512MiB` or `2GB`".to_owned())?;
    let bytes = usize::try_from(bytes.as_u64()).unwrap_or(usize::MAX);
    if bytes < LEAST_MEMORY {
        // The downward API of Kubernetes gives bytes without a unit; whoever types a small number means larger units.
        let meant =
            hits(text).map(|_| format!("; write `{text}MiB` if mebibytes are meant")).unwrap_or_default();
        return Err(format!("it is less than 1 MiB, and limits cannot be kept in that{meant}"));
    }
    Ok(bytes)
}

/// The longest that an end may be put off: who supervises processes does not wait so long.
const LONGEST_DELAY: Duration = Duration::from_secs(3_600);

fn drain_delay(text: &str) -> Result<Duration, String> {
    let expected = "expected a time of at most an hour, such as `15s` or `500ms`";
    duration(text).filter(|delay| *delay <= LONGEST_DELAY).ok_or_else(|| expected.to_owned())
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
}

/// How long a store may be waited for.
const STORE_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);

/// The age of connections that is told; a shorter one than the least has no effect on a connection that is looked at later.
pub(super) fn connection_age(text: &str) -> Result<Duration, String> {
    let expected = format!("expected a time of at least {} s, such as `1h`", MaxAge::LEAST.as_secs());
    duration(text).filter(|age| *age >= MaxAge::LEAST).ok_or(expected)
}

fn store_timeout(text: &str) -> Result<Duration, String> {
    let expected = "expected a time from `1ms` to `10s`; Envoy waits for 20 ms unless it is told otherwise";
    duration(text).filter(|timeout| STORE_TIMEOUTS.contains(timeout)).ok_or_else(|| expected.to_owned())
}

/// How often a server may be looked at.
const LOOKS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

fn replicas(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "expected a whole number from 1".to_owned())
}

/// What may be looked up: the name may have an address later.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let is_right = text.rsplit_once(':').is_some_and(|(host, port)| !host.contains('/') && is_port(port));
    is_right
        .then(|| text.to_owned())
        .ok_or_else(|| "expected a host and a port, as in `127.0.0.1:8080`".to_owned())
}

fn look_interval(text: &str) -> Result<Duration, String> {
    let expected = "expected a time from `100ms` to `60s`";
    duration(text).filter(|interval| LOOKS.contains(interval)).ok_or_else(|| expected.to_owned())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Beyond {
    /// As one over its limit
    Refuse,
    /// By a gRPC error
    Error,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Authority {
    /// The call is answered
    Accept,
    /// The call is reset
    Reset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Merging {
    /// Let several files describe the same domain
    #[arg(long, env = "SPILLWAY_MERGE_DOMAINS")]
    pub(super) merge_domains: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Policy files, or directories of them; also tests and subjects files
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// An Envoy configuration that asks these policies: its bootstrap, or what its admin port answers to `/config_dump`, as YAML or
    /// JSON. Tells which descriptors and rules do not meet, and how a client could pass unlimited; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(super) envoy: Vec<PathBuf>,
    /// Warnings count as mistakes
    #[arg(long)]
    pub(super) strict: bool,
    /// Where counters are kept when the policies are served: limits are named whose counts a restart forgets there
    #[arg(long, value_name = "STORE", env = "SPILLWAY_STORE", hide_env_values = true)]
    pub(super) store: Option<Counters>,
    /// How what was found is written; all but `text` go to standard output
    #[arg(long, value_name = "FORMAT", ignore_case = true, default_value = "text")]
    pub(super) format: CheckFormat,
    #[command(flatten)]
    pub(super) merging: Merging,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckFormat {
    /// For people
    Text,
    /// A list of objects
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Workflow commands of GitHub Actions
    Github,
}

#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// Tests, policies for the tests beside them, or directories of *.test.yaml files
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) merging: Merging,
}

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// Policy file, or directory of them [default: ./config]
    #[arg(long, value_name = "PATH", env = "SPILLWAY_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The domain that Envoy's filter is configured with
    #[arg(long, value_name = "NAME", required_unless_present = "access_log")]
    pub(super) domain: Option<String>,
    /// Descriptors as Envoy would send them: `key=value,key=value`; write `\,` for a comma in a value
    #[arg(required_unless_present = "access_log", value_name = "DESCRIPTOR")]
    pub(super) descriptors: Vec<String>,
    /// A file with one line of Envoy's access log that has Spillway's metadata in it, or the request as JSON; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "descriptors")]
    pub(super) access_log: Option<PathBuf>,
    /// What the request costs; 0 shows the numbers without counting
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = cost)]
    pub(super) hits: u64,
    /// The time to decide at, as in 2026-01-31T09:30:00Z or 2026-01-31 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) merging: Merging,
}
