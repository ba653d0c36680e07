//! The service over a real socket, asked with Envoy's own generated messages.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, UInt64Value, Value};
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code as GrpcCode, Request, Status};

use crate::support::{Spillway, directory, metric, serve};

/// Windows of a year: no test run straddles their end but one in a hundred thousand years.
const POLICY: &str = "
domain: d
descriptors:
  - {key: key, rate_limit: {name: per-key, unit: year, requests_per_unit: 2}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: tagged, metadata: {backend: {pool: a, n: 1}}, rate_limit: {unit: year, requests_per_unit: 1}}
  - {key: tagged2, metadata: {backend: {pool: b, zone: z}}, rate_limit: {unit: year, requests_per_unit: 9}}
";

pub(crate) async fn channel(spillway: &Spillway) -> Channel {
    Channel::from_shared(format!("http://{}", spillway.grpc)).unwrap().connect().await.unwrap()
}

pub(crate) fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entries =
        entries.iter().map(|(key, value)| Entry { key: (*key).into(), value: (*value).into() }).collect();
    RateLimitDescriptor { entries, ..Default::default() }
}

pub(crate) fn request(descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
    RateLimitRequest { domain: "d".into(), descriptors, hits_addend: 0 }
}

async fn ask(channel: &Channel, request: RateLimitRequest) -> Result<RateLimitResponse, Status> {
    let answer = RateLimitServiceClient::new(channel.clone()).should_rate_limit(request).await?;
    Ok(answer.into_inner())
}

/// Requests and answers as bytes, for what no generated message would write.
#[derive(Clone, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

pub(crate) async fn ask_raw(
    channel: &Channel,
    path: &'static str,
    message: Bytes,
) -> Result<RateLimitResponse, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(message), path, Raw).await?;
    Ok(RateLimitResponse::decode(answer.into_inner()).unwrap())
}

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// `OK 1/2`, `OVER 0/2` …
fn reported(status: &DescriptorStatus) -> String {
    let code = match status.code() {
        Code::Ok => "OK",
        Code::OverLimit => "OVER",
        Code::Unknown => "UNKNOWN",
    };
    match &status.current_limit {
        Some(limit) => {
            format!("{code} {}/{} {}", status.limit_remaining, limit.requests_per_unit, limit.name)
        }
        None => format!("{code} {}", status.limit_remaining),
    }
}

fn all_reported(answer: &RateLimitResponse) -> Vec<String> {
    answer.statuses.iter().map(reported).collect()
}

#[tokio::test]
async fn every_descriptor_gets_one_filled_status_in_order() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let descriptors = || {
        vec![
            descriptor(&[("free", "x")]),
            descriptor(&[("key", "k")]),
            descriptor(&[]),
            descriptor(&[("nobody", "knows")]),
        ]
    };
    let first = ask(&channel, request(descriptors())).await.unwrap();
    assert_eq!(first.overall_code(), Code::Ok);
    assert_eq!(all_reported(&first), ["OK 4294967295", "OK 1/2 per-key", "OK 0", "OK 0"]);
    let limited = &first.statuses[1];
    assert_eq!(limited.current_limit.as_ref().unwrap().unit, 6, "YEAR");
    assert!((1..=31_536_000).contains(&limited.duration_until_reset.as_ref().unwrap().seconds));

    ask(&channel, request(descriptors())).await.unwrap();
    let third = ask(&channel, request(descriptors())).await.unwrap();
    assert_eq!(third.overall_code(), Code::OverLimit);
    assert_eq!(all_reported(&third), ["OK 4294967295", "OVER 0/2 per-key", "OK 0", "OK 0"]);
    assert!(third.raw_body.is_empty() && third.response_headers_to_add.is_empty());
}

