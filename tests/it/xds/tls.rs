//! TLS to a control plane that wants to see a certificate, as Envoy Gateway's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use spillway::tls::{Certificate, Identity, authorities};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{reported, serve, until_told};
use crate::support::ads::{Ads, hourly};
use crate::support::tls::{Authority, Good};
use crate::support::{PATIENCE, Spillway, command};

/// TLS 1.3 before a control plane, which lets in whoever has a certificate of the authority; and the names on those.
struct Front {
    address: SocketAddr,
    names: Arc<Mutex<Vec<String>>>,
}

impl Front {
    async fn before(ads: SocketAddr, authority: &Authority) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trusted = Arc::new(authorities(authority.path("ca.pem").as_ref()).unwrap());
        let clients = WebPkiClientVerifier::builder_with_provider(trusted, Arc::clone(&provider));
        let own =
            Identity::read(authority.path("server.pem").as_ref(), authority.path("server.key").as_ref());
        let own = rustls::sign::SingleCertAndKey::from(Arc::new(own.unwrap().certified));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let names = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&names);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                    let shown = Certificate::read(&shown).unwrap().names;
                    seen.lock().unwrap().extend(shown.iter().map(ToString::to_string));
                    let mut server = TcpStream::connect(ads).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        });
        Self { address, names }
    }

    /// Waits until one was shown with that name.
    async fn shown(&self, name: &str) {
        let begun = tokio::time::Instant::now();
        while !self.names.lock().unwrap().iter().any(|shown| shown == name) {
            assert!(begun.elapsed() < PATIENCE, "only {:?}", self.names.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Serves with these variables, and with that server's URL.
fn start(front: &Front, variables: &[(&str, &str)]) -> Spillway {
    let url = front.address.to_string();
    let set = [
        ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
        ("CONFIG_GRPC_XDS_SERVER_URL", &url),
        ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
        ("FORCE_START_WITHOUT_INITIAL_CONFIG", "true"),
    ];
    serve(&[], &[], &[&set, variables].concat())
}

// Waiting for a line of the log holds up a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_shown_and_a_new_one_as_soon_as_it_is_there() {
    let authority = Authority::new();
    authority.issue("server", "envoy-gateway", Good::Now);
    authority.issue("client", "first.client", Good::Now);
    let mut ads = Ads::start();
    ads.set(&[hourly("d", "key", 2)]);
    let front = Front::before(ads.address, &authority).await;
    let (ca, certificate, key) =
        (authority.path("ca.pem"), authority.path("client.pem"), authority.path("client.key"));
    let mut spillway = start(
        &front,
        &[
            ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", &ca),
            ("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", &certificate),
            ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", &key),
            ("CONFIG_GRPC_XDS_SERVER_TLS_SAN", "envoy-gateway"),
        ],
    );
    ads.accepted().await;
    front.shown("first.client").await;

    // A key that is not the certificate's is half of a change; the connection stays as it is.
    std::fs::write(&key, "").unwrap();
    authority.issue("client", "second.client", Good::Now);
    front.shown("second.client").await;
    spillway.log_line("certificate files have changed: a new connection");
    assert_eq!(reported(&spillway, "d").await, Some((2, 0)));
    ads.set(&[hourly("d", "key", 3)]);
    until_told(&spillway, "d", Some((3, 0))).await;
}

// Waiting for a line of the log holds up a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_there_is_no_tls_is_told_in_a_sentence() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("server", "envoy-gateway", Good::Now);
    authority.issue("client", "late", Good::Once);
    let ads = Ads::start();
    let front = Front::before(ads.address, &authority).await;
    let (ca, other_ca) = (authority.path("ca.pem"), other.path("ca.pem"));
    let (certificate, key) = (authority.path("client.pem"), authority.path("client.key"));
    let trusting = [("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", ca.as_str())];
    let named = [trusting[0], ("CONFIG_GRPC_XDS_SERVER_TLS_SAN", "envoy-gateway")];
    let too_late = [
        named[0],
        named[1],
        ("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", &certificate),
        ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", &key),
    ];
    for (variables, told) in [
        (trusting.as_slice(), "its certificate is for `envoy-gateway`, not for `127.0.0.1`"),
        (&[("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", &other_ca)], "no authority that is trusted here has issued"),
        (&named, "it asks for a client certificate. Name one and its key"),
        (&too_late, "it does not accept the client certificate (CertificateExpired)"),
    ] {
        // A server that hangs up at once may be gone before its alert is read; then one of the next attempts tells.
        let soon =
            [("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "100ms"), ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "100ms")];
        let mut spillway = start(&front, &[variables, &soon].concat());
        let line = spillway.log_line(told);
        assert!(line.contains("the xDS server is away"), "{line}");
    }
    let url = format!("https://{}?ca=/no/such/ca.pem", front.address);
    let output = command(&["serve", "--xds", &url]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot read `/no/such/ca.pem`: there is no such file"), "{stderr}");
}
