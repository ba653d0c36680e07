//! Envoy's ways to Spillway beside plain TCP: TLS with a client certificate, and a Unix socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_yaml::Value;
use tempfile::TempDir;

use crate::client::send;
use crate::gateway::{Gateway, wait_for};
use crate::support::tls::{Authority, Good};
use crate::support::{Spillway, command, get};
use crate::tests::Test;

pub(crate) const ALL: &[(&str, Test)] = &[
    ("an_envoy_with_a_certificate_is_limited_over_tls", an_envoy_with_a_certificate_is_limited_over_tls),
    (
        "an_envoy_without_one_is_refused_and_the_log_says_why",
        an_envoy_without_one_is_refused_and_the_log_says_why,
    ),
    ("an_envoy_is_limited_over_a_unix_socket", an_envoy_is_limited_over_a_unix_socket),
    ("certificates_rotate_and_no_call_of_an_envoy_fails", certificates_rotate_and_no_call_of_an_envoy_fails),
];

/// What the doors `tls` and `tls-nobody` ask, and what the door `unix` asks.
pub(crate) struct Transports {
    authority: Authority,
    tls: Mutex<Spillway>,
    _unix: Mutex<Spillway>,
    files: TempDir,
}

impl Transports {
    /// Starts both with the policies of `config`.
    pub(crate) fn start(config: &Path) -> Self {
        let authority = Authority::new();
        // As Envoy Gateway issues them.
        authority.issue("server", "*.envoy-gateway-system", Good::Now);
        authority.issue("envoy", "spiffe://cluster.local/ns/default/sa/envoy", Good::Now);
        let path = |name: &str| authority.path(name);
        let mut tls = command(&["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        tls.arg("--tls-close-at-rotation").arg("--config").arg(config).env("GRPC_SERVER_USE_TLS", "true");
        tls.env("GRPC_SERVER_TLS_CERT", path("server.pem")).env("GRPC_SERVER_TLS_KEY", path("server.key"));
        tls.env("GRPC_CLIENT_TLS_CACERT", path("ca.pem"));
        tls.env("GRPC_CLIENT_TLS_SAN", "spiffe://cluster.local/ns/default/sa/envoy");
        let files = tempfile::tempdir().unwrap();
        let mut unix = command(&["serve", "--http-addr", "127.0.0.1:0", "--config"]);
        unix.arg(config).env("GRPC_UDS", socket(&files));
        let (tls, unix) = (Mutex::new(Spillway::running(&mut tls)), Mutex::new(Spillway::running(&mut unix)));
        Self { authority, tls, _unix: unix, files }
    }

    /// The clusters of the doors, as copies of the one that is plain.
    pub(crate) fn clusters(&self, plain: &Value) -> Vec<Value> {
        let copy = |name: &str, address: Value| {
            let mut copy = plain.clone();
            // A quarter of a second is little for a health check on a busy machine, and no failure of TLS.
            for part in ["health_checks", "outlier_detection"] {
                assert!(copy.as_mapping_mut().unwrap().remove(part).is_some());
            }
            copy["connect_timeout"] = "5s".into();
            copy["name"] = name.into();
            copy["load_assignment"]["cluster_name"] = name.into();
            copy["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = address;
            copy
        };
        let yaml = |text: &str| serde_yaml::from_str::<Value>(text).unwrap();
        let port = self.tls.lock().unwrap().grpc.port();
        let at_tls = yaml(&format!("socket_address: {{address: 127.0.0.1, port_value: {port}}}"));
        let path = |name: &str| self.authority.path(name);
        let shown = format!(
            "tls_certificates: [{{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}]",
            path("envoy.pem"),
            path("envoy.key")
        );
        // Neither SNI nor ALPN, as Envoy Gateway has it.
        let socket_of = |shown: &str| {
            yaml(&format!(
                "
name: envoy.transport_sockets.tls
typed_config:
  '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
  common_tls_context:
    {shown}
    validation_context: {{trusted_ca: {{filename: {}}}}}",
                path("ca.pem")
            ))
        };
        let (mut tls, mut nobody) = (copy("tls", at_tls.clone()), copy("tls-nobody", at_tls));
        tls["transport_socket"] = socket_of(&shown);
        nobody["transport_socket"] = socket_of("");
        let pipe = yaml(&format!("pipe: {{path: {}}}", socket(&self.files)));
        vec![tls, nobody, copy("unix", pipe)]
    }
}

fn socket(files: &TempDir) -> String {
    files.path().join("grpc.sock").to_str().unwrap().to_owned()
}

/// The policy lets an address pass twenty times.
#[track_caller]
fn is_limited(gateway: &Gateway, door: &str, address: &str) {
    let statuses = (0..21).map(|_| send(address, gateway.door(door), "GET /leads", &[]).status);
    let statuses: Vec<u16> = statuses.collect();
    assert_eq!((&statuses[..20], statuses[20]), (&[200; 20][..], 429));
}

fn an_envoy_with_a_certificate_is_limited_over_tls(gateway: &Gateway) {
    is_limited(gateway, "tls", "127.0.6.1");
    let http = gateway.transports.tls.lock().unwrap().http;
    let days = "spillway_tls_certificate_expiry_days{port=\"grpc\"} ";
    assert!(get(http, "/metrics").contains(days));
}

fn an_envoy_without_one_is_refused_and_the_log_says_why(gateway: &Gateway) {
    let answer = send("127.0.6.2", gateway.door("tls-nobody"), "GET /leads", &[]);
    assert!(answer.status == 200 && !answer.has_header_starting("x-ratelimit-limit"), "{answer:?}");
    let line = gateway.transports.tls.lock().unwrap().log_line("the client has shown no certificate");
    assert!(line.contains("a TLS handshake for gRPC failed: "), "{line}");
}

/// Its connections are closed each time, too.
fn certificates_rotate_and_no_call_of_an_envoy_fails(gateway: &Gateway) {
    const ROTATIONS: u64 = 3;
    const CLIENTS: usize = 4;
    let (door, transports) = (gateway.door("tls"), &gateway.transports);
    let http = transports.tls.lock().unwrap().http;
    let number = |name: &str| {
        let text = get(http, "/metrics");
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let loads = || number("spillway_tls_certificate_loads_total{port=\"grpc\"}");
    let connections = || gateway.statistic("cluster.tls.upstream_cx_total");
    // What is not limited, because Spillway could not be asked, has no header of a limit.
    let is_limited = |client: usize| {
        let answer = send(&format!("127.0.7.{client}"), door, "GET /leads", &[]);
        matches!(answer.status, 200 | 429) && answer.has_header_starting("x-ratelimit-limit")
    };
    assert!(is_limited(CLIENTS + 1));
    let (before, done) = (connections(), AtomicBool::new(false));
    let counted: Vec<(usize, usize)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (done, is_limited) = (&done, &is_limited);
                scope.spawn(move || {
                    let (mut calls, mut limited) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        calls += 1;
                        limited += usize::from(is_limited(client + 1));
                    }
                    (calls, limited)
                })
            })
            .collect();
        // However this ends, the clients do.
        let rotated = catch_unwind(AssertUnwindSafe(|| {
            for rotation in 1..=ROTATIONS {
                let loaded = loads();
                transports.authority.issue("server", "*.envoy-gateway-system", Good::Now);
                wait_for("the new certificate", || (loads() > loaded).then_some(()));
                wait_for("a new connection", || (connections() >= before + rotation).then_some(()));
            }
        }));
        done.store(true, Ordering::Relaxed);
        let counted = clients.into_iter().map(|client| client.join().unwrap()).collect();
        rotated.unwrap();
        counted
    });
    for (calls, limited) in counted {
        let failed = || {
            let names =
                ["connect_fail", "connect_timeout", "destroy_remote_with_active_rq", "protocol_error"];
            let count =
                |name| format!("{name}: {}", gateway.statistic(&format!("cluster.tls.upstream_cx_{name}")));
            let names: Vec<_> = names.iter().map(count).collect();
            let reset = ["rx_reset", "tx_reset", "timeout", "pending_failure_eject"];
            let count = |name: &&str| {
                format!("{name}: {}", gateway.statistic(&format!("cluster.tls.upstream_rq_{name}")))
            };
            [names, reset.iter().map(count).collect()].concat().join(", ")
        };
        assert!(
            calls > 0 && limited == calls,
            "{} of {calls} calls were not limited; {}",
            calls - limited,
            failed()
        );
    }
}

fn an_envoy_is_limited_over_a_unix_socket(gateway: &Gateway) {
    is_limited(gateway, "unix", "127.0.6.3");
}
