//! The end: asked for once it is gentle, asked for twice it is at once.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use h2::client;
use http::{Request, StatusCode};
use prost::Message;
use prost::bytes::Bytes;

use crate::rls::{descriptor, request};
use crate::support::{Process, Spillway, directory, get, serve};

const POLICY: &str = "domain: d\ndescriptors: [{key: key, rate_limit: {unit: year, requests_per_unit: 9}}]";

/// A gRPC frame around a request for one descriptor.
fn frame() -> Bytes {
    let message = request(vec![descriptor(&[("key", "k")])]).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    Bytes::from([&[0][..], &length.to_be_bytes(), &message].concat())
}

fn call(spillway: &Spillway) -> Request<()> {
    Request::post(format!(
        "http://{}/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
        spillway.grpc
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())
    .unwrap()
}

/// A call of which the server has seen the beginning, and will see no more.
async fn unfinished_call(spillway: &Spillway) -> (client::SendRequest<Bytes>, h2::SendStream<Bytes>) {
    let socket = tokio::net::TcpStream::connect(spillway.grpc).await.unwrap();
    let (mut sender, connection) = client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let (_answer, mut body) = sender.send_request(call(spillway), false).unwrap();
    body.send_data(frame().slice(..3), false).unwrap();
    // Another call, answered, proves that the first one has arrived.
    let (other, mut other_body) = sender.send_request(call(spillway), false).unwrap();
    other_body.send_data(frame(), true).unwrap();
    other.await.unwrap();
    (sender, body)
}

#[tokio::test]
async fn a_call_in_flight_is_answered_while_nothing_new_is_taken() {
    let mut spillway = Spillway::serving(POLICY);
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 200"));
    assert!(get(spillway.http, "/healthcheck").ends_with("OK"));

    let socket = tokio::net::TcpStream::connect(spillway.grpc).await.unwrap();
    let (mut sender, connection) = client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let (answer, mut body) = sender.send_request(call(&spillway), false).unwrap();
    body.send_data(frame().slice(..3), false).unwrap();
    // Another call, answered, proves that the first one has arrived.
    let (other, mut other_body) = sender.send_request(call(&spillway), false).unwrap();
    other_body.send_data(frame(), true).unwrap();
    assert_eq!(other.await.unwrap().status(), StatusCode::OK);

    spillway.signal("TERM");
    spillway.log_line("draining");
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 503"));
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 500"));
    assert!(tokio::net::TcpStream::connect(spillway.grpc).await.is_err(), "no new connection is taken");

    body.send_data(frame().slice(3..), true).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut bytes = 0;
    while let Some(data) = answer.body_mut().data().await {
        bytes += data.unwrap().len();
    }
    assert!(bytes > 5, "an answer with a status in it");
    let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");

    // The server said goodbye, and then closed the connection.
    connection.await.unwrap().unwrap();
    assert_eq!(spillway.wait().code(), Some(0));
    assert!(spillway.seen.iter().any(|line| line.contains("drained")), "{:?}", spillway.seen);
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_hold_the_end_up_for_ever() {
    let mut spillway = Spillway::serving(POLICY);
    let _unfinished = unfinished_call(&spillway).await;

    let asked = tokio::time::Instant::now();
    spillway.signal("TERM");
    assert_eq!(spillway.wait().code(), Some(0));
    assert!(asked.elapsed().as_secs_f64() < 10.0, "took {:?}", asked.elapsed());
    assert!(spillway.seen.iter().any(|line| line.contains("cut off")), "{:?}", spillway.seen);
}

#[tokio::test]
async fn a_drain_that_is_put_off_serves_on_and_says_that_it_is_not_ready() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::running(serve().arg(config.path()).args(["--drain-delay", "2s"]));
    let asked = tokio::time::Instant::now();
    spillway.signal("TERM");
    spillway.log_line("not ready any more");
    assert!(get(spillway.http, "/ready").starts_with("HTTP/1.1 503"));
    assert!(get(spillway.http, "/healthcheck").starts_with("HTTP/1.1 500"));
    // On a new connection, too.
    let socket = tokio::net::TcpStream::connect(spillway.grpc).await.unwrap();
    let (mut sender, connection) = client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let (answer, mut body) = sender.send_request(call(&spillway), false).unwrap();
    body.send_data(frame(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    assert!(asked.elapsed().as_secs_f64() < 2.0, "too late to show anything");
    // Then it ends as without a delay.
    connection.await.unwrap().unwrap();
    assert_eq!(spillway.wait().code(), Some(0));
    assert!(asked.elapsed().as_secs_f64() >= 2.0, "{:?}", asked.elapsed());
    assert!(spillway.seen.iter().any(|line| line.contains("drained")), "{:?}", spillway.seen);
}

#[tokio::test]
async fn a_second_signal_ends_at_once_also_while_the_drain_is_put_off() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::running(serve().arg(config.path()).args(["--drain-delay", "1h"]));
    spillway.signal("TERM");
    spillway.log_line("not ready any more");
    spillway.signal("TERM");
    assert_eq!(spillway.wait().code(), Some(70));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut spillway = Spillway::serving(POLICY);
    let _unfinished = unfinished_call(&spillway).await;

    spillway.signal("TERM");
    spillway.log_line("draining");
    let asked = tokio::time::Instant::now();
    spillway.signal("INT");
    assert_eq!(spillway.wait().code(), Some(70));
    assert!(asked.elapsed().as_secs_f64() < 2.0, "took {:?}", asked.elapsed());
}

/// Files that take seconds to read, on a server that a rolling restart has thought better of.
#[test]
fn who_is_asked_to_end_while_the_files_are_read_ends_at_once() {
    let rule = |n| format!("- {{key: k, value: v{n}, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n");
    let policy = format!("domain: d\ndescriptors:\n{}", (0..200_000).map(rule).collect::<String>());
    let config = directory(&[("d.yaml", &policy)]);
    let mut process = Process::of(serve().arg(config.path()).stderr(Stdio::piped()));
    let mut log = BufReader::new(process.0.stderr.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    assert!(first.contains("starting"), "{first}");
    let killed = Command::new("kill").args(["-s", "TERM", &process.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(process.0.wait().unwrap().success());
    assert!(!rest.contains("configuration loaded"), "{rest}");
}
