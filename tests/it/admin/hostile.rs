//! Who means harm, or is only slow: Envoy's calls go on as ever, and memory stays bounded.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tokio::time::Instant;

use super::{Server, ask, shop};
use crate::rls::{channel, descriptor, request};
use crate::support::get;

fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.spillway.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The median time of a hundred calls.
async fn median_call(server: &Server) -> Duration {
    let mut client = RateLimitServiceClient::new(channel(&server.spillway).await);
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        client.should_rate_limit(request(vec![descriptor(&[("remote_address", "x")])])).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[50]
}

fn open(admin: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin).unwrap();
    // One that was closed for others takes no more.
    let _ = stream.write_all(text.as_bytes());
    stream
}

#[tokio::test]
async fn ten_thousand_wrong_tokens_are_refused_and_fill_no_log() {
    let config = shop();
    let token = config.path().join("token.txt");
    fs::write(&token, "0123456789abcdef").unwrap();
    let path = token.to_str().unwrap().to_owned();
    let mut server = Server::with(config, &["--admin-token-file", &path]);
    let (before, admin) = (resident_kib(&server), server.admin);
    let begun = Instant::now();
    let guessing: Vec<_> = (0..4)
        .map(|guesser| {
            thread::spawn(move || {
                for n in 0..2_500 {
                    let guess = format!("Authorization: Bearer guess-{guesser}-{n}-is-as-long");
                    assert_eq!(ask(admin, "GET", "/api/v1/config", &[&guess], "").status, 401);
                }
            })
        })
        .collect();
    let meanwhile = median_call(&server).await;
    for guesser in guessing {
        guesser.join().unwrap();
    }
    assert!(meanwhile < Duration::from_millis(20), "a call took {meanwhile:?}");
    let lines = server.spillway.lines_so_far() as u64;
    assert!(lines < 30 + begun.elapsed().as_secs() * 2, "{lines} lines");
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more");
    assert!(get(server.spillway.http, "/metrics").contains("spillway_admin_refused_requests_total 10000"));
}

#[tokio::test]
async fn what_is_too_long_or_comes_too_slowly_is_refused() {
    let server = Server::start();
    let before = resident_kib(&server);
    let long = "x".repeat(1 << 20);
    for path in ["/api/v1/explain", "/api/v1/login", "/api/v1/counters/lookup"] {
        for _ in 0..20 {
            let mut stream = open(
                server.admin,
                &format!(
                    "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
                    server.admin,
                    long.len()
                ),
            );
            let _ = stream.write_all(long.as_bytes());
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            // Without a token the login reads no body.
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 413") || path.ends_with("login");
            assert!(refused, "{path}: {answer}");
        }
    }
    let deep = "[".repeat(60_000);
    assert_eq!(server.post("/api/v1/explain", &deep).status, 400);
    let head =
        ask(server.admin, "GET", "/api/v1/config", &[&format!("X-Long: {}", "y".repeat(64 << 10))], "");
    assert_eq!(head.status, 431, "{head:?}");
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more");
}

#[tokio::test]
async fn idle_connections_and_viewers_who_read_nothing_keep_nobody_out() {
    let server = Server::start();
    let live = format!("GET /api/v1/live HTTP/1.1\r\nHost: {}\r\n\r\n", server.admin);
    let mut viewers: Vec<TcpStream> = (0..100).map(|_| open(server.admin, &live)).collect();
    // As many as there may be descriptors for.
    let idle: Vec<TcpStream> = (0..1_000).map(|_| open(server.admin, "GET /api")).collect();
    let meanwhile = median_call(&server).await;
    assert!(meanwhile < Duration::from_millis(20), "a call took {meanwhile:?}");
    assert_eq!(server.get("/api/v1/config").status, 200, "there is room for who asks");
    drop(idle);
    // Those who watched before still do.
    let mut told = [0; 512];
    let watching =
        viewers.iter_mut().filter_map(|viewer| viewer.read(&mut told).ok()).filter(|read| *read > 0).count();
    assert!(watching >= 90, "{watching} of 100");
}

#[tokio::test]
async fn what_clients_send_is_data_wherever_it_is_shown() {
    let server = Server::start();
    let script = "<script>alert(1)</script>\r\nX-Evil: 1";
    server.limited(&[("remote_address", script), ("path", script)]).await;
    for _ in 0..3 {
        server.limited(&[("remote_address", script)]).await;
    }
    for path in ["/api/v1/denials", "/api/v1/unmatched", "/api/v1/%3Cscript%3E", "/rlconfig"] {
        let answer = server.get(path);
        assert!(
            !answer.head.contains("x-evil") && answer.head.contains("nosniff"),
            "{path}: {}",
            answer.head
        );
        let is_data = ["content-type: application/json", "content-type: text/plain"];
        assert!(is_data.iter().any(|kind| answer.head.contains(kind)), "{path}: {}", answer.head);
        assert!(!answer.body.contains("\r\n"), "{path}: {}", answer.body);
    }
    let denials = server.get("/api/v1/denials").json();
    assert_eq!(
        denials["denials"][0]["descriptor"],
        "remote_address=<script>alert(1)</script>\\r\\nX-Evil: 1"
    );
}
