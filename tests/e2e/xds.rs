//! An Envoy as Envoy Gateway configures it, and Spillway in envoyproxy/ratelimit's place beside it: called by that name, with the
//! environment that Envoy Gateway gives it, TLS, and limits that come by xDS in Envoy Gateway's shapes.

use std::fs;
use std::process::Stdio;

use envoy_types::pb::ratelimit::config::ratelimit::v3::{RateLimitDescriptor, RateLimitUnit};

use crate::client::send;
use crate::gateway::{Gateway, envoy, listeners, upstream, wait_for};
use crate::support::ads::{Ads, config, limited};
use crate::support::tls::{Authority, Good};
use crate::support::{Process, Spillway, ratelimit};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[(
    "an_envoy_of_envoy_gateway_is_limited_by_what_came_by_xds",
    an_envoy_of_envoy_gateway_is_limited_by_what_came_by_xds,
)];

/// The domain: the name of the listener. And the name of the route, which begins each descriptor.
const DOMAIN: &str = "default/eg/http";
const ROUTE: &str = "httproute/default/backend/rule/0/match/0/www_example_com";

/// A listener whose route has three rules: for each value of a header, for each address of a network, and for everybody.
fn envoy_yaml(spillway: u16, upstream: u16, authority: &Authority) -> String {
    let path = |name: &str| authority.path(name);
    let (ca, certificate, key) = (path("ca.pem"), path("envoy.pem"), path("envoy.key"));
    let route = format!("{{generic_key: {{descriptor_key: {ROUTE}, descriptor_value: {ROUTE}}}}}");
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: {DOMAIN}
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          use_remote_address: true
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: {DOMAIN}
              disable_x_envoy_ratelimited_header: true
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              failure_mode_deny: true
              timeout: 5s
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: ratelimit_cluster}}}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: default/eg/http/www_example_com
              domains: ["*"]
              routes:
              - name: {ROUTE}
                match: {{prefix: /}}
                route: {{cluster: backend}}
                typed_per_filter_config:
                  envoy.filters.http.ratelimit:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                    rate_limits:
                    - actions: [{route}, {{request_headers: {{header_name: x-user-id, descriptor_key: rule-0-match-0}}}}]
                    - actions: [{route}, {{masked_remote_address: {{v4_prefix_mask_len: 8}}}}, {{remote_address: {{}}}}]
                    - actions: [{route}, {{generic_key: {{descriptor_key: rule-2-match--1, descriptor_value: rule-2-match--1}}}}]
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
  - name: ratelimit_cluster
    type: STRICT_DNS
    connect_timeout: 10s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{initial_connection_window_size: 1048576, initial_stream_window_size: 65536}}}}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          tls_certificates: [{{certificate_chain: {{filename: {certificate}}}, private_key: {{filename: {key}}}}}]
          validation_context: {{trusted_ca: {{filename: {ca}}}}}
    load_assignment:
      cluster_name: ratelimit_cluster
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {spillway}}}}}}}}}]}}]
"#
    )
}

/// What Envoy Gateway makes of these rules: a tree below the name of the route.
fn limits(each_user: u32) -> Vec<RateLimitDescriptor> {
    let each = |key: &str, requests| limited(key, "", RateLimitUnit::Year, requests);
    let network = RateLimitDescriptor {
        key: "masked_remote_address".to_owned(),
        value: "127.0.0.0/8".to_owned(),
        descriptors: vec![each("remote_address", 4)],
        ..Default::default()
    };
    let all = limited("rule-2-match--1", "rule-2-match--1", RateLimitUnit::Year, 7);
    vec![RateLimitDescriptor {
        key: ROUTE.to_owned(),
        value: ROUTE.to_owned(),
        descriptors: vec![each("rule-0-match-0", each_user), network, all],
        ..Default::default()
    }]
}

fn an_envoy_of_envoy_gateway_is_limited_by_what_came_by_xds(_: &Gateway) {
    let mut ads = Ads::start();
    ads.set(&[config(DOMAIN, limits(2))]);
    let url = ads.address.to_string();
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue("server", "*.envoy-gateway-system", Good::Now);
    authority.issue("envoy", "envoy.envoy-gateway-system", Good::Now);
    let mut serve = ratelimit(files.path());
    let ports = ["PORT", "GRPC_PORT", "DEBUG_PORT"].map(|name| (name, "0"));
    let hosts = ["HOST", "GRPC_HOST", "DEBUG_HOST"].map(|name| (name, "127.0.0.1"));
    let serve = serve.envs(ports.into_iter().chain(hosts)).envs([
        ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
        ("CONFIG_GRPC_XDS_SERVER_URL", url.as_str()),
        ("CONFIG_GRPC_XDS_NODE_ID", "envoy-ratelimit"),
        ("GRPC_SERVER_USE_TLS", "true"),
        ("GRPC_SERVER_TLS_CERT", &authority.path("server.pem")),
        ("GRPC_SERVER_TLS_KEY", &authority.path("server.key")),
        ("GRPC_SERVER_TLS_CA_CERT", &authority.path("ca.pem")),
    ]);
    let mut spillway = Spillway::running(serve);
    let (_upstream, upstream_port) = upstream();
    let (yaml, admin) = (files.path().join("envoy.yaml"), files.path().join("admin"));
    fs::write(&yaml, envoy_yaml(spillway.grpc.port(), upstream_port, &authority)).unwrap();
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
    let listener = listeners(admin)[DOMAIN];
    let get = |from: &str, user: &str| {
        let answer = send(from, listener, "GET /", &[format!("x-user-id: {user}").as_bytes()]);
        (answer.status, answer.header("x-ratelimit-remaining").map(str::to_owned))
    };

    // A user has two; an address of the network has four; all together have seven.
    let remaining = |number: &str| Some(number.to_owned());
    assert_eq!(get("127.0.0.2", "ann"), (200, remaining("1")));
    assert_eq!(get("127.0.0.2", "ann"), (200, remaining("0")));
    assert_eq!(get("127.0.0.2", "ann"), (429, remaining("0")));
    assert_eq!(get("127.0.0.2", "bob").0, 200);
    assert_eq!(get("127.0.0.2", "cid").0, 429, "the address has sent five");
    assert_eq!(get("127.0.0.3", "dan").0, 200);
    assert_eq!(get("127.0.0.3", "eve").0, 200);
    assert_eq!(get("127.0.0.4", "fay").0, 429, "all of them have sent eight");

    assert!(!spillway.seen.iter().any(|line| line.contains("warnings")), "{:#?}", spillway.seen);

    // The gateway's operator grants more; then takes the limits away; and meanwhile its control plane is away for a while.
    let mut more = limits(20);
    more[0].descriptors.truncate(1);
    ads.set(&[config(DOMAIN, more)]);
    spillway.log_line("rules_before=3");
    assert_eq!(get("127.0.0.4", "ann").0, 200);
    let address = ads.address;
    drop(ads);
    spillway.log_line("the xDS server is away");
    assert!(get("127.0.0.4", "ann").1.is_some(), "what came last stays in force");
    let mut ads = Ads::start_at(address);
    ads.set(&[]);
    spillway.log_line("rules=0");
    assert_eq!(get("127.0.0.4", "ann"), (200, None));
}