#[tokio::test]
async fn a_domain_that_no_policy_has_is_ok_and_reported() {
    let mut spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    for _ in 0..3 {
        let strange =
            RateLimitRequest { domain: "d\n2".into(), ..request(vec![descriptor(&[("key", "k")]); 2]) };
        let answer = ask(&channel, strange).await.unwrap();
        assert_eq!((answer.overall_code(), all_reported(&answer)), (Code::Ok, vec!["OK 0".to_owned(); 2]));
    }
    let line = spillway.log_line("no policy has the domain");
    for part in ["WARN", "domain=\"d\\\\n2\"", "the domains are `d`"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(metric(spillway.http, "spillway_unknown_domain_requests_total"), 3);
}

#[tokio::test]
async fn descriptors_that_reach_no_rule_are_counted_and_reported_at_debug() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::running(serve().arg(config.path()).args(["--log-level", "debug"]));
    let channel = channel(&spillway).await;
    let (key, free, other) = (
        descriptor(&[("key", "k")]),
        descriptor(&[("free", "f")]),
        descriptor(&[("api_key", "secret"), ("path", "/x")]),
    );
    for descriptors in [vec![key.clone(), free], vec![key, other.clone(), descriptor(&[])], vec![other]] {
        ask(&channel, request(descriptors)).await.unwrap();
    }
    let line = spillway.log_line("a descriptor reaches no rule");
    assert!(line.contains("DEBUG") && line.contains("api_key=…, path=…"), "{line}");
    assert!(!spillway.seen.iter().any(|line| line.contains("secret")));
    for (reason, times) in [("unknown_key", 2), ("no_entries", 1), ("unknown_value", 0)] {
        let name = format!("spillway_unmatched_descriptors_total{{domain=\"d\",reason=\"{reason}\"}}");
        assert_eq!(metric(spillway.http, &name), times, "{reason}");
    }
}

#[tokio::test]
async fn hits_of_the_descriptor_beat_those_of_the_request() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let with = |of_request, of_descriptor: Option<u64>| {
        let mut descriptor = descriptor(&[("key", "k")]);
        descriptor.hits_addend = of_descriptor.map(|value| UInt64Value { value });
        RateLimitRequest { hits_addend: of_request, ..request(vec![descriptor]) }
    };
    let mut answers = Vec::new();
    for request in
        [with(0, Some(0)), with(9, Some(1)), with(0, Some(0)), with(1, None), with(7, Some(0)), with(3, None)]
    {
        answers.push(all_reported(&ask(&channel, request).await.unwrap()).remove(0));
    }
    assert_eq!(
        answers,
        [
            "OK 2/2 per-key",
            "OK 1/2 per-key",
            "OK 1/2 per-key",
            "OK 0/2 per-key",
            "OK 0/2 per-key",
            "OVER 0/2 per-key"
        ]
    );
}

#[tokio::test]
async fn a_negative_hit_is_a_refund_and_never_goes_below_zero() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let mut refund = descriptor(&[("key", "k")]);
    refund.hits_addend = Some(UInt64Value { value: 5 });
    refund.is_negative_hits = true;
    let mut answers = Vec::new();
    for descriptor in [descriptor(&[("key", "k")]), refund, descriptor(&[("key", "k")])] {
        answers.push(all_reported(&ask(&channel, request(vec![descriptor])).await.unwrap()).remove(0));
    }
    assert_eq!(answers, ["OK 1/2 per-key", "OK 2/2 per-key", "OK 1/2 per-key"]);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_limited_like_any_other_value() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let message = |value: [u8; 4]| {
        let mut bytes = request(vec![descriptor(&[("key", "PQRS")])]).encode_to_vec();
        let at = bytes.windows(4).position(|four| four == b"PQRS").unwrap();
        bytes[at..at + 4].copy_from_slice(&value);
        Bytes::from(bytes)
    };
    let mut answers = Vec::new();
    for value in [*b"go\xff\xfe", *b"go\xff\xfe", *b"go\xff\xfd", *b"go\xff\xfe", *b"\0\r\n\x1b"] {
        answers.push(all_reported(&ask_raw(&channel, METHOD, message(value)).await.unwrap()).remove(0));
    }
    assert_eq!(
        answers,
        ["OK 1/2 per-key", "OK 0/2 per-key", "OK 1/2 per-key", "OVER 0/2 per-key", "OK 1/2 per-key"]
    );
}

#[tokio::test]
async fn large_requests_are_answered() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let large = "v".repeat(50_000);
    let answer = ask(&channel, request(vec![descriptor(&[("key", &large)]); 200])).await.unwrap();
    assert_eq!(answer.statuses.len(), 200);
    assert_eq!(reported(&answer.statuses[1]), "OK 0/2 per-key");
    assert_eq!(reported(&answer.statuses[199]), "OVER 0/2 per-key");
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_with_a_sentence() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    for (request, sentence) in [
        (
            RateLimitRequest { domain: String::new(), ..request(vec![descriptor(&[])]) },
            "rate limit domain must not be empty",
        ),
        (request(Vec::new()), "rate limit descriptor list must not be empty"),
    ] {
        let refused = ask(&channel, request).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (GrpcCode::InvalidArgument, sentence));
    }
}

