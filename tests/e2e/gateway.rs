//! Envoy as `envoy/envoy.yaml` configures it, on free ports, with a few doors more.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_yaml::Value;
use tempfile::TempDir;

use crate::client::send;
use crate::published::Published;
use crate::support::reserved::Reserved;
use crate::support::{PATIENCE, Process, Spillway, directory};
use crate::transport::Transports;

/// A cluster as Istio names it, which is no valid `:authority`.
const ISTIO: &str = "outbound|8081||ratelimit.default.svc.cluster.local";
/// The limiter of the demonstration's virtual host, and that of the five APIs' virtual hosts.
const LIMITERS: [&str; 2] = ["envoy.filters.http.ratelimit", "policy-writes-headers"];

/// The access log of the door `operated`, beside Envoy's configuration.
pub(crate) const OPERATED_LOG: &str = "operated.log";

/// Rules with a `*` for what the door `long` is asked.
pub(crate) const WILDCARDS: usize = 1_000;

/// Envoy, an upstream behind it, and the two Spillways it asks.
pub(crate) struct Gateway {
    _envoy: Process,
    _upstream: Process,
    /// Ends with the gateway; nobody reads its log, which may stay with one thread.
    _spillway: Mutex<Spillway>,
    /// Where operators look.
    pub(crate) spillway_http: SocketAddr,
    listeners: HashMap<String, SocketAddr>,
    /// Where Envoy tells its statistics.
    admin: SocketAddr,
    /// Where the door `away` looks for its own Spillway, which tests start and stop.
    pub(crate) away_grpc: SocketAddr,
    /// The same of the door `published-away`.
    pub(crate) published_away_grpc: SocketAddr,
    /// Where the doors `failing` and `failing-closed` look for a Spillway whose store fails, which a test serves.
    pub(crate) failing_grpc: SocketAddr,
    /// The two replicas that the door `rolling` asks, which a test starts and stops.
    pub(crate) rolling_grpc: [SocketAddr; 2],
    /// The two replicas that the doors `stalled-open`, `stalled-closed` and `stalled-local` ask, which a test starts.
    pub(crate) stalled_grpc: [SocketAddr; 2],
    /// What the doors `tls`, `tls-nobody` and `unix` ask.
    pub(crate) transports: Transports,
    /// Where the door `operated` looks for the Spillway of an operator, which a test starts and stops.
    pub(crate) operated_grpc: SocketAddr,
    /// The ports of all these: nobody else takes them while nobody listens.
    _reserved: [Reserved; 8],
    pub(crate) config: TempDir,
    /// What the five APIs' virtual hosts ask.
    pub(crate) published: Published,
    /// Envoy's own configuration is `envoy.yaml` here.
    pub(crate) files: TempDir,
}

