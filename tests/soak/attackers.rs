//! Clients that mean harm, one function for what each does in a turn.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use prost::Message;

use crate::hpack;
use crate::raw::{DATA, END_STREAM, LONGEST, PREFACE, RST_STREAM, begun, frame, headers, settings, whole};

/// What the attackers ask for, and what their neighbour does.
pub(crate) fn policy() -> String {
    let mut yaml = "
domain: d
descriptors:
  - {key: good, rate_limit: {unit: hour, requests_per_unit: 1000000000}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: invented, rate_limit: {requests_per_unit: 10, per: 1h, algorithm: sliding_window}}
"
    .to_owned();
    for n in 0..300 {
        let _ = writeln!(
            yaml,
            "  - {{key: path, value: /api/*/r{n}/*, rate_limit: {{unit: hour, requests_per_unit: 9}}}}"
        );
    }
    yaml
}

/// Somebody who does the same thing again and again.
pub(crate) struct Attacker {
    pub(crate) what: &'static str,
    /// How long a turn takes at least.
    pub(crate) every: Duration,
    pub(crate) attack: fn(grpc: SocketAddr, http: SocketAddr),
}

pub(crate) const ATTACKERS: [Attacker; 11] = [
    Attacker {
        what: "100 connections that come and go",
        every: Duration::from_millis(500),
        attack: comes_and_goes,
    },
    Attacker {
        what: "20 connections of another protocol",
        every: Duration::from_millis(200),
        attack: another_protocol,
    },
    Attacker { what: "600 idle connections on both ports", every: Duration::from_secs(20), attack: idle },
    Attacker {
        what: "100 unfinished calls of 4 MB to health",
        every: Duration::from_secs(2),
        attack: unfinished,
    },
    Attacker {
        what: "1,000 calls that are cancelled at once",
        every: Duration::from_secs(1),
        attack: takes_back,
    },
    Attacker {
        what: "200 invented keys of a sliding window",
        every: Duration::from_millis(100),
        attack: invents_keys,
    },
    Attacker {
        what: "a request of 1,024 descriptors",
        every: Duration::from_millis(250),
        attack: many_descriptors,
    },
    Attacker {
        what: "a request of 1 MB of one value",
        every: Duration::from_millis(250),
        attack: long_value,
    },
    Attacker {
        what: "a path of 60 kB, where there are 300 wildcards",
        every: Duration::from_millis(100),
        attack: long_path,
    },
    Attacker {
        what: "a request beyond the bounds",
        every: Duration::from_millis(250),
        attack: beyond_bounds,
    },
    Attacker { what: "a slow HTTP request", every: Duration::from_millis(100), attack: slow_http },
];

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    socket.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(50))).ok()?;
    Some(socket)
}

fn greeting() -> Vec<u8> {
    [PREFACE, &settings(&[])].concat()
}

/// Sends what there is and reads what comes within a moment.
fn say(address: SocketAddr, bytes: &[u8]) {
    let Some(mut socket) = connect(address) else { return };
    if socket.write_all(bytes).is_ok() {
        let mut answer = [0; LONGEST];
        for _ in 0..256 {
            if socket.read(&mut answer).is_ok_and(|length| length > 0) {
                continue;
            }
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Both);
}

fn framed(descriptors: Vec<RateLimitDescriptor>) -> Vec<u8> {
    let request = RateLimitRequest { domain: "d".to_owned(), descriptors, hits_addend: 1 };
    let message = request.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
}

fn descriptor(key: &str, value: String) -> RateLimitDescriptor {
    let entry = Entry { key: key.to_owned(), value };
    RateLimitDescriptor { entries: vec![entry], ..RateLimitDescriptor::default() }
}

/// A call whose message is too long for one frame.
fn call(stream: u32, message: &[u8]) -> Vec<u8> {
    let mut bytes = begun(stream);
    for piece in message.chunks(LONGEST) {
        bytes.extend(frame(DATA, 0, stream, piece));
    }
    bytes.extend(frame(DATA, END_STREAM, stream, &[]));
    bytes
}

fn comes_and_goes(grpc: SocketAddr, _: SocketAddr) {
    (0..100).for_each(|_| drop(connect(grpc)));
}

fn another_protocol(grpc: SocketAddr, _: SocketAddr) {
    for _ in 0..20 {
        if let Some(mut socket) = connect(grpc) {
            let _ = socket.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
    }
}

fn idle(grpc: SocketAddr, http: SocketAddr) {
    let held: Vec<_> = (0..600).filter_map(|n| connect(if n % 2 == 0 { grpc } else { http })).collect();
    for mut socket in &held {
        let _ = socket.write_all(PREFACE);
    }
    // For as long as the server keeps them, up to a while.
    let mut first = held.first();
    for _ in 0..100 {
        if first.take_if(|socket| (&mut &**socket).read(&mut [0]).is_ok_and(|length| length == 0)).is_some() {
            break;
        }
    }
}

fn unfinished(grpc: SocketAddr, _: SocketAddr) {
    let part = [&[0, 0, 0x3f, 0xff, 0xff][..], &[0; 1_019]].concat();
    let mut bytes = greeting();
    for n in 0..100 {
        let stream = 2 * n + 1;
        bytes.extend(headers(stream, &hpack::call_of("/grpc.health.v1.Health/Check", &[])));
        bytes.extend(frame(DATA, 0, stream, &part));
        bytes.extend(frame(DATA, 0, stream, &part));
    }
    say(grpc, &bytes);
}

fn takes_back(grpc: SocketAddr, _: SocketAddr) {
    let mut bytes = greeting();
    for n in 0..1_000 {
        let stream = 2 * n + 1;
        bytes.extend(begun(stream));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    say(grpc, &bytes);
}

fn invents_keys(grpc: SocketAddr, _: SocketAddr) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = greeting();
    for n in 0..200 {
        let key = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        bytes.extend(whole(2 * n + 1, &framed(vec![descriptor("invented", key)])));
    }
    say(grpc, &bytes);
}

fn many_descriptors(grpc: SocketAddr, _: SocketAddr) {
    let many = (0..1_024).map(|n| descriptor("invented", n.to_string())).collect();
    say(grpc, &[greeting(), call(1, &framed(many))].concat());
}

/// As much as the windows of a new connection allow; the rest never comes.
fn long_value(grpc: SocketAddr, _: SocketAddr) {
    let message = framed(vec![descriptor("free", "v".repeat(1_000_000))]);
    say(grpc, &[greeting(), call(1, &message[..60_000]), call(3, &message[..4_000])].concat());
    let whole = framed((0..16).map(|_| descriptor("free", "v".repeat(3_500))).collect());
    say(grpc, &[greeting(), call(1, &whole)].concat());
}

fn long_path(grpc: SocketAddr, _: SocketAddr) {
    let path = format!("/api/{}", "/r1".repeat(20_000));
    say(grpc, &[greeting(), call(1, &framed(vec![descriptor("path", path)]))].concat());
}

fn beyond_bounds(grpc: SocketAddr, _: SocketAddr) {
    let many = (0..1_100).map(|_| descriptor("free", "x".to_owned())).collect();
    let too_long = [0, 0xff, 0xff, 0xff, 0xff, 0];
    say(grpc, &[greeting(), call(1, &framed(many)), call(3, &too_long)].concat());
}

fn slow_http(_: SocketAddr, http: SocketAddr) {
    say(http, b"GET /metrics HTTP/1.1\r\nX-Slow: ");
}