#[tokio::test]
async fn a_sent_limit_that_is_left_out_is_counted_once_also_where_its_call_waits_for_the_store() {
    let (config, disk) = (directory(&[("d.yaml", POLICY)]), tempfile::tempdir().unwrap());
    let store = format!("disk:{}", disk.path().display());
    let spillway =
        Spillway::running(serve().arg(config.path()).args(["--store", &store, "--store-timeout", "10s"]));
    let channel = channel(&spillway).await;
    let mut wrong = descriptor(&[("key", "k")]);
    wrong.limit = Some(RateLimitOverride { requests_per_unit: 1, unit: 0 });
    ask(&channel, request(vec![wrong])).await.unwrap();
    assert_eq!(metric(spillway.http, "spillway_sent_limits_left_out_total"), 1);
}

#[tokio::test]
async fn a_sent_limit_of_an_unknown_unit_is_left_out_and_all_others_hold() {
    let mut spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let with_unit = |key: &str, unit| {
        let mut descriptor = descriptor(&[(key, "k")]);
        descriptor.limit = Some(RateLimitOverride { requests_per_unit: 1, unit });
        descriptor
    };
    for (unit, expected) in [(0, "OK 1/2 per-key"), (8, "OK 0/2 per-key"), (-1, "OVER 0/2 per-key")] {
        let answer =
            ask(&channel, request(vec![with_unit("key", unit), with_unit("nobody", 7)])).await.unwrap();
        assert_eq!(all_reported(&answer)[0], expected, "unit {unit}");
        assert!(all_reported(&answer)[1].ends_with("0/1 "), "{answer:?}");
    }
    let line = spillway.log_line("was left out");
    let reported =
        "it has unit 0, which is none of SECOND 1, MINUTE 2, HOUR 3, DAY 4, MONTH 5, YEAR 6, WEEK 7";
    assert!(line.contains(reported) && line.contains("key=…") && line.contains("domain=d"), "{line}");
    assert_eq!(metric(spillway.http, "spillway_sent_limits_left_out_total"), 3);
}

#[tokio::test]
async fn an_undecodable_message_is_an_error_and_the_connection_stays_up() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    for garbage in [&b"\xff\xff\xff\xff"[..], b"\x0a\x7fshort", b"\x12\x02\x0a\xff"] {
        let refused = ask_raw(&channel, METHOD, Bytes::from_static(garbage)).await.unwrap_err();
        assert_eq!(refused.code(), GrpcCode::Internal, "{refused:?}");
        ask(&channel, request(vec![descriptor(&[("key", "k")])])).await.unwrap();
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_is_unimplemented() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    for path in [
        "/envoy.service.ratelimit.v3.RateLimitService/Other",
        "/envoy.service.ratelimit.v2.RateLimitService/ShouldRateLimit",
        "/some.Service/Method",
        "/grpc.health.v1.Health/Other",
        "/grpc.reflection.v1alpha.ServerReflection/Other",
        "/",
    ] {
        let refused = ask_raw(&channel, path, Bytes::new()).await.unwrap_err();
        assert_eq!(refused.code(), GrpcCode::Unimplemented, "{path}");
        assert!(refused.message().contains("transport_api_version: V3"), "{path}: {refused:?}");
    }
}

#[tokio::test]
async fn envoys_access_log_learns_the_rule_its_numbers_and_the_metadata_of_rules_that_pass() {
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let both = || request(vec![descriptor(&[("tagged", "t")]), descriptor(&[("tagged2", "t")])]);
    let reported = async || json(&ask(&channel, both()).await.unwrap().dynamic_metadata.unwrap());
    let numbers = |used: f64, metadata: serde_json::Value| serde_json::json!({"rule": "tagged", "limit": 1.0, "used": used, "remaining": 0.0, "metadata": metadata});
    // Of two that say something, the first one's word stands.
    let of_both = serde_json::json!({"backend": {"pool": "a", "n": 1.0, "zone": "z"}});
    assert_eq!(reported().await, numbers(1.0, of_both));
    assert_eq!(reported().await, numbers(2.0, serde_json::json!({"backend": {"pool": "b", "zone": "z"}})));
}

