//! Connections that are opened and never used, by the hundred, on either port.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::raw::{PREFACE, settings};
use super::{Others, POLICY};
use crate::support::{Spillway, directory, get};

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

#[test]
fn more_connections_than_descriptors_are_refused_at_the_start() {
    let output = crate::support::command(&["serve", "--max-connections", "100000000000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let reported = String::from_utf8(output.stderr).unwrap();
    assert!(reported.starts_with("error: 100000000000 connections need "), "{reported}");
}
