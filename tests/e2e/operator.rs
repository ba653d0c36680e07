//! A day of an operator's, in one piece: a mistake in a policy while traffic runs, its mending, a customer who buys more, and a crash.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::client::{Answer, send, send_to_host};
use crate::gateway::{Gateway, OPERATED_LOG, wait_for};
use crate::support::prometheus::Prometheus;
use crate::support::{Spillway, command, directory, metric};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[(
    "a_mistake_is_found_and_mended_under_traffic_and_a_customer_buys_more",
    a_mistake_is_found_and_mended_under_traffic_and_a_customer_buys_more,
)];

const POLICY: &str = "
domain: demo
subjects: demo.subjects.yaml
descriptors:
- key: api_key
  subject: api_key
  rate_limit: {name: per-customer, unit: year, requests_per_unit: {by: plan, values: {growth: 50000, scale: 900000}}}
";
const SUBJECTS: &str = "
subjects:
- {id: acme, attributes: {plan: growth}, credentials: [{kind: api_key, value: key_acme}]}
- {id: busy, attributes: {plan: growth}, credentials: [{kind: api_key, value: key_busy}]}
";

/// What the operator's tools ask.
struct Operated {
    spillway: Spillway,
    admin: SocketAddr,
}

impl Operated {
    fn start(gateway: &Gateway, config: &Path, store: &Path) -> Self {
        let (any, grpc) = ("127.0.0.1:0", gateway.operated_grpc.to_string());
        let store = format!("disk:{}", store.display());
        let serve =
            ["serve", "--grpc-addr", &grpc, "--http-addr", any, "--admin-addr", any, "--store", &store];
        // A machine that is busy writes slowly.
        let serve =
            serve.into_iter().chain(["--store-timeout", "5s", "--request-metadata"]).collect::<Vec<_>>();
        let spillway = Spillway::running(command(&serve).arg("--config").arg(config));
        let line = spillway.seen.iter().find(|line| line.contains("listening for admin")).unwrap();
        let admin = line.split_once("address=").unwrap().1.trim().parse().unwrap();
        Self { spillway, admin }
    }

    fn get(&self, path: &str) -> Value {
        let host = self.admin.to_string();
        body(&send_to_host(&host, "127.0.0.1", self.admin, &format!("GET {path}"), &[], ""))
    }

    fn change(&self, line: &str, change: &Value) -> Value {
        let (host, headers) = (self.admin.to_string(), [&b"X-Spillway-Change: 1"[..]]);
        body(&send_to_host(&host, "127.0.0.1", self.admin, line, &headers, &change.to_string()))
    }
}

fn body(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// What a customer sees of a limit: its number, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    limit: u64,
    left: u64,
}

/// One request of a customer through Envoy, or nothing where nobody decided on it.
fn ask(gateway: &Gateway, from: &str, key: &str) -> Option<Seen> {
    let answer =
        send(from, gateway.door("operated"), "GET /leads", &[format!("x-api-key: {key}").as_bytes()]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let number = |name| answer.header(name)?.split(',').next()?.parse().ok();
    Some(Seen { limit: number("x-ratelimit-limit")?, left: number("x-ratelimit-remaining")? })
}

fn a_mistake_is_found_and_mended_under_traffic_and_a_customer_buys_more(gateway: &Gateway) {
    let config = directory(&[("demo.yaml", POLICY), ("demo.subjects.yaml", SUBJECTS)]);
    let store = tempfile::tempdir().unwrap();
    let mut operated = Operated::start(gateway, config.path(), store.path());
    let acme = || ask(gateway, "127.0.4.1", "key_acme");
    // Until Envoy has found it.
    wait_for("a limited answer", || ask(gateway, "127.0.4.3", "key_busy"));

    // Traffic: one customer who never stops, and sees a number for each request.
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let so_far = || seen.lock().unwrap().len();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let one = ask(gateway, "127.0.4.2", "key_busy");
                seen.lock().unwrap().push(one);
            }
        });
        // However this ends, the traffic does.
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let more = |many: usize| {
                let from = so_far();
                wait_for("traffic", || (so_far() >= from + many).then_some(()));
            };
            more(20);
            assert_eq!(acme(), Some(Seen { limit: 50_000, left: 49_999 }));
            is_broken(&mut operated, config.path());
            more(20);
            assert_eq!(acme(), Some(Seen { limit: 50_000, left: 49_998 }), "the limit is as it was");
            is_mended(&mut operated, config.path());
            more(20);
            let higher = Seen { limit: 60_000, left: 60_000 - 3 };
            assert_eq!(acme(), Some(higher), "the new limit, and what was used before");
        }));
        stop.store(true, Ordering::Relaxed);
        told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    nothing_happened_to(&seen.into_inner().unwrap());

    // The customer buys the larger plan.
    let bought = json!({"attributes": {"plan": "scale"}});
    let told = operated.change("PATCH /api/v1/subjects/demo/acme", &bought);
    assert_eq!(told["durable"], true, "{told}");
    assert_eq!(acme(), Some(Seen { limit: 900_000, left: 900_000 - 4 }), "on their next request");
    operated.spillway.log_line("what=\"subject change\"");
    a_line_of_the_access_log_is_explained(gateway, &operated);

    // And the machine loses its power.
    operated.spillway.signal("KILL");
    assert!(!operated.spillway.wait().success());
    let operated = Operated::start(gateway, config.path(), store.path());
    let told = operated.get("/api/v1/changes");
    assert_eq!((&told["total"], &told["durable"]), (&json!(1), &json!(true)), "{told}");
    let change = &told["changes"][0];
    assert_eq!(
        (&change["what"], &change["object"]),
        (&json!("subject change"), &json!("demo: subject acme"))
    );
    assert_eq!((&change["before"], &change["after"]), (&json!("plan: growth"), &json!("plan: scale")));
    assert!(change["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{change}");
    let after = wait_for("a limited answer", acme);
    // What was about to be used when the power went counts as used: never less than was, and not much more.
    assert_eq!(after.limit, 900_000);
    assert!((890_000..=900_000 - 5).contains(&after.left), "{after:?}");
}

