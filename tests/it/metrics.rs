//! `/metrics` of the real program, and what Prometheus' own checker says of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;

use tokio::time::Instant;

use crate::rls::{channel, descriptor, request};
use crate::support::prometheus::{Prometheus, program};
use crate::support::valkey::Valkey;
use crate::support::{PATIENCE, Spillway, command, directory, get, metric, serve};

const POLICY: &str = "
domain: d
descriptors:
  - {key: key, rate_limit: {name: per-key, unit: year, requests_per_unit: 5}}
  - {key: seen, shadow_mode: true, rate_limit: {name: watched, unit: year, requests_per_unit: 1}}
  - {key: free, rate_limit: {name: free, unlimited: true}}
";

/// Sends so many requests with one descriptor of each of `keys`.
async fn ask(spillway: &Spillway, times: usize, keys: &[&str], hits: u32) {
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    for _ in 0..times {
        let descriptors = keys.iter().map(|key| descriptor(&[(key, "1")])).collect();
        let mut request = request(descriptors);
        request.hits_addend = hits;
        client.should_rate_limit(request).await.unwrap();
    }
}

fn get_accepting(http: SocketAddr, accept: &str) -> String {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The metrics once they have this line: the time of a call is counted when its answer has gone.
fn with_line(http: SocketAddr, line: &str) -> String {
    let begun = tokio::time::Instant::now();
    loop {
        let answer = get(http, "/metrics");
        if answer.lines().any(|one| one == line) || begun.elapsed() > PATIENCE {
            return answer;
        }
    }
}

/// What `promtool check metrics` says of a text.
fn check(text: &str) -> Result<(), String> {
    let mut check = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = check.wait_with_output().unwrap();
    if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
}

#[tokio::test]
async fn hits_are_reported_for_each_rule_and_requests_for_each_domain() {
    let spillway = Spillway::serving(POLICY);
    ask(&spillway, 3, &["key", "seen", "free", "nowhere"], 2).await;
    let answer = with_line(spillway.http, "spillway_answer_duration_seconds_count 3");
    for line in [
        "spillway_requests_total{domain=\"d\",code=\"ok\"} 2",
        "spillway_requests_total{domain=\"d\",code=\"over_limit\"} 1",
        // Two of five, four of five, and two that would be six.
        "spillway_rule_hits_total{domain=\"d\",rule=\"per-key\"} 6",
        "spillway_rule_within_limit_total{domain=\"d\",rule=\"per-key\"} 4",
        "spillway_rule_near_limit_total{domain=\"d\",rule=\"per-key\"} 0",
        "spillway_rule_over_limit_total{domain=\"d\",rule=\"per-key\"} 2",
        "spillway_rule_over_limit_total{domain=\"d\",rule=\"watched\"} 6",
        "spillway_rule_shadow_mode_total{domain=\"d\",rule=\"watched\"} 6",
        "spillway_rule_hits_total{domain=\"d\",rule=\"free\"} 6",
        "spillway_rule_within_limit_total{domain=\"d\",rule=\"free\"} 6",
        "spillway_unmatched_descriptors_total{domain=\"d\",reason=\"unknown_key\"} 3",
        "spillway_answer_duration_seconds_count 3",
        "spillway_connections_open{port=\"grpc\"} 0",
        "spillway_connections_open{port=\"http\"} 1",
        "spillway_ready 1",
        "spillway_draining 0",
    ] {
        // The client's connection may still be open.
        let other = line.replace("{port=\"grpc\"} 0", "{port=\"grpc\"} 1");
        assert!(answer.lines().any(|one| one == line || one == other), "no `{line}` in:\n{answer}");
    }
}

const DETAILED: &str = "
domain: d
subjects: people.subjects.yaml
descriptors:
  - key: api_key
    subject: api_key
    descriptors:
      - {key: path, detailed_metric: true, rate_limit: {name: per-path, unit: year, requests_per_unit: 5}}
  - key: api_key
    detailed_metric: true
    rate_limit: {name: strangers, unit: year, requests_per_unit: 5}
  - key: path
    value: /open/*
    value_to_metric: true
    descriptors:
      - {key: sent, detailed_metric: true, rate_limit: {name: sent, unit: year, requests_per_unit: 5}}
      - {key: user, rate_limit: {unit: year, requests_per_unit: 1000000}}
      - {key: free, rate_limit: {name: free, unlimited: true}}
      - key: batch
        value: '*'
        detailed_metric: true
        share_threshold: true
        rate_limit: {unit: year, requests_per_unit: 1}
";

const PEOPLE: &str = "subjects: [{id: ada, credentials: [{value: secret_1, kind: api_key}]}]";

#[tokio::test]
async fn a_wrong_key_and_an_invented_credential_look_different() {
    let files = directory(&[("d.yaml", DETAILED), ("people.subjects.yaml", PEOPLE)]);
    let spillway = Spillway::start(files.path(), "127.0.0.1:0");
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    for entries in [
        &[("api-key", "secret_1")][..],
        &[("path", "/closed")],
        &[("api_key", "secret_1"), ("path", "/a"), ("path", "/b")],
        &[("api_key", "secret_1"), ("api_key", "secret_2")],
        &[],
    ] {
        client.should_rate_limit(request(vec![descriptor(entries)])).await.unwrap();
    }
    let answer = get(spillway.http, "/metrics");
    let counted = |reason: &str, times: u64| {
        let line =
            format!("spillway_unmatched_descriptors_total{{domain=\"d\",reason=\"{reason}\"}} {times}");
        assert!(answer.lines().any(|one| one == line), "no `{line}` in:\n{answer}");
    };
    counted("unknown_key", 3);
    counted("unknown_value", 1);
    counted("unknown_credential", 0);
    counted("no_entries", 1);
}

const TWO_KINDS: &str = "
domain: d
subjects: people.subjects.yaml
descriptors: [{key: api_key, subject: api_key, rate_limit: {unit: year, requests_per_unit: 5}}]
";

#[tokio::test]
async fn what_is_known_before_the_first_event_is_reported() {
    let files = directory(&[("d.yaml", TWO_KINDS), ("people.subjects.yaml", PEOPLE)]);
    let mut serve = command(&[
        "serve",
        "--grpc-addr",
        "127.0.0.1:0",
        "--http-addr",
        "127.0.0.1:0",
        "--max-counters",
        "5000",
        "--max-counter-memory",
        "64MiB",
        "--max-connections",
        "7",
        "--config",
    ]);
    let spillway = Spillway::running(serve.arg(files.path()).env("SHADOW_MODE", "true"));
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    client.should_rate_limit(request(vec![descriptor(&[("api_key", "invented")])])).await.unwrap();
    let answer = get(spillway.http, "/metrics");
    for line in [
        "spillway_shadow_mode 1",
        "spillway_counters_max 5000",
        "spillway_counters_bytes_max 67108864",
        "spillway_connections_max{port=\"grpc\"} 7",
        "spillway_subjects{domain=\"d\"} 1",
        "spillway_credentials{domain=\"d\"} 1",
        "spillway_calls_failed_total{grpc_code=\"Unavailable\"} 0",
        "spillway_unmatched_descriptors_total{domain=\"d\",reason=\"unknown_key\"} 0",
        "spillway_unmatched_descriptors_total{domain=\"d\",reason=\"unknown_credential\"} 1",
    ] {
        assert!(answer.lines().any(|one| one == line), "no `{line}` in:\n{answer}");
    }
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    check(text).unwrap_or_else(|said| panic!("{said}\n{text}"));
}

/// The time in ticks that the threads of a process have had whose names begin so.
fn ticks(spillway: &Spillway, names: &str) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", spillway.id())).unwrap().flatten();
    let of_thread = |stat: String| {
        // `7 (worker-0) S …`; user's and system's time are the 14th and the 15th.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        name.starts_with(names)
            .then(|| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
    };
    threads.filter_map(|thread| of_thread(std::fs::read_to_string(thread.path().join("stat")).ok()?)).sum()
}

#[tokio::test]
async fn a_thousand_rules_leave_in_parts_and_no_worker_takes_part_in_that() {
    let rules = (0..1_000).map(|n| {
        format!("  - {{key: key, value: v{n}, rate_limit: {{unit: year, requests_per_unit: 5}}}}\n")
    });
    let policy = format!("domain: d\ndescriptors:\n{}", rules.collect::<String>());
    let spillway = Spillway::serving(&policy);
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    client.should_rate_limit(request(vec![descriptor(&[("key", "v999")])])).await.unwrap();

    let parts = get_accepting(spillway.http, "text/plain");
    assert!(parts.to_lowercase().contains("transfer-encoding: chunked"), "{}", &parts[..500]);
    // In HTTP/1.0 there are no parts to be put together.
    let mut stream = TcpStream::connect(spillway.http).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    check(text).unwrap_or_else(|said| panic!("{said}"));
    let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines("spillway_rule_hits_total{"), 1_000);
    assert_eq!(lines("spillway_rule_hits_total{domain=\"d\",rule=\"key=v999\"} 1"), 1);

    let (before, workers) = (ticks(&spillway, ""), ticks(&spillway, "worker"));
    let begun = Instant::now();
    while ticks(&spillway, "") < before + 20 {
        assert!(begun.elapsed() < PATIENCE, "scrapes take no time");
        get(spillway.http, "/metrics");
    }
    let (all, workers) = (ticks(&spillway, "") - before, ticks(&spillway, "worker") - workers);
    assert!(workers <= all / 10, "{workers} of {all} ticks");

    // A real Prometheus reads it, which asks for the other format.
    let prometheus = Prometheus::scraping(&[("spillway", spillway.http)]).await;
    let count = "sum(spillway_rule_hits_total) == 1 and count(spillway_rule_hits_total) == 1000";
    prometheus.until(count, None, |found| !found.is_empty()).await;
}

const OPEN_AND_CLOSED: &str = "
domain: d
descriptors:
  - {key: open, rate_limit: {unit: year, requests_per_unit: 5}}
  - {key: closed, on_store_failure: closed, rate_limit: {unit: year, requests_per_unit: 5}}
";

#[tokio::test]
async fn a_store_is_reported_by_how_long_it_takes_and_by_why_it_fails() {
    let mut valkey = Valkey::start(&[]);
    let files = directory(&[("d.yaml", OPEN_AND_CLOSED)]);
    let mut serve = serve();
    // Long, so that a busy machine is no failing store.
    let store = format!("{}?timeout=5000ms", valkey.url());
    serve.arg(files.path()).args(["--store", &store, "--store-timeout", "5s"]);
    let spillway = Spillway::running(&mut serve);
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    for _ in 0..3 {
        client.should_rate_limit(request(vec![descriptor(&[("open", "1")])])).await.unwrap();
    }
    assert_eq!(metric(spillway.http, "spillway_store_duration_seconds_count"), 3);
    assert_eq!(metric(spillway.http, "spillway_store_duration_seconds_bucket{le=\"+Inf\"}"), 3);
    assert_eq!(metric(spillway.http, "spillway_store_errors_total{kind=\"unreachable\"}"), 0);

    valkey.kill();
    client.should_rate_limit(request(vec![descriptor(&[("open", "1")])])).await.unwrap_err();
    client.should_rate_limit(request(vec![descriptor(&[("closed", "1")])])).await.unwrap();
    let answer = get(spillway.http, "/metrics");
    let kinds = answer.lines().filter(|line| line.starts_with("spillway_store_errors_total{"));
    let errors = kinds.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
    assert_eq!(errors, 2, "{answer}");
    for line in [
        "spillway_store_failures_total 2",
        "spillway_failed_open_without_store_total 1",
        "spillway_refused_without_store_total 1",
        "spillway_counted_without_store_total 0",
        "spillway_store_errors_total{kind=\"timed_out\"} 0",
    ] {
        assert!(answer.lines().any(|one| one == line), "no `{line}` in:\n{answer}");
    }
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    check(text).unwrap_or_else(|said| panic!("{said}\n{text}"));
}

#[tokio::test]
async fn values_have_series_of_their_own_where_the_policy_asks_for_it() {
    let files = directory(&[("d.yaml", DETAILED), ("people.subjects.yaml", PEOPLE)]);
    let spillway = Spillway::start(files.path(), "127.0.0.1:0");
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    let mut ask = async |entries: &[(&str, &str)]| {
        client.should_rate_limit(request(vec![descriptor(entries)])).await.unwrap();
    };
    for path in ["/a", "/a", "/b > user=\"x\"\n"] {
        ask(&[("api_key", "secret_1"), ("path", path)]).await;
    }
    // Mistyped, so it may be a credential.
    ask(&[("api_key", "secret_2")]).await;
    for user in ["1", "2"] {
        ask(&[("path", "/open/x"), ("user", user)]).await;
        ask(&[("path", "/open/x"), ("batch", user)]).await;
    }
    ask(&[("path", "/open/x"), ("free", "1")]).await;
    let mut sent = descriptor(&[("path", "/open/x"), ("sent", "1")]);
    let limit = RateLimitOverride { requests_per_unit: 3, unit: 1 };
    sent.limit = Some(limit);
    client.should_rate_limit(request(vec![sent])).await.unwrap();
    let answer = get(spillway.http, "/metrics");
    for line in [
        r#"spillway_rule_hits_total{domain="d",rule="per-path",entries="other"} 0"#,
        r#"spillway_rule_hits_total{domain="d",rule="per-path",entries="api_key=… > path=/a"} 2"#,
        r#"spillway_rule_hits_total{domain="d",rule="per-path",entries="api_key=… > path=/b \\x3e user=\"x\"\\n"} 1"#,
        r#"spillway_rule_hits_total{domain="d",rule="strangers",entries="api_key=…"} 1"#,
        r#"spillway_rule_within_limit_total{domain="d",rule="path=/open/* > user",entries="path=/open/x > user"} 2"#,
        r#"spillway_rule_over_limit_total{domain="d",rule="path=/open/* > batch=*",entries="path=/open/x > batch=*"} 1"#,
        r#"spillway_rule_hits_total{domain="d",rule="free",entries="path=/open/x > free"} 1"#,
        r#"spillway_rule_hits_total{domain="d",rule="sent",entries="path=/open/x > sent=1"} 1"#,
        r#"spillway_rule_series{domain="d"} 7"#,
        "spillway_rule_series_max 1000",
    ] {
        assert!(answer.lines().any(|one| one == line), "no `{line}` in:\n{answer}");
    }
    assert!(!answer.contains("secret"), "{answer}");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    check(text).unwrap_or_else(|said| panic!("{said}\n{text}"));
}

#[tokio::test]
async fn values_that_clients_invent_end_in_one_series() {
    let spillway = Spillway::serving(
        "domain: d\ndescriptors: [{key: k, value_to_metric: true, rate_limit: {unlimited: true}}]",
    );
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    for batch in 0..11 {
        let value = |n| descriptor(&[("k", &format!("{batch}-{n}"))]);
        client.should_rate_limit(request((0..100).map(value).collect())).await.unwrap();
    }
    let answer = get(spillway.http, "/metrics");
    let hits = answer.lines().filter(|line| line.starts_with("spillway_rule_hits_total{"));
    assert_eq!(hits.count(), 1_001);
    let other = r#"spillway_rule_hits_total{domain="d",rule="k",entries="other"} 100"#;
    assert!(answer.lines().any(|line| line == other), "{answer}");
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_it() {
    let spillway = Spillway::serving(POLICY);
    ask(&spillway, 3, &["key", "seen"], 1).await;
    let answer = get(spillway.http, "/metrics");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    check(text).unwrap_or_else(|said| panic!("{said}\n{text}"));

    let wrong = "# TYPE spillway_wait_ms counter\nspillway_wait_ms 1\n";
    assert!(check(wrong).is_err(), "the checker finds what is wrong");
}

#[tokio::test]
async fn open_metrics_are_reported_to_whoever_asks_for_them() {
    let spillway = Spillway::serving(POLICY);
    let answer = get_accepting(spillway.http, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

const NESTED: &str = "
domain: d
descriptors:
  - {key: key, rate_limit: {name: per-key, unit: year, requests_per_unit: 5}}
  - key: plan
    value: free
    descriptors:
      - key: path
        descriptors: [{key: method, rate_limit: {unit: year, requests_per_unit: 1}}]
";

/// Asks twice for each rule of [`NESTED`].
async fn ask_nested(spillway: &Spillway) {
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    for _ in 0..2 {
        for entries in [&[("key", "1")][..], &[("plan", "free"), ("path", "/a"), ("method", "GET")]] {
            client.should_rate_limit(request(vec![descriptor(entries)])).await.unwrap();
        }
    }
}

#[tokio::test]
async fn dashboards_for_envoyproxy_ratelimit_find_its_metrics() {
    let files = directory(&[("d.yaml", NESTED)]);
    let spillway = Spillway::running(serve().arg(files.path()).arg("--ratelimit-metrics"));
    ask_nested(&spillway).await;
    let answer = with_line(
        spillway.http,
        "ratelimit_service_response_time_seconds_count{grpc_method=\"ShouldRateLimit\"} 4",
    );
    for line in [
        "# TYPE ratelimit_service_rate_limit_total_hits untyped",
        r#"ratelimit_service_rate_limit_total_hits{domain="d",key1="key"} 2"#,
        r#"ratelimit_service_rate_limit_within_limit{domain="d",key1="key"} 2"#,
        // The mapping has no label for the third key.
        r#"ratelimit_service_rate_limit_total_hits{domain="d",key1="plan_free",key2="path"} 2"#,
        r#"ratelimit_service_rate_limit_over_limit{domain="d",key1="plan_free",key2="path"} 1"#,
        r#"ratelimit_service_should_rate_limit_error{err_type="redis_error"} 0"#,
        r#"ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 4"#,
        r#"ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit"} 4"#,
        "ratelimit_service_config_load_success 1",
        "ratelimit_service_config_load_error 0",
    ] {
        assert!(answer.lines().any(|one| one == line), "no `{line}` in:\n{answer}");
    }
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    check(text).unwrap_or_else(|said| panic!("{said}\n{text}"));

    let without = Spillway::serving(NESTED);
    assert!(!get(without.http, "/metrics").contains("ratelimit_service"), "they are for those who ask");
}

#[tokio::test]
async fn statistics_of_envoyproxy_ratelimit_are_sent_to_dogstatsd() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let files = directory(&[("d.yaml", NESTED)]);
    let mut command = serve();
    command.arg(files.path()).env("USE_DOG_STATSD", "true").env("EXTRA_TAGS", "stage:prod,region:eu");
    command
        .env("STATSD_HOST", "127.0.0.1")
        .env("STATSD_PORT", socket.local_addr().unwrap().port().to_string());
    // Longer than the test: what it does not get before comes with the end.
    let mut spillway = Spillway::running(command.env("STATS_FLUSH_INTERVAL", "1h"));
    ask_nested(&spillway).await;
    spillway.signal("TERM");
    assert!(spillway.wait().success());
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("method.total_hits")) {
        let mut datagram = [0; 2_000];
        let length = socket.recv(&mut datagram).expect("the statistics come");
        lines.extend(String::from_utf8_lossy(&datagram[..length]).lines().map(str::to_owned));
    }
    let expected =
        "ratelimit.service.rate_limit.d.plan_free.path.method.total_hits:2|c|#region:eu,stage:prod";
    assert!(lines.contains(&expected.to_owned()), "{lines:?}");
    let loads = "ratelimit.service.config_load_success:1|c|#region:eu,stage:prod";
    assert_eq!(lines.iter().filter(|line| *line == loads).count(), 1, "{lines:?}");
}

#[test]
fn what_is_wrong_with_the_variables_of_statsd_ends_the_start() {
    for (name, value, expected) in [
        ("STATSD_PORT", "statsd", "a port, from 0 to 65535"),
        ("STATS_FLUSH_INTERVAL", "10", "a time from `100ms` to `1h`, as in `10s`"),
        ("EXTRA_TAGS", "prod", "names and values, as in `region:eu,stage:prod`"),
        ("USE_STATSD", "perhaps", "`true` or `false`"),
    ] {
        let ended = serve().arg("config").env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{name}={value:?}: expected {expected}")), "{said}");
    }
}

const KEYS: &str = "
domain: d
subjects: people.subjects.yaml
endpoints: [GET /leads/:id]
descriptors:
  - key: api_key
    subject: api_key
    rate_limit: {name: per-customer, unit: year, requests_per_unit: 2}
  - {key: ip, rate_limit: {name: per-ip, unit: year, requests_per_unit: 1000}}
  - key: api_key
    rate_limit: {name: strangers, unit: year, requests_per_unit: 1000}
  - {key: page, value: /open/*, share_threshold: true, rate_limit: {name: open, unit: year, requests_per_unit: 9}}
  - {key: endpoint, rate_limit: {name: per-endpoint, unit: year, requests_per_unit: 9}}
";

#[tokio::test]
async fn the_busiest_keys_are_reported_to_those_who_ask_and_no_credential_among_them() {
    let files = directory(&[("d.yaml", KEYS), ("people.subjects.yaml", PEOPLE)]);
    let spillway = Spillway::running(serve().arg(files.path()).arg("--heavy-hitters-metrics"));
    let mut client = RateLimitServiceClient::new(channel(&spillway).await);
    for _ in 0..3 {
        let sent = [
            &[("api_key", "secret_1")][..],
            &[("ip", "10.0.0.1")],
            &[("api_key", "secret_typo")],
            &[("page", "/open/a")],
            &[("endpoint", "GET /leads/7?page=2")],
        ];
        client.should_rate_limit(request(sent.map(descriptor).into())).await.unwrap();
    }
    client.should_rate_limit(request(vec![descriptor(&[("ip", "10.0.0.2")])])).await.unwrap();
    let answer = get(spillway.http, "/metrics");
    for line in [
        r#"spillway_heavy_hitter_hits{domain="d",rule="per-customer",key="subject=ada"} 3"#,
        r#"spillway_heavy_hitter_refused{domain="d",rule="per-customer",key="subject=ada"} 1"#,
        r#"spillway_heavy_hitter_hits{domain="d",rule="per-ip",key="ip=10.0.0.1"} 3"#,
        r#"spillway_heavy_hitter_hits{domain="d",rule="strangers",key="api_key=…"} 3"#,
        r#"spillway_heavy_hitter_hits{domain="d",rule="open",key="page=/open/*"} 3"#,
        r#"spillway_heavy_hitter_hits{domain="d",rule="per-endpoint",key="endpoint=GET /leads/:id"} 3"#,
    ] {
        assert!(answer.lines().any(|one| one == line), "no `{line}` in:\n{answer}");
    }
    assert!(!answer.contains("secret"), "{answer}");
    assert!(!answer.contains("10.0.0.2"), "a key that came once is not heavy: {answer}");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    check(text).unwrap_or_else(|said| panic!("{said}\n{text}"));
}
