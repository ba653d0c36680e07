//! A real Envoy in its default failure mode turned round: a call that fails is a 503, so that it shows.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{PATIENCE, Process};

/// How often the good client calls.
const EVERY: Duration = Duration::from_millis(20);

/// Envoy and an upstream behind it.
pub(crate) struct Gateway {
    _envoy: Process,
    _files: TempDir,
    address: SocketAddr,
}

impl Gateway {
    /// One that asks `spillway`.
    pub(crate) fn before(spillway: SocketAddr) -> Self {
        let upstream = upstream();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("envoy.yaml");
        std::fs::write(&file, configuration(address, upstream, spillway)).unwrap();
        let found = Command::new("python3").arg("envoy/find.py").output().unwrap();
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let mut command = Command::new("sh");
        let run = format!(
            "exec {} -c {} -l error --concurrency 1 --use-dynamic-base-id",
            String::from_utf8(found.stdout).unwrap().trim(),
            file.display()
        );
        let envoy = Process::of(command.args(["-c", &run]).stdout(Stdio::null()).stderr(Stdio::null()));
        let gateway = Self { _envoy: envoy, _files: files, address };
        let asked = Instant::now();
        while gateway.call(None).1 != 200 {
            assert!(asked.elapsed() < PATIENCE, "Envoy does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        gateway
    }

    /// Calls until it is to stop, counts, and tells how long each call took.
    pub(crate) fn is_called(&self, stop: &AtomicBool, good: &AtomicU64, failed: &AtomicU64) -> Vec<Duration> {
        let (mut latencies, mut connection) = (Vec::new(), None);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let (kept, status) = self.call(connection);
            connection = kept;
            latencies.push(begun.elapsed());
            let counted = if status == 200 { good } else { failed };
            counted.fetch_add(1, Ordering::Relaxed);
            thread::sleep(EVERY.saturating_sub(begun.elapsed()));
        }
        latencies
    }

    /// One request on a connection that is kept: the status, and 0 when there is none.
    fn call(&self, kept: Option<BufReader<TcpStream>>) -> (Option<BufReader<TcpStream>>, u16) {
        let connection = kept.map_or_else(|| TcpStream::connect(self.address).map(BufReader::new), Ok);
        let Ok(mut connection) = connection else { return (None, 0) };
        let status = request(&mut connection).unwrap_or_default();
        ((status == 200).then_some(connection), status)
    }
}

fn request(connection: &mut BufReader<TcpStream>) -> Option<u16> {
    connection.get_ref().set_read_timeout(Some(PATIENCE)).ok()?;
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest.get(..3)?.parse().ok()?;
        } else if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().ok()?;
        } else if line.is_empty() {
            break;
        }
    }
    connection.read_exact(&mut vec![0; length]).ok()?;
    Some(status)
}

/// Answers everything with 200.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut connection = BufReader::new(connection);
                let mut line = String::new();
                while connection.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if line.trim_end().is_empty() {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        if connection.get_mut().write_all(answer).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

fn configuration(address: SocketAddr, upstream: SocketAddr, spillway: SocketAddr) -> String {
    let mut clusters = String::new();
    for (name, to, http2) in [("upstream", upstream, false), ("spillway", spillway, true)] {
        let options = if http2 {
            "      typed_extension_protocol_options:\n        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n          \
             '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n          \
             explicit_http_config: {http2_protocol_options: {}}\n"
        } else {
            ""
        };
        let port = to.port();
        let _ = write!(
            clusters,
            "    - name: {name}\n      type: STATIC\n      connect_timeout: 1s\n{options}      load_assignment:\n        \
             cluster_name: {name}\n        endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
             {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]\n"
        );
    }
    let port = address.port();
    format!(
        "static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: good
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ['*']
                      routes: [{{match: {{prefix: /}}, route: {{cluster: upstream}}}}]
                      rate_limits: [{{actions: [{{generic_key: {{descriptor_key: good, descriptor_value: x}}}}]}}]
                http_filters:
                  - name: envoy.filters.http.ratelimit
                    typed_config:
                      '@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
                      domain: d
                      timeout: 0.1s
                      failure_mode_deny: true
                      status_on_error: {{code: ServiceUnavailable}}
                      rate_limit_service:
                        transport_api_version: V3
                        grpc_service: {{envoy_grpc: {{cluster_name: spillway}}}}
                  - name: envoy.filters.http.router
                    typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{clusters}"
    )
}
