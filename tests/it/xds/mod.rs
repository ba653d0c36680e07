//! Limits that a control plane sends: what is asked, what is put in force, what is refused, and what stays while it is away.

mod tls;
mod unread_store;

use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::{Any, UInt64Value};
use envoy_types::pb::ratelimit::config::ratelimit::v3::RateLimitUnit;
use serde_json::Value;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::admin::ask;
use crate::rls::{channel, descriptor};
use crate::support::ads::{Ads, any, config, hourly, limited};
use crate::support::{PATIENCE, Spillway, address, command, directory, get, metric};

const ANY: &str = "127.0.0.1:0";

/// Serves what these control planes send, and files where `arguments` name some.
fn serve(servers: &[&Ads], arguments: &[&str], variables: &[(&str, &str)]) -> Spillway {
    let mut command = command(&["serve", "--grpc-addr", ANY, "--http-addr", ANY, "--admin-addr", ANY]);
    for server in servers {
        command.arg("--xds").arg(format!("http://{}", server.address));
    }
    Spillway::listening(command.args(arguments).envs(variables.iter().copied()))
}

async fn asked(channel: &Channel, domain: &str, entry: (&str, &str), hits: u64) -> RateLimitResponse {
    let mut descriptor = descriptor(&[entry]);
    descriptor.hits_addend = Some(UInt64Value { value: hits });
    let request =
        RateLimitRequest { domain: domain.to_owned(), descriptors: vec![descriptor], hits_addend: 0 };
    let mut client = RateLimitServiceClient::new(channel.clone());
    client.should_rate_limit(request).await.unwrap().into_inner()
}

/// The limit of `key=a` in a domain, and how much of it is used; without counting.
async fn reported(spillway: &Spillway, domain: &str) -> Option<(u32, u32)> {
    let answer = asked(&channel(spillway).await, domain, ("key", "a"), 0).await;
    let status = &answer.statuses[0];
    let limit = status.current_limit.as_ref()?.requests_per_unit;
    Some((limit, limit - status.limit_remaining))
}

