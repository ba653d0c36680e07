//! One trace over Envoy and Spillway, in a collector that both send their spans to.

use std::fs;
use std::process::Stdio;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::client::send;
use crate::gateway::{Gateway, envoy, listeners, upstream, wait_for};
use crate::support::collector::{Collector, attributes, hex};
use crate::support::{Process, Spillway, directory, serve};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] =
    &[("a_trace_of_envoy_goes_on_in_spillway", a_trace_of_envoy_goes_on_in_spillway)];

const POLICY: &str = "
domain: traced
descriptors:
- {key: user, rate_limit: {name: each-user, unit: year, requests_per_unit: 1}}
";
const METHOD: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A listener that traces every other request: those that say so.
fn envoy_yaml(spillway: u16, upstream: u16, collector: u16) -> String {
    let cluster = |name: &str, port: u16, options: &str| {
        format!(
            "
  - name: {name}
    type: STATIC
    connect_timeout: 5s{options}
    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]"
        )
    };
    let http2 = "
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}";
    let clusters = [
        cluster("upstream", upstream, ""),
        cluster("spillway", spillway, http2),
        cluster("otel", collector, http2),
    ];
    let clusters = clusters.concat();
    format!(
        "
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: traced
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: traced
          tracing:
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                '@type': type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: gateway
                grpc_service: {{envoy_grpc: {{cluster_name: otel}}, timeout: 5s}}
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: traced
              failure_mode_deny: true
              timeout: 5s
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: spillway}}}}
          - name: envoy.filters.http.router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes: [{{match: {{prefix: /}}, route: {{cluster: upstream}}}}]
              rate_limits: [{{actions: [{{request_headers: {{header_name: x-user, descriptor_key: user}}}}]}}]
  clusters:{clusters}
"
    )
}

fn a_trace_of_envoy_goes_on_in_spillway(_: &Gateway) {
    let collector = Collector::start();
    let config = directory(&[("policy.yaml", POLICY)]);
    let endpoint = format!("http://{}", collector.http);
    // As Envoy Gateway has it for envoyproxy/ratelimit, but that nobody waits for the span.
    let spillway = Spillway::running(serve().arg(config.path()).envs([
        ("TRACING_ENABLED", "true"),
        ("TRACING_SERVICE_NAME", "envoy-ratelimit"),
        ("TRACING_SAMPLING_RATE", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ]));
    let (_upstream, upstream_port) = upstream();
    let files = tempfile::tempdir().unwrap();
    let (yaml, admin) = (files.path().join("envoy.yaml"), files.path().join("admin"));
    fs::write(&yaml, envoy_yaml(spillway.grpc.port(), upstream_port, collector.grpc.port())).unwrap();
    let _envoy = Process::of(
        envoy()
            .args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error", "-c"])
            .arg(&yaml)
            .arg("--admin-address-path")
            .arg(&admin)
            .stdout(Stdio::null()),
    );
    let admin = wait_for("Envoy's admin address", || fs::read_to_string(&admin).ok()?.parse().ok());
    wait_for("Envoy", || (send("127.0.0.1", admin, "GET /ready", &[]).status == 200).then_some(()));
    let listener = listeners(admin)["traced"];
    let get = |traceparent: &str| {
        let headers = [b"x-user: ann".as_slice(), traceparent.as_bytes(), b"tracestate: vendor=1"];
        send("127.0.0.1", listener, "GET /", &headers).status
    };

    // Whoever calls Envoy has a trace already. Another one does not want to be traced.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(get("traceparent: 00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), 200);
    assert_eq!(get(&format!("traceparent: 00-{trace}-00f067aa0ba902b7-01")), 429);

    let mut of_envoy: Vec<Span> = Vec::new();
    let mut of_spillway: Vec<Span> = Vec::new();
    while of_envoy.is_empty() || of_spillway.is_empty() {
        let batch = collector.batch();
        match batch.resource()["service.name"].as_str() {
            "gateway" => of_envoy.extend(batch.spans()),
            "envoy-ratelimit" => of_spillway.extend(batch.spans()),
            other => panic!("{other}"),
        }
    }
    let [call] = &of_spillway[..] else { panic!("one call is traced: {of_spillway:#?}") };
    assert_eq!((hex(&call.trace_id).as_str(), call.name.as_str()), (trace, METHOD));
    assert_eq!(call.trace_state, "vendor=1");
    let told = attributes(&call.attributes);
    assert_eq!(
        (told["ratelimit.code"].as_str(), told["ratelimit.rule"].as_str()),
        ("OVER_LIMIT", "each-user")
    );
    assert!(of_envoy.iter().all(|span| hex(&span.trace_id) == trace), "{of_envoy:#?}");
    let parent = of_envoy.iter().find(|span| span.span_id == call.parent_span_id);
    assert!(parent.is_some(), "its parent is a span of Envoy's: {of_envoy:#?} {call:#?}");
}
