//! Spans of calls, as OpenTelemetry's own messages read them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spillway::clock::{Clock as _, SystemClock};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::rls::{channel, descriptor, request};
use crate::support::collector::{Collector, Does, attributes, hex};
use crate::support::reserved::Reserved;
use crate::support::tls::{Authority, Good};
use crate::support::valkey::Valkey;
use crate::support::{PATIENCE, Spillway, command, directory, get, metric, serve};

const POLICY: &str = "
domain: d
descriptors:
  - {key: key, rate_limit: {name: per-key, unit: year, requests_per_unit: 2}}
  - {key: api_key, rate_limit: {name: per-secret, unit: year, requests_per_unit: 2}}
";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const METHOD: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// Serves [`POLICY`] with these variables, sending a span a hundredth of a second after it ended.
fn traced(variables: &[(&str, &str)]) -> Spillway {
    let config = directory(&[("policy.yaml", POLICY)]);
    Spillway::running(&mut traced_in(config.path(), variables)).keeping(config)
}

fn traced_in(config: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = serve();
    command.arg(config).env("OTEL_BSP_SCHEDULE_DELAY", "10").envs(variables.iter().copied());
    command
}

fn http(collector: &Collector) -> String {
    format!("http://{}", collector.http)
}

/// Asks as a caller with that `traceparent`.
async fn ask(
    channel: &Channel,
    request: RateLimitRequest,
    traceparent: &str,
) -> Result<RateLimitResponse, Status> {
    let mut request = Request::new(request);
    if !traceparent.is_empty() {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
    }
    let answer = RateLimitServiceClient::new(channel.clone()).should_rate_limit(request).await?;
    Ok(answer.into_inner())
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

/// Waits until so many or more are counted: a batch is counted once the collector has answered.
async fn counted(spillway: &Spillway, name: &str, many: u64) {
    let begun = Instant::now();
    while metric(spillway.http, name) < many {
        assert!(begun.elapsed() < PATIENCE, "{name} is {} and not {many}", metric(spillway.http, name));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn nanos_now() -> u64 {
    SystemClock::new().now().as_nanos()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_in_the_trace_of_its_caller() {
    let collector = Collector::start();
    let grpc = format!("http://{}", collector.grpc);
    for (endpoint, protocol) in [(http(&collector), "http/protobuf"), (grpc, "grpc")] {
        let begun = nanos_now();
        let mut spillway = traced(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=team%20a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "region=eu"),
        ]);
        let path = if protocol == "grpc" { "" } else { "/v1/traces" };
        spillway.lines_so_far();
        let line = spillway.seen.iter().find(|line| line.contains("calls are traced")).unwrap();
        assert!(line.contains(&format!("spans go to `{endpoint}{path}` by OTLP/")), "{line}");

        let channel = channel(&spillway).await;
        let asked = request(vec![descriptor(&[("key", "k")]), descriptor(&[("nobody", "knows")])]);
        let answer = ask(&channel, asked, &parent("01")).await.unwrap();
        assert_eq!(answer.overall_code(), Code::Ok);

        let batch = collector.batch();
        assert_eq!((batch.headers["x-tenant"].as_str(), batch.path.as_str()), ("team a", path));
        let resource = batch.resource();
        assert_eq!((resource["service.name"].as_str(), resource["region"].as_str()), ("spillway", "eu"));
        assert_eq!(resource["service.instance.id"].len(), 36);
        let [span] = &batch.spans()[..] else { panic!("one span: {:?}", batch.spans()) };
        assert_eq!((hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()), (TRACE, CALLER));
        assert_eq!((span.span_id.len(), span.trace_state.as_str()), (8, "vendor=1"));
        assert_eq!((span.name.as_str(), span.kind()), (METHOD, SpanKind::Server));
        assert_eq!(span.flags, 0x301, "sampled, and its parent is another process's");
        assert!(begun <= span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(span.end_time_unix_nano <= nanos_now());
        assert!(!is_error(span), "{span:?}");
        let told = attributes(&span.attributes);
        for (name, value) in [
            ("rpc.system.name", "grpc"),
            ("rpc.method", METHOD),
            ("rpc.response.status_code", "OK"),
            ("network.peer.address", "127.0.0.1"),
            ("ratelimit.domain", "d"),
            ("ratelimit.descriptors", "2"),
            ("ratelimit.hits", "2"),
            ("ratelimit.code", "OK"),
            ("ratelimit.rule", "per-key"),
        ] {
            assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}: {told:?}");
        }
        counted(&spillway, "spillway_trace_spans_sent_total", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_rule_and_an_error_its_code() {
    let collector = Collector::start();
    let spillway = traced(&[("TRACING_ENABLED", "true"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &http(&collector))]);
    let channel = channel(&spillway).await;
    let secret = "sk_live_51-not-to-be-seen";
    for _ in 0..3 {
        ask(&channel, request(vec![descriptor(&[("api_key", secret)])]), "").await.unwrap();
    }
    let spans = collector.spans(3);
    let told = attributes(&spans[2].attributes);
    assert_eq!(
        (told["ratelimit.code"].as_str(), told["ratelimit.rule"].as_str()),
        ("OVER_LIMIT", "per-secret")
    );
    assert!(!is_error(&spans[2]), "a refusal is an answer");
    assert!(!format!("{spans:?}").contains(secret), "credentials stay here: {spans:?}");
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty() && span.flags == 0x103), "{spans:?}");
    assert_ne!(spans[0].trace_id, spans[1].trace_id);

    let no_domain = RateLimitRequest::default();
    ask(&channel, no_domain, "").await.unwrap_err();
    let spans = collector.spans(1);
    let told = attributes(&spans[0].attributes);
    assert!(is_error(&spans[0]), "{spans:?}");
    assert_eq!(told["rpc.response.status_code"], "INVALID_ARGUMENT");
    assert_eq!(told["error.type"], "INVALID_ARGUMENT");

    let many = vec![descriptor(&[("key", "k")]); 1025];
    ask(&channel, request(many), "").await.unwrap();
    let told = attributes(&collector.spans(1)[0].attributes);
    assert_eq!(
        (told["ratelimit.beyond_bounds"].as_str(), told["ratelimit.code"].as_str()),
        ("true", "OVER_LIMIT")
    );

    // Decided on the thread for long requests.
    let long = vec![descriptor(&[("key", &"k".repeat(100_000))])];
    ask(&channel, request(long), &parent("01")).await.unwrap();
    let span = collector.spans(1).remove(0);
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(attributes(&span.attributes)["ratelimit.code"], "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_waited_for_is_a_span_of_its_own() {
    let collector = Collector::start();
    let valkey = Valkey::start(&[]);
    let variables = |store: &str| {
        let endpoint = http(&collector);
        traced(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("SPILLWAY_STORE", store),
            ("SPILLWAY_STORE_TIMEOUT", "10s"),
        ])
    };
    let spillway = variables(&valkey.url());
    let asked = || request(vec![descriptor(&[("key", "k")])]);
    ask(&channel(&spillway).await, asked(), &parent("01")).await.unwrap();
    let spans = collector.spans(2);
    let call = spans.iter().find(|span| span.name == METHOD).unwrap();
    let settle = spans.iter().find(|span| span.name == "settle").unwrap();
    assert_eq!((&settle.trace_id, &settle.parent_span_id), (&call.trace_id, &call.span_id));
    assert_ne!(settle.span_id, call.span_id);
    assert_eq!((settle.kind(), settle.flags), (SpanKind::Internal, 0x101));
    assert!(call.start_time_unix_nano <= settle.start_time_unix_nano);
    assert!(settle.start_time_unix_nano < settle.end_time_unix_nano);
    assert!(settle.end_time_unix_nano <= call.end_time_unix_nano);
    counted(&spillway, "spillway_trace_spans_sent_total", 2).await;

    let nobody = Reserved::new();
    let spillway = variables(&format!("redis://{}/", nobody.address));
    let failed = ask(&channel(&spillway).await, asked(), &parent("01")).await.unwrap_err();
    let spans = collector.spans(2);
    let call = spans.iter().find(|span| span.name == METHOD).unwrap();
    let settle = spans.iter().find(|span| span.name == "settle").unwrap();
    assert!(is_error(call) && is_error(settle), "{spans:?}");
    assert_eq!(call.status.as_ref().unwrap().message, failed.message());
    assert_eq!(attributes(&call.attributes)["rpc.response.status_code"], "UNAVAILABLE");
    assert!(!attributes(&settle.attributes)["error.type"].is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_traced_as_they_say_and_others_by_the_rate() {
    let collector = Collector::start();
    let endpoint = http(&collector);
    for (variables, expected) in [
        (&[("TRACING_SAMPLING_RATE", "0")][..], ["sampled"].as_slice()),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")], &["sampled"]),
        (&[("TRACING_SAMPLING_RATE", "1")], &["sampled", "alone", "malformed"]),
        (&[("OTEL_TRACES_SAMPLER", "always_on")], &["sampled", "unsampled", "alone", "malformed"]),
        (&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")], &[]),
    ] {
        let variables = [variables, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint)]].concat();
        let mut spillway = traced(&variables);
        let channel = channel(&spillway).await;
        for (value, traceparent) in [
            ("sampled", &*parent("01")),
            ("unsampled", &parent("00")),
            ("alone", ""),
            ("malformed", &parent("01").to_uppercase()),
        ] {
            let mut asked = request(vec![descriptor(&[("key", value)])]);
            // By which the test knows them.
            asked.domain = value.to_owned();
            ask(&channel, asked, traceparent).await.unwrap();
        }
        drop(channel);
        spillway.signal("TERM");
        assert!(spillway.wait().success());
        let spans = if expected.is_empty() { Vec::new() } else { collector.spans(expected.len()) };
        let traced = spans.iter().map(|span| attributes(&span.attributes)["ratelimit.domain"].clone());
        assert_eq!(traced.collect::<Vec<_>>(), expected, "{variables:?}");
        assert!(collector.is_left_alone(Duration::ZERO), "{variables:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_traced() {
    let collector = Collector::start();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*http(&collector));
    for variables in [
        &[][..],
        &[endpoint, ("TRACING_ENABLED", "false")],
        &[endpoint, ("OTEL_SDK_DISABLED", "true")],
        &[endpoint, ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        let mut spillway = traced(variables);
        ask(&channel(&spillway).await, request(vec![descriptor(&[("key", "k")])]), &parent("01"))
            .await
            .unwrap();
        assert!(!get(spillway.http, "/metrics").contains("trace_spans"), "{variables:?}");
        spillway.signal("TERM");
        assert!(spillway.wait().success());
        assert!(!spillway.seen.iter().any(|line| line.contains("traced")), "{:?}", spillway.seen);
        assert!(collector.is_left_alone(Duration::ZERO), "{variables:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_is_sent_before_it() {
    let collector = Collector::start();
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*http(&collector)), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let mut spillway = traced(&variables);
    let channel = channel(&spillway).await;
    for _ in 0..700 {
        ask(&channel, request(vec![descriptor(&[("key", "k")])]), "").await.unwrap();
    }
    // The first 512 go as a batch that is full.
    assert_eq!(collector.batch().spans().len(), 512);
    assert!(collector.is_left_alone(Duration::from_millis(50)), "the others wait for more");
    drop(channel);
    spillway.signal("TERM");
    assert!(spillway.wait().success());
    assert_eq!(collector.batch().spans().len(), 188);
}

/// Calls are answered, and the process ends soon, whatever the collector does; what becomes of the spans is counted and told.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_take_spans_changes_nothing_for_calls() {
    let collector = Collector::start();
    let reserved = Reserved::new();
    let (http, nobody) = (http(&collector), format!("http://{}", reserved.address));
    let grpc = format!("http://{}", collector.grpc);
    for (endpoint, protocol, does, refused, told) in [
        (&nobody, "http/protobuf", Does::Takes, None, "and will try again: Connection refused"),
        (&nobody, "grpc", Does::Takes, None, "and will try again: Connection refused"),
        (
            &http,
            "http/protobuf",
            Does::Unavailable,
            None,
            "and will try again: it answered 503 Service Unavailable",
        ),
        (&grpc, "grpc", Does::Unavailable, None, "it answered Unavailable: come back later"),
        (&http, "http/protobuf", Does::Refuses, Some("refused"), "are dropped: it answered 403 Forbidden"),
        (&grpc, "grpc", Does::Refuses, Some("refused"), "it answered PermissionDenied: no such tenant"),
        (&http, "http/protobuf", Does::DropsTwo, Some("refused"), "are dropped: spans of two years ago"),
        (&grpc, "http/protobuf", Does::Takes, None, "needs `OTEL_EXPORTER_OTLP_PROTOCOL=grpc`"),
        (&http, "http/protobuf", Does::Stalls, None, ""),
        (&grpc, "grpc", Does::Stalls, None, ""),
    ] {
        collector.now(does);
        let what = format!("{endpoint} {protocol} {does:?}");
        let mut spillway = traced(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
        ]);
        let channel = channel(&spillway).await;
        for _ in 0..200 {
            ask(&channel, request(vec![descriptor(&[("free", "k")])]), "").await.unwrap();
        }
        let name = |reason| format!("spillway_trace_spans_dropped_total{{reason=\"{reason}\"}}");
        if let Some(reason) = refused {
            counted(&spillway, &name(reason), 2).await;
        } else {
            // Of 200, 16 wait and 8 are on their way.
            let dropped = metric(spillway.http, &name("queue_full"));
            assert!((160..200).contains(&dropped), "{what}: {dropped}");
        }
        drop(channel);
        if !told.is_empty() {
            let line = spillway.log_line(" spans ");
            assert!(line.contains("WARN") && line.contains(told), "{what}: {line}");
            assert!(!told.contains("are dropped") || !line.contains("dropped=0"), "{what}: {line}");
        }
        let asked = Instant::now();
        spillway.signal("TERM");
        assert!(spillway.wait().success(), "{what}");
        assert!(asked.elapsed() < Duration::from_secs(6), "{what}: ended after {:?}", asked.elapsed());
        let lines =
            spillway.seen.iter().filter(|line| line.contains("WARN") && line.contains("span")).count();
        assert!(
            (1..=2).contains(&lines),
            "{what}: at most one a minute, and one at the end: {:#?}",
            spillway.seen
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_could_not_be_sent_is_sent_when_the_collector_is_there() {
    let reserved = [Reserved::new(), Reserved::new()];
    let [grpc, http] = reserved.each_ref().map(|reserved| reserved.address);
    let endpoint = format!("http://{http}");
    let mut spillway = traced(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let channel = channel(&spillway).await;
    ask(&channel, request(vec![descriptor(&[("key", "k")])]), &parent("01")).await.unwrap();
    spillway.log_line("cannot send spans to");
    let collector = Collector::on(grpc, http);
    assert_eq!(hex(&collector.spans(1)[0].trace_id), TRACE);
    spillway.log_line("are sent to");
    // One that was restarted is found again.
    drop(collector);
    let collector = Collector::on(grpc, http);
    ask(&channel, request(vec![descriptor(&[("key", "k")])]), &parent("01")).await.unwrap();
    assert_eq!(collector.spans(1).len(), 1);
}

#[test]
fn what_is_not_understood_ends_the_start_with_a_sentence() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let is_on = ("TRACING_ENABLED", "true");
    for (name, value, expected) in [
        ("TRACING_ENABLED", "maybe", "`true` or `false`"),
        ("TRACING_EXPORTER_PROTOCOL", "thrift", "`http` or `grpc`"),
        ("TRACING_SAMPLING_RATE", "2", "a part from 0 to 1, as `0.1`"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "a URL without a password, as `http://collector:4318`",
        ),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "a.pem", "OTEL_EXPORTER_OTLP_CLIENT_KEY with it"),
    ] {
        let ended = traced_in(config.path(), &[is_on, (name, value)]).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.contains(&format!("{name}={value:?}: expected {expected}")), "{said}");
    }
    for (name, value, expected) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "geheim", "headers, as `x-token=secret,x-team=a`"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:geheim@collector:4318", "a URL without a password"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "user:geheim@collector:4318", "a URL without a password"),
    ] {
        let ended = traced_in(config.path(), &[is_on, (name, value)]).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains(&format!("expected {expected}")) && !said.contains("geheim"), "{said}");
    }
    let missing = [("TRACING_ENABLED", "true"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")];
    let ended = traced_in(config.path(), &missing).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("TLS to the collector `http://localhost:4318/v1/traces`: "), "{said}");
}

/// A cluster sets what OpenTelemetry has for every program, and not all of them send spans alike.
#[test]
fn what_others_may_understand_is_done_without_and_told_where_calls_are_traced() {
    let collector = Collector::start();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*http(&collector));
    for (name, value, expected) in [
        ("OTEL_SDK_DISABLED", "maybe", "`true` or `false`"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "`otlp` or `none`"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "`http/protobuf` or `grpc`"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "a time in milliseconds, as `10000`"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "a number from 1 to 1048576, as `2048`"),
        ("OTEL_TRACES_SAMPLER", "xray", "`parentbased_always_on`"),
        ("OTEL_RESOURCE_ATTRIBUTES", "prod", "names and values"),
    ] {
        let told = traced(&[endpoint, (name, value)]).seen;
        let line = told.iter().find(|line| line.contains(&format!("{name}={value:?}"))).unwrap();
        assert!(
            line.contains("WARN") && line.contains(expected) && line.ends_with("; it is ignored"),
            "{line}"
        );
        assert!(told.iter().any(|line| line.contains("calls are traced")), "{told:?}");

        let told = traced(&[endpoint, (name, value), ("TRACING_ENABLED", "false")]).seen;
        assert!(!told.iter().any(|line| line.contains("OTEL_") || line.contains("traced")), "{told:?}");
    }
    // Commands that trace nothing are not concerned.
    let config = directory(&[("policy.yaml", POLICY)]);
    let wrong = [endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")];
    let checked = command(&["check"]).arg(config.path()).envs(wrong).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let listed = command(&["env", "--set"]).envs([endpoint, wrong[2]]).output().unwrap();
    let said = String::from_utf8(listed.stderr).unwrap();
    assert!(
        listed.status.success()
            && said.starts_with("warning: the environment has OTEL_EXPORTER_OTLP_PROTOCOL"),
        "{said}"
    );
}

/// Where `to` can be reached by TLS, with the certificate `collector` of `authority`.
async fn terminating(authority: &Authority, to: SocketAddr) -> SocketAddr {
    let (certificate, key) = (authority.path("collector.pem"), authority.path("collector.key"));
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that trusts nobody leaves.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut behind = TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut behind).await });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_by_https_is_trusted_by_its_authority_alone() {
    let collector = Collector::start();
    let authority = Authority::new();
    authority.issue("collector", "localhost", Good::Now);
    for (protocol, to) in [("http/protobuf", collector.http), ("grpc", collector.grpc)] {
        let port = terminating(&authority, to).await.port();
        let endpoint = format!("https://localhost:{port}");
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let certificate = ("OTEL_EXPORTER_OTLP_CERTIFICATE", &*authority.path("ca.pem"));
        let spillway = traced(&[&variables[..], &[certificate]].concat());
        let asked = || request(vec![descriptor(&[("key", "k")])]);
        ask(&channel(&spillway).await, asked(), &parent("01")).await.unwrap();
        assert_eq!(hex(&collector.spans(1)[0].trace_id), TRACE);

        let mut spillway = traced(&variables);
        ask(&channel(&spillway).await, asked(), &parent("01")).await.unwrap();
        let line = spillway.log_line("cannot send spans");
        assert!(line.contains("OTEL_EXPORTER_OTLP_CERTIFICATE=/certs/ca.crt"), "{line}");
        assert!(collector.is_left_alone(Duration::ZERO));
    }
}