async fn until_told(spillway: &Spillway, domain: &str, expected: Option<(u32, u32)>) {
    let begun = Instant::now();
    while reported(spillway, domain).await != expected {
        assert!(begun.elapsed() < PATIENCE, "still {:?}", reported(spillway, domain).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the admin port tells of the configuration.
fn told(spillway: &mut Spillway) -> Value {
    let admin = spillway.seen.iter().find(|line| line.contains("listening for admin")).cloned();
    let admin = address(&admin.unwrap_or_else(|| spillway.log_line("listening for admin")));
    ask(admin, "GET", "/api/v1/config", &[], "").json()
}

/// A number of a control plane on `/metrics`.
fn of_source(spillway: &Spillway, name: &str, server: &Ads) -> u64 {
    metric(spillway.http, &format!("{name}{{source=\"{}\"}}", server.address))
}

#[tokio::test]
async fn a_set_is_put_in_force_changed_and_emptied() {
    let mut ads = Ads::start();
    let mut spillway = serve(
        &[],
        &[],
        &[
            ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
            ("CONFIG_GRPC_XDS_SERVER_URL", &ads.address.to_string()),
            ("CONFIG_GRPC_XDS_NODE_ID", "envoy-ratelimit"),
            ("CONFIG_GRPC_XDS_NODE_METADATA", "region=eu,stage=prod"),
            ("CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS", "x-token:secret,x-team:a"),
            // As Envoy Gateway sets it; no such directory is there.
            ("RUNTIME_ROOT", "/data"),
            ("RUNTIME_SUBDIRECTORY", "ratelimit"),
        ],
    );
    spillway.has_logged("waiting for a first configuration by xDS");
    let first = ads.request(|_| true).await;
    let node = first.node.unwrap();
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("", ""));
    assert_eq!(first.type_url, "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig");
    assert!(first.resource_names.is_empty());
    assert_eq!((node.id.as_str(), node.user_agent_name.as_str()), ("envoy-ratelimit", "spillway"));
    assert_eq!(node.metadata.unwrap().fields.len(), 2);
    let headers = &ads.headers()[0];
    assert_eq!(headers.get("x-token").unwrap(), "secret");
    assert_eq!(headers.get("x-team").unwrap(), "a");
    // The server has nothing to send yet, as Envoy Gateway when it starts.
    spillway.has_logged("connected to the xDS server");
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 500"));
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 503"));
    assert_eq!(of_source(&spillway, "spillway_xds_connected", &ads), 1);
    let by_json = crate::json::post(
        spillway.http,
        r#"{"domain": "d", "descriptors": [{"entries": [{"key": "key"}]}]}"#,
    );
    assert_eq!(by_json.0, "HTTP/1.1 503 Service Unavailable", "nothing is decided yet: {}", by_json.1);

    ads.set(&[hourly("d", "key", 2), hourly("e", "key", 3)]);
    let line = spillway.log_line("configuration loaded by xDS");
    assert!(line.contains("resources=2 rules=2") && line.contains("domains_added=\"d, e\""), "{line}");
    spillway.log_line("ready");
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 200"));
    let accepted = ads.accepted().await;
    assert_eq!((accepted.version_info.as_str(), accepted.response_nonce.as_str()), ("1", "nonce-0"));
    let channel = channel(&spillway).await;
    for expected in [Code::Ok, Code::Ok, Code::OverLimit] {
        assert_eq!(asked(&channel, "d", ("key", "a"), 1).await.overall_code(), expected);
    }

    ads.set(&[hourly("d", "key", 5)]);
    ads.accepted().await;
    until_told(&spillway, "d", Some((5, 3))).await;
    assert_eq!(reported(&spillway, "e").await, None, "it went");
    assert!(of_source(&spillway, "spillway_xds_last_update_timestamp_seconds", &ads) > 1_700_000_000);
    assert_eq!(of_source(&spillway, "spillway_xds_updates_total", &ads), 2);

    ads.set(&[]);
    ads.accepted().await;
    until_told(&spillway, "d", None).await;
    let told = told(&mut spillway);
    assert_eq!((&told["domains"], &told["stale"]), (&0.into(), &false.into()), "{told}");
    let source = &told["xds"][0];
    assert_eq!(
        (&source["version"], &source["updates"], &source["nacks"]),
        (&"3".into(), &3.into(), &0.into())
    );
}

#[tokio::test]
async fn a_mistake_is_refused_with_its_place_and_what_was_right_stays() {
    let mut ads = Ads::start();
    ads.set(&[hourly("d", "key", 2)]);
    let mut spillway = serve(&[&ads], &[], &[]);
    spillway.log_line("ready");
    ads.accepted().await;

    let wrong = limited("key", "", RateLimitUnit::Unknown, 2);
    ads.set(&[
        hourly("fine", "key", 9),
        config("d", vec![limited("other", "", RateLimitUnit::Day, 1), wrong]),
    ]);
    let (version, why) = ads.refused().await;
    assert_eq!(version, "1", "the one that is in force");
    let source = ads.address;
    let place =
        format!("xds:{source}/d-config:10:11: descriptors[1].rate_limit.unit: unknown unit `UNKNOWN`; ");
    assert!(why.starts_with(&place), "{why}");
    let line = spillway.log_line("a configuration that came by xDS is refused");
    assert!(line.contains("version=\"2\" resources=2"), "{line}");
    spillway.log_line("descriptors[1].rate_limit.unit: unknown unit `UNKNOWN`");
    assert_eq!(reported(&spillway, "d").await, Some((2, 0)));
    assert_eq!(reported(&spillway, "fine").await, None, "the whole set or nothing");
    let shown = told(&mut spillway);
    assert_eq!((&shown["stale"], &shown["xds"][0]["stale"]), (&true.into(), &true.into()), "{shown}");
    assert_eq!(shown["diagnostics"][0]["excerpt"], "    unit: \"UNKNOWN\"");

    // The server sends it again whenever it is refused. It is not answered as fast as that, and counted and logged once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refusals = ads.requests().iter().filter(|request| request.error_detail.is_some()).count();
    assert!((1..15).contains(&refusals), "{refusals}");
    assert_eq!(of_source(&spillway, "spillway_xds_nacks_total", &ads), 1);
    assert_eq!(metric(spillway.http, "spillway_config_refusals_total"), 1);
    assert_eq!(told(&mut spillway)["history"].as_array().unwrap().len(), 3);

    // What cannot be read is refused by its number.
    let broken = Any { value: vec![0xff], ..any(&hourly("d", "key", 1)) };
    ads.set_resources(vec![any(&hourly("d", "key", 1)), broken]);
    let is_broken = |message: &str| message.starts_with("resources[1]: it is no `RateLimitConfig`: ");
    ads.request(|request| request.error_detail.as_ref().is_some_and(|detail| is_broken(&detail.message)))
        .await;
    assert_eq!(reported(&spillway, "d").await, Some((2, 0)));

    // The set that is in force is right as it was.
    ads.set(&[hourly("d", "key", 2)]);
    ads.accepted().await;
    assert_eq!(told(&mut spillway)["stale"], false);
    ads.set(&[hourly("d", "key", 7)]);
    ads.accepted().await;
    until_told(&spillway, "d", Some((7, 0))).await;
}

#[tokio::test]
async fn two_servers_and_files_go_together_and_none_breaks_the_others() {
    let (mut gateway, mut ai) = (Ads::start(), Ads::start());
    gateway.set(&[hourly("eg", "key", 2)]);
    let files = directory(&[(
        "f.yaml",
        "domain: f\ndescriptors: [{key: key, rate_limit: {unit: hour, requests_per_unit: 4}}]",
    )]);
    let config = files.path().to_str().unwrap();
    let mut spillway = serve(&[&gateway, &ai], &["--config", config], &[]);
    gateway.accepted().await;
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 503"), "the other one has not answered");
    ai.set(&[hourly("ai", "key", 3)]);
    spillway.log_line("ready");
    ai.accepted().await;
    for (domain, limit) in [("eg", 2), ("ai", 3), ("f", 4)] {
        assert_eq!(reported(&spillway, domain).await, Some((limit, 0)), "{domain}");
    }

    // What one says wrong, or the files, is no matter of the others.
    ai.set(&[hourly("", "key", 3)]);
    ai.refused().await;
    std::fs::write(files.path().join("f.yaml"), "domain: f\nlimits: 1").unwrap();
    spillway.log_line("unknown word `limits`");
    gateway.set(&[hourly("eg", "key", 20)]);
    gateway.accepted().await;
    for (domain, limit) in [("eg", 20), ("ai", 3), ("f", 4)] {
        assert_eq!(reported(&spillway, domain).await, Some((limit, 0)), "{domain}");
    }
    assert_eq!(told(&mut spillway)["stale"], true);
    let right = "domain: f\ndescriptors: [{key: key, rate_limit: {unit: hour, requests_per_unit: 40}}]";
    std::fs::write(files.path().join("f.yaml"), right).unwrap();
    until_told(&spillway, "f", Some((40, 0))).await;
    assert_eq!(reported(&spillway, "eg").await, Some((20, 0)));

    // A domain is described by one of them: who came first has it until it lets it go.
    ai.set(&[hourly("ai", "key", 3), hourly("eg", "key", 5)]);
    let is_double = |message: &str| message.contains("domain `eg` was described before");
    ai.request(|request| request.error_detail.as_ref().is_some_and(|detail| is_double(&detail.message)))
        .await;
    assert_eq!(reported(&spillway, "eg").await, Some((20, 0)));
    gateway.set(&[]);
    ai.accepted().await;
    until_told(&spillway, "eg", Some((5, 0))).await;
    assert_eq!(told(&mut spillway)["stale"], false);
}

#[tokio::test]
async fn while_a_server_is_away_its_last_set_stays_and_a_new_one_takes_force_when_it_is_back() {
    let mut ads = Ads::start();
    ads.set(&[hourly("d", "key", 2)]);
    ads.set(&[hourly("d", "key", 3)]);
    let mut spillway = serve(&[&ads], &[], &[]);
    spillway.log_line("ready");
    ads.accepted().await;
    let address = ads.address;
    drop(ads);
    let line = spillway.log_line("the xDS server is away; what it sent last stays in force");
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(reported(&spillway, "d").await, Some((3, 0)));
    let shown = told(&mut spillway);
    assert_eq!((&shown["xds"][0]["connected"], &shown["stale"]), (&false.into(), &false.into()));
    assert!(shown["xds"][0]["failure"].is_string(), "{shown}");

    // It counts versions anew: its first one is another set now.
    let mut ads = Ads::start_at(address);
    ads.set(&[hourly("d", "key", 3)]);
    spillway.log_line("connected to the xDS server");
    let again = ads.accepted().await;
    assert_eq!(again.version_info, "1");
    assert_eq!(ads.requests()[0].version_info, "", "no version of another time");
    assert_eq!(metric(spillway.http, "spillway_config_generation"), 2, "it sent nothing new");
    ads.set(&[hourly("d", "key", 4)]);
    until_told(&spillway, "d", Some((4, 0))).await;
}

#[tokio::test]
async fn a_server_that_never_answers_holds_up_only_who_waits_for_it() {
    // It accepts connections, and that is all.
    let silent = std::net::TcpListener::bind(ANY).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut patient = serve(&[], &["--xds", &url], &[]);
    patient.log_line("waiting for a first configuration by xDS");
    assert!(get(patient.http, "/ready").starts_with("HTTP/1.1 503"));
    patient.signal("TERM");
    assert!(patient.wait().success());

    let mut eager = serve(&[], &["--xds", &url], &[("FORCE_START_WITHOUT_INITIAL_CONFIG", "true")]);
    eager.log_line("ready");
    assert_eq!(reported(&eager, "d").await, None);
    drop(silent);
    eager.signal("TERM");
    assert!(eager.wait().success());
}

#[tokio::test]
async fn where_a_domain_is_asked_for_the_server_is_ready_only_while_there_is_one() {
    let mut ads = Ads::start();
    ads.set(&[]);
    let mut spillway = serve(&[&ads], &[], &[("HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED", "true")]);
    ads.accepted().await;
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 500"));
    ads.set(&[hourly("d", "key", 1)]);
    spillway.log_line("ready");
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 200"));
    ads.set(&[]);
    spillway.log_line("there is no domain");
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 500"));
}

#[tokio::test]
async fn nobody_is_served_before_a_set_without_mistakes_is_there() {
    let mut ads = Ads::start();
    ads.set(&[config("d", vec![limited("key", "", RateLimitUnit::Unknown, 2)])]);
    let mut spillway = serve(&[&ads], &[], &[]);
    ads.refused().await;
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 503"));
    assert_eq!(told(&mut spillway)["xds"][0]["answered"], false);
    ads.set(&[hourly("d", "key", 2)]);
    spillway.log_line("ready");
    assert_eq!(reported(&spillway, "d").await, Some((2, 0)));
}

#[tokio::test]
async fn a_huge_set_stops_no_call() {
    let mut ads = Ads::start();
    ads.set(&[hourly("d", "key", 2)]);
    let mut spillway = serve(&[&ads], &[], &[]);
    spillway.log_line("ready");
    let channel = channel(&spillway).await;
    let rules = (0..100_000).map(|n| limited("key", &format!("value-{n}"), RateLimitUnit::Hour, 5)).collect();
    ads.set(&[config("d", rules)]);
    let (begun, mut calls, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    loop {
        let before = Instant::now();
        let answer = asked(&channel, "d", ("key", "value-99999"), 0).await;
        (calls, slowest) = (calls + 1, slowest.max(before.elapsed()));
        if answer.statuses[0].current_limit.as_ref().is_some_and(|limit| limit.requests_per_unit == 5) {
            break;
        }
        assert!(begun.elapsed() < 6 * PATIENCE, "it never takes force");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    println!("{calls} calls in {:?}, the slowest took {slowest:?}", begun.elapsed());
    assert!(calls > 50 && slowest < Duration::from_secs(2), "{calls} calls, the slowest took {slowest:?}");
    assert_eq!(metric(spillway.http, "spillway_rules"), 100_000);
    ads.accepted().await;
}
