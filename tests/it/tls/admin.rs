//! TLS on the admin port, where a certificate is as good as the token.

use std::fs;
use std::net::SocketAddr;

use spillway::tls::ClientFiles;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{POLICY, connector, files};
use crate::support::tls::{Authority, Good};
use crate::support::{Spillway, command, directory};

const TOKEN: &str = "0123456789abcdef";
const ANN: &str = "spiffe://example.com/people/ann";

struct Admin {
    spillway: Spillway,
    address: SocketAddr,
}

fn serve(authority: &Authority, more: &[&str]) -> Admin {
    let config = directory(&[("policy.yaml", POLICY)]);
    let any = "127.0.0.1:0";
    let mut serve = command(&["serve", "--grpc-addr", any, "--http-addr", any, "--admin-addr", "0.0.0.0:0"]);
    serve.args(["--admin-tls-cert", &authority.path("server.pem")]);
    serve.args(["--admin-tls-key", &authority.path("server.key")]);
    serve.args(more).arg("--config").arg(config.path());
    let spillway = Spillway::running(&mut serve).keeping(config);
    let line = spillway.seen.iter().find(|line| line.contains("listening for admin")).unwrap();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    Admin { spillway, address: SocketAddr::from(([127, 0, 0, 1], port)) }
}

impl Admin {
    /// The head of what is answered; nothing where the client is not let in.
    async fn ask(&self, files: &ClientFiles, request: &str) -> String {
        let connector = connector(self.address, files.config(&[b"http/1.1"]).unwrap());
        let Ok(mut stream) = connector.open().await else { return String::new() };
        let request = format!("{request}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

const CONFIG: &str = "GET /api/v1/config HTTP/1.1\r\nHost: ops.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_let_in_by_their_certificates_and_audit_lines_name_them() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    authority.issue("ann", ANN, Good::Now);
    let mut admin = serve(&authority, &["--admin-tls-client-ca", &authority.path("ca.pem")]);
    assert!(admin.ask(&files(&authority, Some("ann")), CONFIG).await.starts_with("HTTP/1.1 200"));
    assert_eq!(admin.ask(&files(&authority, None), CONFIG).await, "");
    let line =
        admin.spillway.log_line("a TLS handshake for admin failed: the client has shown no certificate");
    assert!(line.contains("peer=127.0.0.1:"), "{line}");

    let reload = "POST /api/v1/config/reload HTTP/1.1\r\nHost: ops.example";
    // What a page of another site can have a browser send, which shows the certificate for it.
    for header in ["X-Nothing: 1", "X-Spillway-Change: 1\r\nOrigin: https://evil.example"] {
        let answer = admin.ask(&files(&authority, Some("ann")), &format!("{reload}\r\n{header}")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{header}: {answer}");
    }
    let answer =
        admin.ask(&files(&authority, Some("ann")), &format!("{reload}\r\nX-Spillway-Change: 1")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let line = admin.spillway.log_line("admin change");
    assert!(line.contains(ANN), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_token_either_lets_an_operator_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("server", "localhost", Good::Now);
    authority.issue("ann", ANN, Good::Now);
    stranger.issue("ann", ANN, Good::Now);
    let token = authority.path("token");
    fs::write(&token, TOKEN).unwrap();
    let admin = serve(
        &authority,
        &["--admin-tls-client-ca", &authority.path("ca.pem"), "--admin-token-file", &token],
    );
    let nobody = files(&authority, None);
    assert!(admin.ask(&files(&authority, Some("ann")), CONFIG).await.starts_with("HTTP/1.1 200"));
    assert!(admin.ask(&nobody, CONFIG).await.starts_with("HTTP/1.1 401"));
    let with_token = format!("{CONFIG}\r\nAuthorization: Bearer {TOKEN}");
    assert!(admin.ask(&nobody, &with_token).await.starts_with("HTTP/1.1 200"));
    // A wrong certificate is worse than none.
    let forged =
        ClientFiles { authorities: Some(authority.path("ca.pem").into()), ..files(&stranger, Some("ann")) };
    assert_eq!(admin.ask(&forged, &with_token).await, "");

    // Cookies are kept to TLS.
    let body = format!("{{\"token\": \"{TOKEN}\"}}");
    let login = format!(
        "POST /api/v1/login HTTP/1.1\r\nHost: ops.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let connector = connector(admin.address, nobody.config(&[b"http/1.1"]).unwrap());
    let mut stream = connector.open().await.unwrap();
    stream.write_all(login.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.to_lowercase().contains("; secure"), "{answer}");
}

#[test]
fn tls_alone_says_nothing_of_who_calls() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Good::Now);
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut serve = command(&["serve", "--admin-addr", "0.0.0.0:0"]);
    serve.args(["--admin-tls-cert", &authority.path("server.pem")]);
    serve.args(["--admin-tls-key", &authority.path("server.key"), "--config"]).arg(config.path());
    let refused = serve.output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && told.contains("`--admin-tls-client-ca PATH`"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_goes_on_ends_when_the_authority_of_its_operator_is_removed() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("server", "localhost", Good::Now);
    authority.issue("ann", ANN, Good::Now);
    let trusted = authority.path("operators.pem");
    fs::copy(authority.path("ca.pem"), &trusted).unwrap();
    let mut admin = serve(&authority, &["--admin-tls-client-ca", &trusted]);
    let connector = connector(admin.address, files(&authority, Some("ann")).config(&[b"http/1.1"]).unwrap());
    let mut stream = connector.open().await.unwrap();
    stream.write_all(b"GET /api/v1/live HTTP/1.1\r\nHost: ops.example\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    fs::copy(other.path("ca.pem"), &trusted).unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(crate::support::PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it goes on");
    admin.spillway.log_line("a connection for admin ends, as its client is let in no more");
}
