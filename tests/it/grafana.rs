//! The dashboard and the alerts that come with Spillway, in front of a real Prometheus that scrapes real Spillways.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use futures_util::future::join_all;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::rls::{channel, descriptor, request};
use crate::support::ads::{Ads, hourly};
use crate::support::prometheus::{Prometheus, program};
use crate::support::tls::{Authority, Good};
use crate::support::valkey::Valkey;
use crate::support::{Spillway, command, directory, serve};

const HOME: &str = "envoy/grafana";

/// An alert for what no client and no operator can cause. Its case in `spillway-alerts.test.yaml` has to do.
const NOT_CAUSED: &[&str] = &["SpillwayInternalError"];

/// Alerts for what takes long, as everything does on a busy machine. That they keep quiet is for the same file to say.
const OF_TIME: &[&str] = &["SpillwaySlow", "SpillwayStoreSlow"];

#[test]
fn promtool_accepts_the_alerts_and_their_tests_pass() {
    for words in [["check", "rules", "spillway-alerts.yaml"], ["test", "rules", "spillway-alerts.test.yaml"]]
    {
        let said = Command::new(program("promtool").canonicalize().unwrap())
            .args(words)
            .current_dir(HOME)
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&[said.stdout, said.stderr].concat()));
    }
}

#[test]
fn each_alert_is_tested_to_fire_and_to_keep_quiet() {
    let tests = yaml("spillway-alerts.test.yaml");
    let (mut fires, mut keeps_quiet) = (BTreeSet::new(), BTreeSet::new());
    for case in tests["tests"].as_sequence().unwrap() {
        for expected in case["alert_rule_test"].as_sequence().unwrap() {
            let name = expected["alertname"].as_str().unwrap().to_owned();
            let is_quiet = expected["exp_alerts"].as_sequence().unwrap().is_empty();
            if is_quiet { &mut keeps_quiet } else { &mut fires }.insert(name);
        }
    }
    let all: BTreeSet<String> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(fires, all);
    assert_eq!(keeps_quiet, all);
}

#[tokio::test]
async fn every_query_has_an_answer_and_every_alert_fires_when_it_should_and_not_before() {
    let mut stage = Stage::set().await;
    let (queries, quiet) = dashboard();
    stage.ordinary_traffic().await;
    for query in &queries {
        stage.prometheus.until(query, None, |found| !found.is_empty()).await;
    }
    for (name, alert) in alerts().into_iter().filter(|(name, _)| !OF_TIME.contains(&name.as_str())) {
        let of_job = format!("({alert}) and on (job) up{{job=\"spillway\"}}");
        // That one is not about a job.
        let alert = if name == "SpillwayAbsent" { alert } else { of_job };
        stage.prometheus.until(&alert, None, <[f64]>::is_empty).await;
    }
    for query in &quiet {
        assert!(stage.prometheus.query(query, None).is_empty(), "{query}");
    }

    stage.reload();
    for query in &quiet {
        stage.prometheus.until(query, None, |found| !found.is_empty()).await;
    }
    stage.break_everything().await;
    for (name, alert) in alerts() {
        let (alert, time) = match name.as_str() {
            name if NOT_CAUSED.contains(&name) => continue,
            // Nothing was scraped in 1970.
            "SpillwayAbsent" => (alert, Some(1)),
            // Five minutes are too long for a test.
            "SpillwayIsNotAsked" => (alert.replace("[5m]", "[2s]"), None),
            _ => (alert, None),
        };
        stage.prometheus.until(&alert, time, |found| !found.is_empty()).await;
    }
}

const POLICY: &str = "
domain: d
subjects: people.subjects.yaml
descriptors:
  - {key: key, rate_limit: {name: per-key, unit: year, requests_per_unit: 5}}
  - {key: seen, shadow_mode: true, rate_limit: {name: watched, unit: year, requests_per_unit: 1}}
  - {key: path, detailed_metric: true, rate_limit: {name: per-path, unit: year, requests_per_unit: 1000000}}
  - {key: api_key, subject: api_key, rate_limit: {unit: year, requests_per_unit: 5}}