impl Gateway {
    /// Starts everything and waits until it answers.
    pub(crate) fn start() -> Self {
        // The sample's own policy, with windows that no run straddles the end of, and rules for the doors below.
        let demo = fs::read_to_string("config/demo.yaml").unwrap().replace("unit: hour", "unit: year");
        let more = "  - {key: raw, rate_limit: {unit: year, requests_per_unit: 2}}\n";
        let wildcard = |n| {
            format!(
                "  - {{key: wild, value: /api/v1/*/r{n}/*, rate_limit: {{unit: year, requests_per_unit: 9}}}}\n"
            )
        };
        let wildcards: String = (0..WILDCARDS).map(wildcard).collect();
        let reported = "request_headers: {x-told: '{{entry.raw}}'}\n";
        let config = directory(&[("demo.yaml", &(demo + more + &wildcards + reported))]);
        let spillway = Spillway::start(config.path(), "127.0.0.1:0");

        let (upstream, upstream_port) = upstream();
        let published = Published::start();
        let reserved: [Reserved; 8] = std::array::from_fn(|_| Reserved::new());
        let addresses = reserved.each_ref().map(|reserved| reserved.address);
        let [away_grpc, published_away_grpc, failing_grpc, operated_grpc, replicas @ ..] = addresses;
        let [first_rolling, second_rolling, first_stalled, second_stalled] = replicas;
        let (rolling_grpc, stalled_grpc) = ([first_rolling, second_rolling], [first_stalled, second_stalled]);
        let files = tempfile::tempdir().unwrap();
        let admin_address = files.path().join("admin");
        let yaml = files.path().join("envoy.yaml");
        let ports = Ports {
            spillway: spillway.grpc.port(),
            published: published.grpc.port(),
            upstream: upstream_port,
            away: away_grpc.port(),
            published_away: published_away_grpc.port(),
            failing: failing_grpc.port(),
            rolling: rolling_grpc.map(|address| address.port()),
            stalled: stalled_grpc.map(|address| address.port()),
            operated: operated_grpc.port(),
            operated_log: files.path().join(OPERATED_LOG),
        };
        let transports = Transports::start(config.path());
        fs::write(&yaml, doors(&ports, &transports)).unwrap();

        let envoy = Process::of(
            envoy()
                .args([
                    "--file-flush-interval-msec",
                    "50",
                    "--concurrency",
                    "1",
                    "--use-dynamic-base-id",
                    "--log-level",
                    "error",
                    "-c",
                ])
                .arg(&yaml)
                .arg("--admin-address-path")
                .arg(&admin_address)
                .stdout(Stdio::null()),
        );
        let admin =
            wait_for("Envoy's admin address", || fs::read_to_string(&admin_address).ok()?.parse().ok());
        wait_for("Envoy", || (send("127.0.0.1", admin, "GET /ready", &[]).status == 200).then_some(()));
        let listeners = listeners(admin);
        Self {
            _envoy: envoy,
            _upstream: upstream,
            spillway_http: spillway.http,
            _spillway: Mutex::new(spillway),
            listeners,
            admin,
            away_grpc,
            published_away_grpc,
            failing_grpc,
            rolling_grpc,
            stalled_grpc,
            transports,
            operated_grpc,
            _reserved: reserved,
            config,
            published,
            files,
        }
    }

    /// A number of Envoy's statistics. One that was never counted is 0, so ask for one that was, too.
    pub(crate) fn statistic(&self, name: &str) -> u64 {
        let text = send("127.0.0.1", self.admin, &format!("GET /stats?filter={name}"), &[]).body;
        let values = text.lines().filter_map(|line| line.rsplit_once(": "));
        values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    }

    /// What Envoy is configured with, by its admin port.
    pub(crate) fn dump(&self) -> String {
        let body = send("127.0.0.1", self.admin, "GET /config_dump", &[]).body;
        // It comes in chunks, each behind its length.
        let (mut rest, mut dump) = (body.as_str(), String::new());
        while let Some((length, after)) = rest.split_once("\r\n") {
            let (chunk, after) = after.split_at(usize::from_str_radix(length, 16).unwrap());
            dump += chunk;
            rest = after.strip_prefix("\r\n").unwrap();
        }
        dump
    }

    /// The address of a door: `gateway` is the sample's own.
    pub(crate) fn door(&self, name: &str) -> SocketAddr {
        *self.listeners.get(name).unwrap_or_else(|| panic!("no door `{name}` in {:?}", self.listeners))
    }
}

/// Asks again and again, for as long as is reasonable.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(50);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(found) = ask() {
            return found;
        }
        runtime.block_on(async { tokio::time::sleep(PAUSE).await });
    }
    panic!("{what} did not come within {PATIENCE:?}");
}

/// The program that runs Envoy, found or installed as `make demo` does it.
pub(crate) fn envoy() -> Command {
    let found = Command::new("python3").arg("envoy/find.py").stderr(Stdio::inherit()).output().unwrap();
    assert!(found.status.success(), "there is no Envoy, and none could be installed");
    let words = String::from_utf8(found.stdout).unwrap();
    let mut words = words.split_whitespace().map(|word| word.trim_matches('\''));
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    command
}

pub(crate) fn upstream() -> (Process, u16) {
    let mut process =
        Process::of(Command::new("python3").args(["envoy/upstream.py", "0"]).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok());
    (process, port.unwrap_or_else(|| panic!("no port in `{line}`")))
}

/// Where everything is.
struct Ports {
    spillway: u16,
    published: u16,
    upstream: u16,
    away: u16,
    published_away: u16,
    failing: u16,
    rolling: [u16; 2],
    stalled: [u16; 2],
    operated: u16,
    operated_log: PathBuf,
}

