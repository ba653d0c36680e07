//! In the place of envoyproxy/ratelimit: by its name, and as its variables have it.

use std::fs;
use std::process::Command;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::UInt64Value;
use envoy_types::pb::google::protobuf::value::Kind;

use crate::rls::{channel, descriptor, request};
use crate::support::{Spillway, command, directory, get, ratelimit, serve};

const POLICY: &str = "
domain: d
descriptors:
  - {key: one, rate_limit: {unit: year, requests_per_unit: 1}, metadata: {pool: a}}
  - {key: seen, shadow_mode: true, rate_limit: {unit: year, requests_per_unit: 1}}
  - {key: ten, rate_limit: {name: ten, unit: year, requests_per_unit: 10}, metadata: {pool: b}}
";

async fn ask(spillway: &Spillway, request: RateLimitRequest) -> RateLimitResponse {
    let mut client = RateLimitServiceClient::new(channel(spillway).await);
    client.should_rate_limit(request).await.unwrap().into_inner()
}

/// The overall code and the statuses of calls with these descriptors, the first of which uses up what there is.
async fn second_answer(spillway: &Spillway, entries: &[(&str, &str)]) -> (i32, Vec<i32>) {
    let descriptors: Vec<_> = entries.iter().map(|entry| descriptor(&[*entry])).collect();
    ask(spillway, request(descriptors.clone())).await;
    let answer = ask(spillway, request(descriptors)).await;
    (answer.overall_code, answer.statuses.iter().map(|status| status.code).collect())
}

#[tokio::test]
async fn a_link_of_that_name_serves_as_its_environment_says() {
    let files = directory(&[]);
    fs::create_dir_all(files.path().join("data/ratelimit/config")).unwrap();
    // That server takes files whatever their names are.
    fs::write(files.path().join("data/ratelimit/config/limits"), POLICY).unwrap();
    let mut called = ratelimit(files.path());
    called.env("RUNTIME_ROOT", files.path().join("data")).env("RUNTIME_SUBDIRECTORY", "ratelimit");
    called.envs([("LOG_LEVEL", "info"), ("USE_STATSD", "false")]);
    called.envs(["PORT", "GRPC_PORT", "DEBUG_PORT"].map(|port| (port, "0")));
    let mut spillway = Spillway::running(&mut called);
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 200"));
    let answer = second_answer(&spillway, &[("one", "x")]).await;
    assert_eq!(answer, (Code::OverLimit.into(), vec![Code::OverLimit.into()]));
    spillway.signal("TERM");
    assert!(spillway.wait().success());
}

#[test]
fn a_link_of_that_name_looks_where_that_server_does_and_takes_flags() {
    let files = directory(&[]);
    let output = ratelimit(files.path()).args(["--log-format", "json"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with('{') && told.contains("/srv/runtime_data/current/config"), "{told}");
    let version = Command::new(files.path().join("ratelimit")).arg("--version").output().unwrap();
    assert!(version.stdout.starts_with(b"spillway "));
}

#[tokio::test]
async fn where_the_whole_server_only_watches_the_overall_code_alone_is_ok() {
    for name in ["SHADOW_MODE", "QUOTA_MODE"] {
        let files = directory(&[("d.yaml", POLICY)]);
        let spillway = Spillway::running(serve().arg(files.path()).env(name, "true"));
        let answer = second_answer(&spillway, &[("one", "x"), ("ten", "x"), ("seen", "x")]).await;
        let statuses = [Code::OverLimit, Code::Ok, Code::Ok].map(i32::from);
        assert_eq!(answer, (Code::Ok.into(), statuses.to_vec()), "{name}");
        assert!(
            get(spillway.http, "/metrics").contains("spillway_requests_total{domain=\"d\",code=\"ok\"} 2\n")
        );
    }
}

/// It beats the policy's rule, and what is said of that, but not what is said of the server.
#[tokio::test]
async fn a_limit_that_envoy_sends_is_only_watched_too() {
    use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
    let files = directory(&[("d.yaml", POLICY)]);
    let spillway = Spillway::running(serve().arg(files.path()).env("SHADOW_MODE", "true"));
    let mut sent = descriptor(&[("ten", "x")]);
    sent.limit = Some(RateLimitOverride { requests_per_unit: 0, unit: 6 });
    let answer = ask(&spillway, request(vec![sent])).await;
    assert_eq!((answer.overall_code, answer.statuses[0].code), (Code::Ok.into(), Code::OverLimit.into()));
}

#[tokio::test]
async fn hits_are_near_a_limit_from_the_ratio_on() {
    for (ratio, near) in [("0.5", 5), ("0.8", 2), ("", 2), ("1", 0)] {
        let files = directory(&[("d.yaml", POLICY)]);
        let spillway = Spillway::running(serve().arg(files.path()).env("NEAR_LIMIT_RATIO", ratio));
        for _ in 0..10 {
            ask(&spillway, request(vec![descriptor(&[("ten", "x")])])).await;
        }
        let metrics = get(spillway.http, "/metrics");
        let line = format!("spillway_rule_near_limit_total{{domain=\"d\",rule=\"ten\"}} {near}\n");
        assert!(metrics.contains(&line), "{ratio}: {metrics}");
    }
    let output = command(&["env"]).env("NEAR_LIMIT_RATIO", "80").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("NEAR_LIMIT_RATIO=\"80\": expected a part of a limit from 0 to 1"), "{told}");
}

