//! TLS of the real program: whom each port lets in, what is said of the others, and certificates that change meanwhile.

mod admin;
mod files;
mod rotation;
mod unix;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use spillway::tls::ClientFiles;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use crate::rls::{descriptor, request};
use crate::support::tls::{Authority, Good};
use crate::support::{Spillway, command, directory, get};

pub(super) const POLICY: &str = "
domain: d
descriptors: [{key: key, rate_limit: {unit: year, requests_per_unit: 100000}}]
";

const SPIFFE: &str = "spiffe://cluster.local/ns/default/sa/envoy";

/// The files of a client of `authority`'s, that are of this name.
pub(super) fn files(authority: &Authority, name: Option<&str>) -> ClientFiles {
    let path = |ending: &str| name.map(|name| PathBuf::from(authority.path(&format!("{name}.{ending}"))));
    let identity = path("pem").zip(path("key"));
    ClientFiles { authorities: Some(authority.path("ca.pem").into()), identity }
}

/// Opens TLS connections to a server.
#[derive(Clone)]
pub(super) struct Connector {
    server: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Connector {
    pub(super) async fn open(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TcpStream::connect(self.server).await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.open().await.map(TokioIo::new) })
    }
}

pub(super) fn connector(server: SocketAddr, config: ClientConfig) -> Connector {
    Connector { server, config: Arc::new(config) }
}

/// A client that opens its connections with these files.
pub(super) fn client(server: SocketAddr, files: &ClientFiles) -> Channel {
    client_with(server, files.config(&[b"h2"]).unwrap())
}

pub(super) fn client_with(server: SocketAddr, config: ClientConfig) -> Channel {
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector(server, config))
}

/// What is answered to one hit; why there is no answer, for people who look at a test that failed.
pub(super) async fn ask(channel: &Channel) -> Result<Code, String> {
    let mut client = RateLimitServiceClient::new(channel.clone());
    let answer = client.should_rate_limit(request(vec![descriptor(&[("key", "a")])])).await;
    answer.map(|answer| answer.into_inner().overall_code()).map_err(|error| format!("{error:?}"))
}

/// A server that speaks TLS for gRPC with `server.pem` of that authority, which clients are of, too.
pub(super) fn serving(authority: &Authority, more: &[&str]) -> Spillway {
    serving_with(authority, &[&["--grpc-tls-client-ca", &authority.path("ca.pem")], more].concat())
}

/// The same without anything about clients.
pub(super) fn serving_with(authority: &Authority, more: &[&str]) -> Spillway {
    let config = directory(&[("policy.yaml", POLICY)]);
    let any = "127.0.0.1:0";
    let mut serve = command(&["serve", "--grpc-addr", any, "--http-addr", any]);
    serve.args(["--grpc-tls-cert", &authority.path("server.pem")]);
    serve.args(["--grpc-tls-key", &authority.path("server.key")]);
    serve.args(more).arg("--config").arg(config.path());
    let spillway = Spillway::running(&mut serve);
    spillway.keeping(config)
}