/// The sample with its ports changed, where the five APIs' virtual hosts ask the cluster `published`; and beside its
/// listener `gateway` copies of it: `raw`, which also limits by a query parameter and by a header, `defaults`, which
/// limits by another one and leaves Envoy's settings as they are, `istio`, whose
/// cluster has a name of Istio's, `away` and `published-away`, where one of the two Spillways is another, `failing` and
/// `failing-closed`, whose Spillway's store fails, with Envoy's default timeout, `rolling`, which asks two replicas, `tls`,
/// `tls-nobody` and `unix`, which ask in other ways than by plain TCP,
/// `stalled-…`, which ask two others with Envoy's default timeout, each for a rule of its own, and `operated`, which asks by its API
/// key alone and waits for as long as a busy machine takes.
fn doors(ports: &Ports, transports: &Transports) -> String {
    let mut yaml: Value = serde_yaml::from_str(&fs::read_to_string("envoy/envoy.yaml").unwrap()).unwrap();
    yaml["admin"]["address"]["socket_address"]["port_value"] = 0.into();
    let resources = &mut yaml["static_resources"];

    clusters(resources["clusters"].as_sequence_mut().unwrap(), ports, transports);
    let [of_demo, of_published] = LIMITERS;
    let gateway = &mut resources["listeners"][0];
    gateway["address"]["socket_address"]["port_value"] = 0.into();
    service(manager(gateway), of_published)["cluster_name"] = "published".into();
    // What is refused before its request is read whole would keep each client waiting for a second.
    manager(gateway)["delayed_close_timeout"] = "0.05s".into();
    let gateway = gateway.clone();
    let copy = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut copy = gateway.clone();
        copy["name"] = name.into();
        change(manager(&mut copy));
        copy
    };
    let raw = copy("raw", &|manager| {
        let limits = "
            - actions: [{query_parameters: {query_parameter_name: k, descriptor_key: raw}}]
            - actions: [{request_headers: {header_name: x-raw, descriptor_key: raw}}]";
        manager["route_config"]["virtual_hosts"][0]["rate_limits"] = serde_yaml::from_str(limits).unwrap();
    });
    // How long an answer takes the test asks Spillway: Envoy's own 20 ms may pass while a busy machine runs neither.
    let long = copy("long", &|manager| {
        let limits = "- actions: [{query_parameters: {query_parameter_name: w, descriptor_key: wild}}]";
        manager["route_config"]["virtual_hosts"][0]["rate_limits"] = serde_yaml::from_str(limits).unwrap();
        with_defaults(manager, "long")["timeout"] = "1s".into();
    });
    let istio = copy("istio", &|manager| {
        let grpc = service(manager, of_demo);
        grpc["cluster_name"] = ISTIO.into();
        grpc.as_mapping_mut().unwrap().remove("authority");
    });
    let away = copy("away", &|manager| service(manager, of_demo)["cluster_name"] = "away".into());
    let published_away = copy("published-away", &|manager| {
        service(manager, of_published)["cluster_name"] = "published-away".into();
    });
    let rolling = copy("rolling", &|manager| service(manager, of_demo)["cluster_name"] = "rolling".into());
    let failing = |name: &'static str, is_closed: bool| {
        copy(name, &|manager| {
            service(manager, of_demo)["cluster_name"] = "failing".into();
            with_defaults(manager, name)["failure_mode_deny"] = is_closed.into();
        })
    };
    let stalled = |mode: &'static str| {
        let name = format!("stalled-{mode}");
        copy(&name, &|manager| {
            let limits =
                format!("- actions: [{{generic_key: {{descriptor_key: mode, descriptor_value: {mode}}}}}]");
            manager["route_config"]["virtual_hosts"][0]["rate_limits"] =
                serde_yaml::from_str(&limits).unwrap();
            service(manager, of_demo)["cluster_name"] = "stalled".into();
            with_defaults(manager, &name);
        })
    };
    let (open, closed) = (failing("failing", false), failing("failing-closed", true));
    let operated = copy("operated", &|manager| {
        let limits = "- actions: [{request_headers: {header_name: x-api-key, descriptor_key: api_key}}]";
        manager["route_config"]["virtual_hosts"][0]["rate_limits"] = serde_yaml::from_str(limits).unwrap();
        service(manager, of_demo)["cluster_name"] = "operated".into();
        let sink = &mut manager["access_log"][0]["typed_config"];
        sink["@type"] = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog".into();
        sink["path"] = ports.operated_log.display().to_string().into();
        with_defaults(manager, "operated")["timeout"] = "5s".into();
    });
    let copies = [operated, raw, long, istio, away, published_away, open, closed, rolling];
    let by = |name: &'static str| {
        copy(name, &|manager| {
            service(manager, of_demo)["cluster_name"] = name.into();
            // The first call begins with a handshake.
            with_defaults(manager, name)["timeout"] = "2s".into();
        })
    };
    let copies = copies.into_iter().chain(["open", "closed", "local"].map(stalled));
    let copies = copies.chain(["tls", "tls-nobody", "unix"].map(by));
    resources["listeners"].as_sequence_mut().unwrap().extend(copies);
    serde_yaml::to_string(&yaml).unwrap()
}