#[tokio::test]
async fn envoys_access_log_learns_what_was_asked_where_that_is_wanted_and_no_credential() {
    let policy = "domain: d\nsubjects: people.subjects.yaml\ndescriptors:
  - {key: api_key, subject: api_key, exempt: {internal: true}, rate_limit: {name: per-customer, unit: year, requests_per_unit: 2}}
  - {key: path, rate_limit: {name: per-path, unit: year, requests_per_unit: 5}}\n";
    let people = "subjects:
  - {id: ada, credentials: [{kind: api_key, value: secret_1}]}
  - {id: us, attributes: {internal: true}, credentials: [{kind: api_key, value: secret_2}]}\n";
    let files = directory(&[("d.yaml", policy), ("people.subjects.yaml", people)]);
    let told = async |variable: &[(&str, &str)], entries: &[(&str, &str)]| {
        let spillway = Spillway::running(
            serve().arg(files.path()).envs(variable.iter().map(|(name, value)| (*name, *value))),
        );
        let mut asked = request(vec![descriptor(entries), descriptor(&[("path", "/a,b")])]);
        "d".clone_into(&mut asked.domain);
        ask(&channel(&spillway).await, asked).await.unwrap().dynamic_metadata.map(|metadata| json(&metadata))
    };
    let on = [("RESPONSE_DYNAMIC_METADATA", "true")];
    let ada = told(&on, &[("api_key", "secret_1")]).await.unwrap();
    let descriptors = serde_json::json!([{"entries": ["api_key=…"]}, {"entries": ["path=/a,b"]}]);
    assert_eq!((&ada["domain"], &ada["descriptors"]), (&serde_json::json!("d"), &descriptors), "{ada}");
    assert_eq!(
        (&ada["subject"], &ada["rule"]),
        (&serde_json::json!("ada"), &serde_json::json!("per-customer"))
    );
    let ours = told(&[("SPILLWAY_REQUEST_METADATA", "true")], &[("api_key", "secret_2")]).await.unwrap();
    assert_eq!(ours["subject"], "us", "though nothing limits them: {ours}");
    let off = told(&[], &[("api_key", "secret_1")]).await.unwrap();
    assert!(off.get("descriptors").is_none() && off["rule"] == "per-customer", "{off}");
}

/// What Envoy's access log would show of it.
fn json(metadata: &Struct) -> serde_json::Value {
    fn value(of: &Value) -> serde_json::Value {
        match of.kind.as_ref().unwrap() {
            Kind::NullValue(_) => serde_json::Value::Null,
            Kind::NumberValue(number) => (*number).into(),
            Kind::StringValue(text) => text.as_str().into(),
            Kind::BoolValue(is) => (*is).into(),
            Kind::StructValue(fields) => json(fields),
            Kind::ListValue(list) => list.values.iter().map(value).collect(),
        }
    }
    metadata.fields.iter().map(|(name, of)| (name.clone(), value(of))).collect()
}

#[tokio::test]
async fn health_is_reported_for_the_server_and_for_the_service() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let spillway = Spillway::serving(POLICY);
    let mut health = HealthClient::new(channel(&spillway).await);
    for service in ["", "envoy.service.ratelimit.v3.RateLimitService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "`{service}` is SERVING");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), GrpcCode::NotFound);
}