---
domain: tight
descriptors: [{key: key, rate_limit: {unit: year, requests_per_unit: 1}}]
---
domain: loose
descriptors: [{key: key, rate_limit: {unit: year, requests_per_unit: 1}}]
";

const PEOPLE: &str = "subjects: [{id: ada, credentials: [{value: secret_1, kind: api_key}]}]";

const ONE_RULE: &str = "
domain: d
descriptors: [{key: key, rate_limit: {unit: year, requests_per_unit: 5}}]
";
const TWO_RULES: &str = "
domain: d
descriptors:
  - {key: key, rate_limit: {unit: year, requests_per_unit: 5}}
  - {key: other, rate_limit: {unit: year, requests_per_unit: 5}}
";

/// A Spillway that counts in a Valkey, two others that differ, one that waits for its configuration, and who looks at them.
struct Stage {
    valkey: Valkey,
    authority: Authority,
    /// Sends limits to the first one; `None` when it has gone away.
    ads: Option<Ads>,
    files: TempDir,
    spillway: Spillway,
    /// Only watches, and has room for few counters.
    watching: Spillway,
    _odd: [Spillway; 2],
    client: RateLimitServiceClient<Channel>,
    prometheus: Prometheus,
}

impl Stage {
    async fn set() -> Self {
        let valkey = Valkey::start(&[]);
        let files = directory(&[("d.yaml", POLICY), ("people.subjects.yaml", PEOPLE)]);
        let store = format!("{}?timeout=500ms", valkey.url());
        let mut of_spillway = serve();
        // Longer than Envoy waits: a store that does not answer makes answers late, too.
        of_spillway.arg(files.path()).args(["--store", &store, "--store-timeout", "500ms"]);
        let authority = Authority::new();
        for (name, good) in [
            ("server", Good::Now),
            ("other", Good::Now),
            ("soon", Good::Days(8)),
            ("tomorrow", Good::Days(1)),
        ] {
            authority.issue(name, "localhost", good);
        }
        let mut ads = Ads::start();
        ads.set(&[]);
        of_spillway.args(["--xds", &format!("http://{}", ads.address), "--admin-addr", "127.0.0.1:0"]);
        of_spillway.args(tls(&authority, "admin", "server"));
        let spillway = Spillway::running(&mut of_spillway);
        let (one, two) = (directory(&[("d.yaml", ONE_RULE)]), directory(&[("d.yaml", TWO_RULES)]));
        let mut of_watching = serve();
        of_watching.arg(one.path()).args(["--max-counters", "1000"]).env("SHADOW_MODE", "true");
        let watching = Spillway::running(&mut of_watching);
        let other = Spillway::running(serve().arg(two.path()));
        // Nobody listens on that port.
        let mut of_waiting = command(&["serve", "--xds", "http://127.0.0.1:1"]);
        of_waiting.args([
            "--grpc-addr",
            "127.0.0.1:0",
            "--http-addr",
            "127.0.0.1:0",
            "--admin-addr",
            "127.0.0.1:0",
        ]);
        of_waiting.args(tls(&authority, "grpc", "soon")).args(tls(&authority, "admin", "tomorrow"));
        let waiting = Spillway::listening(&mut of_waiting);
        let odd = [&watching, &other, &waiting].map(|odd| ("odd", odd.http));
        let targets = [&[("spillway", spillway.http)][..], &odd].concat();
        let prometheus = Prometheus::scraping(&targets).await;
        let client = RateLimitServiceClient::new(channel(&spillway).await);
        let (ads, odd) = (Some(ads), [other, waiting]);
        Self { valkey, authority, ads, files, spillway, watching, _odd: odd, client, prometheus }
    }

    async fn ask(&mut self, domain: &str, entries: &[(&str, &str)]) {
        let (domain, descriptors) = (domain.to_owned(), vec![descriptor(entries)]);
        // An error is an answer, too: that of a store which fails.
        let _ = self.client.should_rate_limit(RateLimitRequest { domain, descriptors, hits_addend: 1 }).await;
    }