/// A slip of the pen: nothing changes, and everything says where it is.
fn is_broken(operated: &mut Operated, config: &Path) {
    let slip = POLICY.replace("requests_per_unit", "request_per_unit");
    fs::write(config.join("demo.yaml"), slip).unwrap();
    // The log, with place and hint; a line for people has several.
    operated.spillway.log_line("the old one stays in force");
    operated.spillway.log_line("demo.yaml:7:");
    operated.spillway.log_line("did you mean `requests_per_unit`?");
    // The metric, and the alert that is made of it, as a Prometheus reads both.
    assert_eq!(metric(operated.spillway.http, "spillway_config_stale"), 1);
    let alerts: serde_yaml::Value =
        serde_yaml::from_str(&fs::read_to_string("envoy/grafana/spillway-alerts.yaml").unwrap()).unwrap();
    let groups = alerts["groups"].as_sequence().unwrap();
    let mut rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    let alert = rules.find(|rule| rule["alert"] == "SpillwayConfigurationStale").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let prometheus = Prometheus::scraping(&[("spillway", operated.spillway.http)]).await;
        prometheus.until(alert["expr"].as_str().unwrap(), None, |found| found == [1.0]).await;
    });
    // The API, and with it the page.
    let told = operated.get("/api/v1/config");
    assert_eq!((&told["stale"], &told["generation"]), (&json!(true), &json!(1)), "{told}");
    let mistake = &told["diagnostics"][0];
    assert!(mistake["file"].as_str().unwrap().ends_with("demo.yaml"), "{mistake}");
    assert_eq!((&mistake["line"], &mistake["severity"]), (&json!(7), &json!("error")), "{mistake}");
    assert!(mistake["excerpt"].as_str().unwrap().contains("request_per_unit"), "{mistake}");
}

/// What Envoy logged of the customer's last request, pasted as it is.
fn a_line_of_the_access_log_is_explained(gateway: &Gateway, operated: &Operated) {
    let log = gateway.files.path().join(OPERATED_LOG);
    let line = wait_for("the line", || {
        let log = fs::read_to_string(&log).ok()?;
        log.lines()
            .rfind(|line| line.contains("\"subject\":\"acme\"") && line.contains("\"used\":4"))
            .map(str::to_owned)
    });
    assert!(!line.contains("key_acme"), "{line}");
    let told = body(&send_to_host(
        &operated.admin.to_string(),
        "127.0.0.1",
        operated.admin,
        "POST /api/v1/explain",
        &[],
        &json!({"access_log": line}).to_string(),
    ));
    let counter = &told["counters"][0][0];
    assert_eq!((&told["domain"], &counter["counter"]), (&json!("demo"), &json!("subject acme")), "{told}");
    assert_eq!((&counter["numbers"]["used"], &counter["numbers"]["limit"]), (&json!(4), &json!(900_000)));
}

/// The slip is mended, and the limit raised with it.
fn is_mended(operated: &mut Operated, config: &Path) {
    fs::write(config.join("demo.yaml"), POLICY.replace("growth: 50000", "growth: 60000")).unwrap();
    operated.spillway.log_line("rules_before=1");
    assert_eq!(metric(operated.spillway.http, "spillway_config_stale"), 0);
    let told = operated.get("/api/v1/config");
    assert_eq!((&told["stale"], &told["generation"]), (&json!(false), &json!(2)), "{told}");
    let history: Vec<_> =
        told["history"].as_array().unwrap().iter().map(|event| event["result"].clone()).collect();
    assert_eq!(history, ["applied", "rejected", "applied"], "{told}");
}

/// Each request was decided on, under the one limit or the other, and counted once.
fn nothing_happened_to(seen: &[Option<Seen>]) {
    let seen: Vec<Seen> = seen.iter().map(|one| one.expect("each request is decided on")).collect();
    let used: Vec<u64> = seen.iter().map(|one| one.limit - one.left).collect();
    assert!(used.windows(2).all(|pair| pair[1] == pair[0] + 1), "{used:?}");
    let limits: Vec<u64> = seen.iter().map(|one| one.limit).collect();
    let changes = limits.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((limits.first(), limits.last(), changes), (Some(&50_000), Some(&60_000), 1));
}