/// One request over HTTP/2, and what comes back.
async fn over_http(
    spillway: &Spillway,
    method: &str,
    content_type: &str,
    message: &'static [u8],
) -> http::Response<String> {
    let socket = tokio::net::TcpStream::connect(spillway.grpc).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", spillway.grpc);
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", content_type)
        .body(())
        .unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(prost::bytes::Bytes::from_static(message), true).unwrap();
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(more) = body.data().await {
        text.extend_from_slice(&more.unwrap());
    }
    http::Response::from_parts(head, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn what_is_no_grpc_is_refused_by_http() {
    let spillway = Spillway::serving(POLICY);
    let put = over_http(&spillway, "PUT", "application/grpc", &[0; 5]).await;
    assert_eq!((put.status().as_u16(), &put.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let json = over_http(&spillway, "POST", "application/json", b"{}").await;
    assert_eq!(json.status(), 415);
    for reported in [put, json] {
        assert!(reported.body().starts_with("this port speaks gRPC: POST with"), "{reported:?}");
    }
    let grpc = over_http(&spillway, "POST", "application/grpc+proto", &[0; 5]).await;
    assert_eq!(grpc.status(), 200);
}

#[tokio::test]
async fn a_compressed_request_is_answered_with_what_is_taken() {
    let spillway = Spillway::serving(POLICY);
    let reported = over_http(&spillway, "POST", "application/grpc", &[1, 0, 0, 0, 1, 0]).await;
    assert_eq!(reported.headers()["grpc-status"], "12");
    assert_eq!(reported.headers()["grpc-accept-encoding"], "identity");
}

#[tokio::test]
async fn a_watch_of_health_tells_the_end_and_ends_with_it() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::running(serve().arg(config.path()).args(["--drain-delay", "200ms"]));
    let mut health = HealthClient::new(channel(&spillway).await);
    let watch = async |health: &mut HealthClient<_>, service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        health.watch(request).await.unwrap().into_inner()
    };
    let mut known = watch(&mut health, "ratelimit").await;
    let mut unknown = watch(&mut health, "nobody").await;
    assert_eq!(known.message().await.unwrap().unwrap().status, 1, "SERVING");
    assert_eq!(unknown.message().await.unwrap().unwrap().status, 3, "SERVICE_UNKNOWN");
    spillway.signal("TERM");
    assert_eq!(known.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    assert_eq!(known.message().await.unwrap(), None);
    assert_eq!(unknown.message().await.unwrap(), None);
    // Beside this, for the client's connection is to end meanwhile.
    let ended = tokio::task::spawn_blocking(move || (spillway.wait(), spillway.seen.join("\n")));
    let (status, log) = ended.await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains("cut off"), "{log}");
}

/// What one stream of questions to reflection is answered, shortened: services, files by name, or an error. Both versions have
/// messages of the same shape.
macro_rules! reflected {
    ($version:ident, $channel:expr, $questions:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let questions = $questions.map(|(kind, name): (&str, &str)| ServerReflectionRequest {
            host: "here".into(),
            message_request: match kind {
                "list" => Some(MessageRequest::ListServices(name.into())),
                "file" => Some(MessageRequest::FileByFilename(name.into())),
                "symbol" => Some(MessageRequest::FileContainingSymbol(name.into())),
                "extensions" => Some(MessageRequest::AllExtensionNumbersOfType(name.into())),
                _ => None,
            },
        });
        let asked = questions.to_vec();
        let mut client = ServerReflectionClient::new($channel);
        let stream = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap();
        let (mut stream, mut reported) = (stream.into_inner(), Vec::new());
        for question in asked {
            let answer = stream.message().await.unwrap().expect("an answer to each question");
            assert_eq!((answer.valid_host.as_str(), answer.original_request), ("here", Some(question)));
            reported.push(match answer.message_response.unwrap() {
                MessageResponse::FileDescriptorResponse(file) => {
                    let file = prost_types::FileDescriptorProto::decode(&*file.file_descriptor_proto[0]);
                    file.unwrap().name().to_owned()
                }
                MessageResponse::ListServicesResponse(list) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>().join(" ")
                }
                MessageResponse::AllExtensionNumbersResponse(numbers) => {
                    format!("{} {:?}", numbers.base_type_name, numbers.extension_number)
                }
                MessageResponse::ErrorResponse(error) => {
                    format!("{}: {}", error.error_code, error.error_message)
                }
            });
        }
        assert_eq!(stream.message().await.unwrap(), None, "and then the end");
        reported
    }};
}

#[tokio::test]
async fn reflection_tells_what_it_does_not_know_and_goes_on() {
    const RLS: &str = "envoy/service/ratelimit/v3/rls.proto";
    let spillway = Spillway::serving(POLICY);
    let channel = channel(&spillway).await;
    let questions = [
        ("symbol", "no.such.Symbol"),
        ("file", "no/such.proto"),
        ("extensions", "no.such.Message"),
        ("nothing", ""),
        ("list", "*"),
        ("symbol", "envoy.service.ratelimit.v3.RateLimitService"),
        ("symbol", "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit"),
        ("symbol", "envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit"),
        ("symbol", "envoy.service.ratelimit.v3.RateLimitResponse.OVER_LIMIT"),
        ("symbol", "google.protobuf.Struct.FieldsEntry"),
        ("file", RLS),
        ("extensions", "envoy.service.ratelimit.v3.RateLimitRequest"),
    ];
    let expected = [
        "5: there is no symbol `no.such.Symbol`",
        "5: there is no file `no/such.proto`",
        "5: there is no message `no.such.Message`",
        "3: the request asks for nothing",
        "envoy.service.ratelimit.v3.RateLimitService grpc.health.v1.Health grpc.reflection.v1.ServerReflection \
         grpc.reflection.v1alpha.ServerReflection",
        RLS,
        RLS,
        RLS,
        RLS,
        "google/protobuf/struct.proto",
        RLS,
        "envoy.service.ratelimit.v3.RateLimitRequest []",
    ];
    assert_eq!(reflected!(v1, channel.clone(), questions), expected);
    assert_eq!(reflected!(v1alpha, channel.clone(), questions), expected);
}