    /// Most of it passes, some is refused, and some reaches no rule.
    async fn ordinary_traffic(&mut self) {
        for _ in 0..100 {
            self.ask("d", &[("path", "/leads")]).await;
        }
        for _ in 0..9 {
            self.ask("d", &[("key", "1")]).await;
            self.ask("d", &[("seen", "1")]).await;
        }
        for entries in [("api_key", "secret_1"), ("api_key", "invented"), ("nowhere", "1")] {
            self.ask("d", &[entries]).await;
        }
        self.ask("tight", &[("key", "1")]).await;
    }

    fn reload(&mut self) {
        fs::write(self.files.path().join("d.yaml"), format!("{POLICY}# changed\n")).unwrap();
        self.spillway.log_line("rules_before=");
    }

    async fn break_everything(&mut self) {
        // A set with a mistake, after which the xDS server goes away; and a key that is another certificate's.
        let mut ads = self.ads.take().unwrap();
        ads.set(&[hourly("", "key", 1)]);
        ads.refused().await;
        drop(ads);
        fs::copy(self.authority.path("other.key"), self.authority.path("server.key")).unwrap();
        fs::write(self.files.path().join("d.yaml"), "domain: d\ndescriptorz: []\n").unwrap();
        for _ in 0..30 {
            self.ask("tight", &[("key", "1")]).await;
            self.ask("loose", &[("kee", "1")]).await;
            self.ask("unheard-of", &[("key", "1")]).await;
        }
        self.valkey.signal("STOP");
        // Many at once, so that many of them wait, and several times: those that wait at the same time are one failure, and after some
        // the store is not asked any more.
        for _ in 0..8 {
            let client = &self.client;
            let late = (0..20).map(|_| async {
                let request = request(vec![descriptor(&[("path", "/leads")])]);
                let _ = client.clone().should_rate_limit(request).await;
            });
            join_all(late).await;
        }
        let mut of_watching = RateLimitServiceClient::new(channel(&self.watching).await);
        for hundred in 0..30 {
            let key = |n| descriptor(&[("key", &format!("{hundred}-{n}"))]);
            let descriptors = (0..100).map(key).collect();
            let request = RateLimitRequest { domain: "d".to_owned(), descriptors, hits_addend: 1 };
            of_watching.should_rate_limit(request).await.unwrap();
        }
    }
}

/// Has a port show a certificate.
fn tls(authority: &Authority, port: &str, name: &str) -> [String; 4] {
    let (certificate, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
    [format!("--{port}-tls-cert"), certificate, format!("--{port}-tls-key"), key]
}

fn text(name: &str) -> String {
    fs::read_to_string(format!("{HOME}/{name}")).unwrap()
}

fn yaml(name: &str) -> serde_yaml::Value {
    serde_yaml::from_str(&text(name)).unwrap()
}

/// The name and the expression of each alert.
fn alerts() -> Vec<(String, String)> {
    let rules = yaml("spillway-alerts.yaml");
    let groups = rules["groups"].as_sequence().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    let word = |rule: &serde_yaml::Value, word: &str| rule[word].as_str().unwrap().to_owned();
    rules.map(|rule| (word(rule, "alert"), word(rule, "expr"))).collect()
}

/// The queries of the dashboard's panels and variables, and those of its annotations, which are empty until something happens.
fn dashboard() -> (Vec<String>, Vec<String>) {
    let dashboard: serde_json::Value = serde_json::from_str(&text("spillway-dashboard.json")).unwrap();
    let filled = |query: &str| {
        let query = query.replace("$__rate_interval", "1m").replace("$job", "spillway");
        ["$instance", "$domain", "$rule"].iter().fold(query, |query, name| query.replace(name, ".*"))
    };
    let list = |list: &serde_json::Value| list.as_array().unwrap().clone();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
        queries.extend(list(&panel["targets"]).iter().map(|target| filled(target["expr"].as_str().unwrap())));
    }
    for variable in list(&dashboard["templating"]["list"]) {
        // `label_values(metric, label)`
        let Some(definition) = variable["definition"].as_str() else { continue };
        let metric = definition.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap().0;
        queries.push(filled(metric));
    }
    let annotations = list(&dashboard["annotations"]["list"]);
    let annotations = annotations.iter().filter_map(|annotation| annotation["expr"].as_str()).map(filled);
    (queries, annotations.collect())
}