#[tokio::test]
async fn the_metadata_of_an_answer_repeats_the_request_where_that_is_asked_for() {
    let mut asked = request(vec![descriptor(&[("one", "x")]), descriptor(&[("ten", "y"), ("z", "")])]);
    asked.hits_addend = 2;
    asked.descriptors[1].hits_addend = Some(UInt64Value { value: 3 });
    for is_on in [true, false] {
        let files = directory(&[("d.yaml", POLICY)]);
        let mut serve = serve();
        let spillway = Spillway::running(
            serve.arg(files.path()).env("RESPONSE_DYNAMIC_METADATA", if is_on { "true" } else { "false" }),
        );
        let fields = ask(&spillway, asked.clone()).await.dynamic_metadata.unwrap().fields;
        let of = |name: &str| fields.get(name).and_then(|value| value.kind.clone());
        assert_eq!(of("domain"), is_on.then(|| Kind::StringValue("d".into())));
        assert_eq!(of("hitsAddend"), is_on.then_some(Kind::NumberValue(2.0)));
        let Some(Kind::ListValue(descriptors)) = of("descriptors") else {
            assert!(!is_on);
            continue;
        };
        let texts: Vec<_> = descriptors.values.iter().map(|value| format!("{value:?}")).collect();
        assert!(texts[0].contains("\"one=x\"") && !texts[0].contains("hitsAddend"), "{texts:?}");
        assert!(texts[1].contains("\"ten=y\"") && texts[1].contains("\"z=\""), "{texts:?}");
        assert!(texts[1].contains("hitsAddend") && texts[1].contains("NumberValue(3.0)"), "{texts:?}");
        // What Spillway says of the decision stays beside it.
        assert!(of("rule").is_some() && of("used").is_some());
    }
    // Where nothing decides, too.
    let files = directory(&[("d.yaml", POLICY)]);
    let spillway = Spillway::running(serve().arg(files.path()).env("RESPONSE_DYNAMIC_METADATA", "true"));
    let answer = ask(&spillway, RateLimitRequest { domain: "nobody".into(), ..asked }).await;
    assert_eq!(answer.dynamic_metadata.unwrap().fields.len(), 3);
}

/// The first rule's value of a key wins, and rules over their limits say nothing.
#[tokio::test]
async fn metadata_of_rules_is_that_of_rules_with_room() {
    for (shadow, second) in [("false", "b"), ("true", "b")] {
        let files = directory(&[("d.yaml", POLICY)]);
        let spillway = Spillway::running(serve().arg(files.path()).env("SHADOW_MODE", shadow));
        let asked = request(vec![descriptor(&[("one", "x")]), descriptor(&[("ten", "x")])]);
        for pool in ["a", second] {
            let answer = ask(&spillway, asked.clone()).await;
            let text = format!("{:?}", answer.dynamic_metadata.unwrap().fields["metadata"]);
            assert!(text.contains(&format!("StringValue({pool:?})")), "{shadow}: {text}");
        }
    }
}