/// The sample's clusters with their ports changed, and copies of `ratelimit` for those whom doors ask.
fn clusters(clusters: &mut Vec<Value>, ports: &Ports, transports: &Transports) {
    for cluster in clusters.iter_mut() {
        let port = if cluster["name"] == "ratelimit" { ports.spillway } else { ports.upstream };
        set_port(cluster, port);
    }
    let ratelimit = clusters.iter().find(|cluster| cluster["name"] == "ratelimit").unwrap().clone();
    clusters.extend(transports.clusters(&ratelimit));
    for (name, replicas) in [
        (ISTIO, &[ports.spillway][..]),
        ("away", &[ports.away]),
        ("published", &[ports.published]),
        ("published-away", &[ports.published_away]),
        ("failing", &[ports.failing]),
        ("operated", &[ports.operated]),
        ("rolling", &ports.rolling),
        ("stalled", &ports.stalled),
    ] {
        let mut copy = ratelimit.clone();
        copy["name"] = name.into();
        copy["load_assignment"]["cluster_name"] = name.into();
        let endpoints = copy["load_assignment"]["endpoints"][0]["lb_endpoints"].as_sequence_mut().unwrap();
        *endpoints = vec![endpoints[0].clone(); replicas.len()];
        for (endpoint, port) in endpoints.iter_mut().zip(replicas) {
            endpoint["endpoint"]["address"]["socket_address"]["port_value"] = (*port).into();
        }
        clusters.push(copy);
    }
}

/// Has the demonstration's limiter wait for as long as Envoy does by default, and counts its calls under a name of their own.
fn with_defaults<'y>(manager: &'y mut Value, statistics: &str) -> &'y mut Value {
    let filters = manager["http_filters"].as_sequence_mut().unwrap();
    let limiter = filters.iter_mut().find(|filter| filter["name"] == LIMITERS[0]).unwrap();
    let limiter = &mut limiter["typed_config"];
    assert!(limiter.as_mapping_mut().unwrap().remove("timeout").is_some());
    limiter["stat_prefix"] = statistics.into();
    limiter
}

fn manager(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

fn set_port(cluster: &mut Value, port: u16) {
    let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    endpoint["address"]["socket_address"]["port_value"] = port.into();
}

/// Whom a limiter asks.
fn service<'y>(manager: &'y mut Value, limiter: &str) -> &'y mut Value {
    let filters = manager["http_filters"].as_sequence_mut().unwrap();
    let limiter = filters.iter_mut().find(|filter| filter["name"] == limiter).unwrap();
    &mut limiter["typed_config"]["rate_limit_service"]["grpc_service"]["envoy_grpc"]
}

pub(crate) fn listeners(admin: SocketAddr) -> HashMap<String, SocketAddr> {
    // `name::address` on each line.
    let text = send("127.0.0.1", admin, "GET /listeners", &[]).body;
    let lines = text.lines().filter_map(|line| line.split_once("::"));
    lines.filter_map(|(name, address)| Some((name.to_owned(), address.trim().parse().ok()?))).collect()
}
