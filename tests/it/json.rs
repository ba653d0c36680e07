//! `POST /json`: `ShouldRateLimit` without protobuf, as envoyproxy/ratelimit has it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spillway::app::{self, Bounds, Listeners};
use spillway::clock::SystemClock;
use spillway::config::{self, Options};
use spillway::limiter::Limiter;
use spillway::telemetry::Metrics;
use tokio::time::Instant;

use crate::support::stores::{Failing, Fails};
use crate::support::{PATIENCE, Spillway, command, directory, metric};

const POLICY: &str = "
domain: shop
headers: {emit: always, dialect: x-ratelimit}
deny: {content_type: text/plain, body: 'too many'}
descriptors:
- {key: user, rate_limit: {name: users, unit: year, requests_per_unit: 2}}
";

/// The status line, and the body.
pub(crate) fn post(http: SocketAddr, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has refused it reads the rest no more.
    let _ = write!(stream, "POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

const ANN: &str = r#"{"domain": "shop", "descriptors": [{"entries": [{"key": "user", "value": "ann"}]}]}"#;

#[test]
fn a_request_in_json_is_decided_as_one_of_envoys_is() {
    let spillway = Spillway::serving(POLICY);
    let (status, body) = post(spillway.http, ANN);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(answer["overallCode"], "OK");
    let reported = &answer["statuses"][0];
    assert_eq!((&reported["code"], &reported["limitRemaining"]), (&json!("OK"), &json!(1)));
    let limit = &reported["currentLimit"];
    assert_eq!((&limit["requestsPerUnit"], &limit["unit"]), (&json!(2), &json!("YEAR")));
    assert!(reported["durationUntilReset"].as_str().is_some_and(|text| text.ends_with('s')), "{reported}");
    assert_eq!(answer["responseHeadersToAdd"][0], json!({"key": "X-RateLimit-Limit", "value": "2"}));

    // What a request costs may be a text, as protobuf writes numbers of 64 bits.
    let two = ANN.replace("}]}]", "}], \"hitsAddend\": \"1\"}]");
    assert_eq!(post(spillway.http, &two).0, "HTTP/1.1 200 OK");
    let (status, body) = post(spillway.http, ANN);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, "HTTP/1.1 429 Too Many Requests");
    assert_eq!((&answer["overallCode"], &answer["rawBody"]), (&json!("OVER_LIMIT"), &json!("dG9vIG1hbnk=")));
    assert_eq!(metric(spillway.http, "spillway_requests_total{domain=\"shop\",code=\"over_limit\"}"), 1);
}

#[test]
fn what_is_no_request_is_answered_with_400() {
    let spillway = Spillway::serving(POLICY);
    for (body, told) in [
        ("domain: shop", "not JSON"),
        (
            r#"{"domain": "shop", "descriptor": []}"#,
            "the request: unknown field `descriptor`, expected one of `domain`, `descriptors`",
        ),
        (r#"{"descriptors": [{}]}"#, "domain"),
    ] {
        let (status, answer) = post(spillway.http, body);
        assert!(
            status == "HTTP/1.1 400 Bad Request" && answer.contains(told),
            "{body:.60}: {status} {answer}"
        );
    }
    assert!(crate::support::get(spillway.http, "/json").starts_with("HTTP/1.1 405"));
}

/// An error lets a request pass, so a client must not be able to cause one by what it sends.
#[test]
fn what_is_beyond_a_bound_is_refused_as_over_grpc_and_keeps_no_probe_waiting() {
    let config = directory(&[("d.yaml", POLICY)]);
    let many = format!("{{\"domain\": \"shop\", \"descriptors\": [{}]}}", vec!["{}"; 1025].join(","));
    let long = ANN.replace("ann", &"a".repeat(3 << 20));
    let spillway = Spillway::start(config.path(), "127.0.0.1:0");
    for body in [&many, &long] {
        let (status, answer) = post(spillway.http, body);
        assert_eq!(status, "HTTP/1.1 429 Too Many Requests", "{answer}");
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["overallCode"], "OVER_LIMIT");
    }
    assert_eq!(metric(spillway.http, "spillway_requests_beyond_bounds_total"), 2);

    let any = "127.0.0.1:0";
    let mut serving = command(&[
        "serve",
        "--grpc-addr",
        any,
        "--http-addr",
        any,
        "--admin-addr",
        "off",
        "--beyond-bounds",
        "error",
    ]);
    let spillway = Spillway::running(serving.arg("--config").arg(config.path()));
    for (body, told) in [(&many, "at most 1024 descriptors"), (&long, "at most 2 MiB")] {
        let (status, answer) = post(spillway.http, body);
        assert!(status == "HTTP/1.1 500 Internal Server Error" && answer.contains(told), "{status} {answer}");
    }
}

/// It need not be sent to be refused.
#[test]
fn a_request_that_says_it_is_too_long_is_answered_before_it_has_come() {
    let spillway = Spillway::serving(POLICY);
    let mut stream = TcpStream::connect(spillway.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let begun = Instant::now();
    write!(stream, "POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n{{").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

/// Clients that send most of what they may and then nothing keep others out, but no more memory than that.
#[test]
fn stalled_requests_hold_32_mib_together_until_they_are_given_up() {
    const FREE: &str = r#"{"domain": "shop", "descriptors": [{"entries": [{"key": "free"}]}]}"#;
    let spillway = Spillway::serving(POLICY);
    let asked = || post(spillway.http, FREE).0;
    assert_eq!(asked(), "HTTP/1.1 200 OK");
    let most = vec![b' '; (2 << 20) - 1];
    let stall = || {
        let mut stream = TcpStream::connect(spillway.http).unwrap();
        write!(stream, "POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 2 << 20).unwrap();
        // A server that has no room for it may close the connection.
        let _ = stream.write_all(&most);
        stream
    };
    // Sixteen leave no room. One that comes to its end while another one is being answered is refused, and the next takes its place.
    let begun = Instant::now();
    let mut stalled: Vec<_> = (0..16).map(|_| stall()).collect();
    while asked() != "HTTP/1.1 429 Too Many Requests" {
        assert!(begun.elapsed() < PATIENCE, "{} are let in", stalled.len());
        stalled.push(stall());
    }
    drop(stalled);
    while asked() != "HTTP/1.1 200 OK" {
        assert!(begun.elapsed() < 2 * PATIENCE, "there is no room again");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_answered_with_500() {
    let policy = config::load_text("d.yaml", POLICY, Options::default()).unwrap().policy;
    let store = Failing::in_turn(&[Some(Fails::Before)]);
    let limiter = Arc::new(Limiter::new(policy, store, SystemClock::new()));
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listeners = Listeners::bind(any_port, any_port).await.unwrap();
    let http = listeners.http.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or_default() };
    let (metrics, bounds) = (Arc::new(Metrics::default()), Bounds::default());
    tokio::spawn(app::serve(limiter, metrics, None, listeners, bounds, Duration::ZERO, shutdown));
    let (status, told) = tokio::task::spawn_blocking(move || post(http, ANN)).await.unwrap();
    assert!(status == "HTTP/1.1 500 Internal Server Error" && !told.is_empty(), "{status} {told}");
    drop(stop);
}