/// A number of `/metrics` with labels; 0 where it was never counted.
pub(super) fn number(spillway: &Spillway, name: &str) -> i64 {
    let text = get(spillway.http, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn failures(spillway: &Spillway, reason: &str) -> i64 {
    number(spillway, &format!("spillway_tls_handshake_failures_total{{port=\"grpc\",reason=\"{reason}\"}}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_let_in_by_its_certificate_and_others_are_refused_with_the_reason() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("server", "localhost", Good::Now);
    for (file, name, good) in [
        ("by-name", "envoy.default", Good::Now),
        ("by-wildcard", "*.gateways.example", Good::Now),
        ("by-wildcard-itself", "*.system", Good::Now),
        ("by-address", "10.0.0.7", Good::Now),
        ("by-uri", SPIFFE, Good::Now),
        ("other", "somebody.else", Good::Now),
        ("expired", "envoy.default", Good::Once),
        ("revoked", "envoy.default", Good::Now),
    ] {
        authority.issue(file, name, good);
    }
    stranger.issue("stranger", "envoy.default", Good::Now);
    authority.revoke("crl", &["revoked"]);
    let names = format!("envoy.default,envoy.gateways.example,*.system,10.0.0.7,{SPIFFE}");
    let crl = authority.path("crl.pem");
    let mut spillway = serving(&authority, &["--grpc-tls-client-san", &names, "--grpc-tls-crl", &crl]);
    assert!(
        spillway.seen.iter().any(|line| line.contains("TLS for gRPC with a certificate for `localhost`"))
    );

    for name in ["by-name", "by-wildcard", "by-wildcard-itself", "by-address", "by-uri"] {
        assert_eq!(ask(&client(spillway.grpc, &files(&authority, Some(name)))).await, Ok(Code::Ok), "{name}");
    }
    let foreign = ClientFiles {
        authorities: Some(authority.path("ca.pem").into()),
        ..files(&stranger, Some("stranger"))
    };
    for (files, reason, expected) in [
        (files(&authority, None), "certificate_missing", "the client has shown no certificate"),
        (
            files(&authority, Some("other")),
            "certificate_name",
            "the client's certificate is for `somebody.else`, which is none of the names that are let in",
        ),
        (files(&authority, Some("expired")), "certificate_expired", "the client's certificate expired "),
        (files(&authority, Some("revoked")), "certificate_revoked", "the client's certificate is revoked"),
        (foreign, "certificate_unknown_issuer", "no authority that is trusted for clients has issued"),
    ] {
        let answer = ask(&client(spillway.grpc, &files)).await;
        assert!(answer.is_err(), "{reason}: {answer:?}");
        let line = spillway.log_line(expected);
        assert!(
            line.contains("a TLS handshake for gRPC failed: ") && line.contains("peer=127.0.0.1:"),
            "{line}"
        );
        assert!(failures(&spillway, reason) > 0, "{reason}");
    }
    // A server that the client does not trust.
    let distrusts = ClientFiles {
        authorities: Some(stranger.path("ca.pem").into()),
        ..files(&authority, Some("by-name"))
    };
    assert!(ask(&client(spillway.grpc, &distrusts)).await.is_err());
    spillway.log_line("the client does not accept the server's certificate (");
    // A client without TLS, as an Envoy whose cluster lacks `transport_socket`.
    let plain = Channel::from_shared(format!("http://{}", spillway.grpc)).unwrap().connect_lazy();
    assert!(ask(&plain).await.is_err());
    spillway.log_line("the client does not speak TLS");
    // A probe is nothing to tell.
    let before = spillway.lines_so_far();
    drop(TcpStream::connect(spillway.grpc).await.unwrap());
    assert_eq!(ask(&client(spillway.grpc, &files(&authority, Some("by-name")))).await, Ok(Code::Ok));
    assert_eq!(spillway.lines_so_far(), before, "{:?}", &spillway.seen[before..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_is_told_once_a_second_however_often_it_is_met() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    let mut spillway = serving(&authority, &[]);
    let began = tokio::time::Instant::now();
    let nobody = connector(spillway.grpc, files(&authority, None).config(&[b"h2"]).unwrap());
    for _ in 0..60 {
        if let Ok(mut stream) = nobody.open().await {
            let _ = stream.read(&mut [0; 1]).await;
        }
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    spillway.signal("TERM");
    spillway.wait();
    let lines = spillway.seen.iter().filter(|line| line.contains("has shown no certificate")).count();
    assert!((1..=seconds + 2).contains(&lines), "{lines} lines in {seconds} s");
    let rest = |line: &&String| line.contains("TLS handshakes that failed (certificate_missing)");
    assert!(lines == 60 || spillway.seen.iter().any(|line| rest(&line) || line.contains("held_back=")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_is_announced_and_a_client_that_names_no_protocol_is_served() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    let mut spillway = serving_with(&authority, &[]);
    let with = |protocols: &[&[u8]]| files(&authority, None).config(protocols).unwrap();
    for protocols in [&[&b"h2"[..]][..], &[], &[b"http/1.1", b"h2"]] {
        assert_eq!(ask(&client_with(spillway.grpc, with(protocols))).await, Ok(Code::Ok), "{protocols:?}");
    }
    let stream = connector(spillway.grpc, with(&[b"h2"])).open().await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert!(connector(spillway.grpc, with(&[b"http/1.1"])).open().await.is_err());
    spillway.log_line("the client offers other protocols than the one of this port (ALPN)");
    let days = number(&spillway, "spillway_tls_certificate_expiry_days{port=\"grpc\"}");
    assert!(days > 365, "{days}");
}

/// Whoever begins handshakes and does not go on takes nothing from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_handshakes_keep_nobody_out() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    let mut spillway = serving_with(&authority, &["--max-connections", "100"]);
    let mut stalled = Vec::new();
    for n in 0..300_u32 {
        let mut socket = TcpStream::connect(spillway.grpc).await.unwrap();
        if n % 2 == 0 {
            // The head of a record that does not come.
            let _ = socket.write_all(&[22, 3, 1, 1, 0]).await;
        }
        stalled.push(socket);
    }
    let served = client(spillway.grpc, &files(&authority, None));
    assert_eq!(ask(&served).await, Ok(Code::Ok));
    let open = number(&spillway, "spillway_connections_open{port=\"grpc\"}");
    assert!((2..=100).contains(&open), "handshakes are counted among connections: {open}");
    // They are ended in time, and one that sent something is told of.
    spillway.log_line("the client has not finished the handshake within 10 s");
    assert_eq!(ask(&served).await, Ok(Code::Ok));
}
