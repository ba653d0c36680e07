//! How long a client that does nothing wrong waits for its answers while another attacks.

use std::error::Error;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use prost::Message;

use crate::attackers::{self, ATTACKERS, Attacker};
use crate::cores::Cores;
use crate::raw::Raw;
use crate::report::Bound;
use crate::rows::Results;
use crate::sample::Times;
use crate::support::{Spillway, directory};

/// Between two calls of the neighbour: it is not the load that is measured.
const PAUSE: Duration = Duration::from_millis(1);

/// Each attacker by itself, for twice as long as a sample takes, after the neighbour was alone for as long as one does.
pub(crate) fn round(cores: &Cores, times: Times, results: &mut Results) -> Result<(), Box<dyn Error>> {
    cores.any()?;
    let config = directory(&[("policy.yaml", &attackers::policy())]);
    let spillway = Spillway::start(config.path(), "127.0.0.1:0");
    let mut neighbour = Raw::to(&spillway);
    for attacker in &ATTACKERS {
        let alone = percentile(calls(&mut neighbour, times.measured));
        let attacked = percentile(attacked(&mut neighbour, &spillway, attacker, 2 * times.measured));
        let what = format!("99th percentile in ms of a neighbour's calls, beside {}", attacker.what);
        let row = results.add("10", &what, Bound::AtMost(5.0), attacked);
        row.note = format!("alone {alone:.3} ms: {:.1} times as long", attacked / alone);
    }
    Ok(cores.load()?)
}

/// The neighbour's calls while the attacker has its turns.
fn attacked(neighbour: &mut Raw, spillway: &Spillway, attacker: &Attacker, time: Duration) -> Vec<Duration> {
    let (stop, stopped) = channel::<()>();
    let (grpc, http) = (spillway.grpc, spillway.http);
    thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let turn = Instant::now();
                (attacker.attack)(grpc, http);
                let left = attacker.every.saturating_sub(turn.elapsed());
                if stopped.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        let latencies = calls(neighbour, time);
        drop(stop);
        latencies
    })
}

/// One call after the other.
fn calls(neighbour: &mut Raw, time: Duration) -> Vec<Duration> {
    let message = good();
    let (begun, mut latencies) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let called = Instant::now();
        neighbour.call(&message);
        latencies.push(called.elapsed());
        thread::sleep(PAUSE);
    }
    latencies
}

/// In milliseconds, that of 99 in a hundred.
fn percentile(mut latencies: Vec<Duration>) -> f64 {
    latencies.sort_unstable();
    let at = (latencies.len() * 99 / 100).min(latencies.len().saturating_sub(1));
    latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

fn good() -> Vec<u8> {
    let entries = vec![Entry { key: "good".to_owned(), value: "x".to_owned() }];
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    let message = RateLimitRequest { domain: "d".to_owned(), descriptors, hits_addend: 1 }.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).unwrap_or_default().to_be_bytes(), &message].concat()
}
