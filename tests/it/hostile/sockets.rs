//! Connections that are opened and never used, by the hundred, on either port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::time::Instant;

use super::raw::{PREFACE, settings};
use super::{Others, POLICY};
use crate::support::{PATIENCE, Spillway, directory, get};

const DESCRIPTORS: &str = "256";

/// Three hundred connections that have said `greeting` and no more.
fn idle(address: SocketAddr, greeting: &[u8]) -> Vec<TcpStream> {
    (0..300)
        .map(|_| {
            let mut socket = TcpStream::connect(address).unwrap();
            // Whoever had to make room already is gone.
            let _ = socket.write_all(greeting);
            socket
        })
        .collect()
}

#[test]
fn idle_connections_on_either_port_keep_nobody_out() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let spillway = Spillway::start_with_descriptors(config.path(), DESCRIPTORS);
    // Those who call keep their connections.
    let others = Others::of(&spillway);
    others.are_answered(&spillway);
    let greeting = [PREFACE, &settings(&[])].concat();
    let held = [
        idle(spillway.grpc, &greeting),
        idle(spillway.http, b""),
        idle(spillway.grpc, b""),
        idle(spillway.http, b"GET /ready HTTP/1.1\r\n"),
    ];
    others.are_answered(&spillway);
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 200"));
    let metrics = get(spillway.http, "/metrics");
    assert!(metrics.contains("spillway_accept_failures_total 0\n"), "{metrics}");
    assert!(metrics.contains("spillway_connections_refused_total 0\n"), "{metrics}");
    drop(held);
}

/// Whether `/ready` says so. A port that is full closes the connection.
fn is_ready(http: SocketAddr) -> bool {
    let mut answer = Vec::new();
    let asked = TcpStream::connect(http).and_then(|mut socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")?;
        socket.read_to_end(&mut answer)
    });
    asked.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

/// Requests that are begun and not finished use their connections no longer than a probe takes.
#[test]
fn requests_that_are_not_finished_keep_no_probe_out() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let spillway = Spillway::start(config.path(), "127.0.0.1:0");
    for _ in 0..3 {
        let held = idle(spillway.http, b"POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
        // What was begun in the last tenth of a second may be all that there is room for.
        let until = Instant::now() + Duration::from_secs(2);
        while !is_ready(spillway.http) {
            assert!(Instant::now() < until, "those that are not finished have all places");
        }
        drop(held);
    }
}

#[test]
fn more_connections_than_descriptors_are_refused_at_the_start() {
    let output = crate::support::command(&["serve", "--max-connections", "100000000000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let reported = String::from_utf8(output.stderr).unwrap();
    assert!(reported.starts_with("error: 100000000000 connections need "), "{reported}");
}
