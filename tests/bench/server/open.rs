//! An open loop: calls come when they are due, whether or not others were answered.
//!
//! A call's time runs from the moment at which it was due, so a server that stands still is charged for every call that
//! was due meanwhile. The loop never sleeps: timers are coarser than what is measured.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::calls::{Calls, Keys, Shape};
use crate::histogram::Histogram;
use crate::http2::Answer;
use crate::wire::Connection;

/// When calls are due, and what a client does with those that it cannot send or that take too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) per_second: f64,
    pub(crate) time: Duration,
    pub(crate) connections: usize,
    pub(crate) overload: Option<Overload>,
}

/// How Envoy treats a server that is too slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overload {
    /// In flight on one connection; a call for which there is no place is dropped.
    pub(crate) most_in_flight: usize,
    /// After so long a call is reset.
    pub(crate) patience: Duration,
    /// The same as a `grpc-timeout`.
    pub(crate) grpc_timeout: &'static str,
}

/// What became of the calls that were due.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) due: u64,
    pub(crate) answered: u64,
    /// Answered too late, though before they were reset.
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) reset: u64,
    pub(crate) failed: u64,
    /// Why connections had to be made anew.
    pub(crate) lost: Vec<String>,
    pub(crate) latencies: Histogram,
    /// The longest that this loop itself was held up: no latency below it is the server's alone.
    pub(crate) stall: Duration,
}

/// Calls that are answered long after the last was due are not waited for.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) fn run(server: SocketAddr, schedule: &Schedule, shape: &Shape, keys: Keys) -> io::Result<Outcome> {
    let timeout = schedule.overload.map(|overload| overload.grpc_timeout);
    let mut connections = (0..schedule.connections)
        .map(|_| Connection::open(server, timeout))
        .collect::<io::Result<Vec<_>>>()?;
    let mut calls = Calls::new(shape, keys);
    let mut buffer = vec![0; 1 << 18];
    let mut outcome = Outcome::default();
    let patience = schedule.overload.map_or(u64::MAX, |overload| nanos(overload.patience));
    let most = schedule.overload.map_or(usize::MAX, |overload| overload.most_in_flight);
    let (end, grace) = (nanos(schedule.time), nanos(GRACE));

    let started = Instant::now();
    let due = |call: u64| {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a run has fewer calls and nanoseconds than a float has exact numbers"
        )]
        let at = (call as f64 * 1e9 / schedule.per_second) as u64;
        at
    };
    let (mut last, mut turn) = (0, 0);
    loop {
        let now = nanos(started.elapsed());
        outcome.stall = outcome.stall.max(Duration::from_nanos(now - last));
        last = now;
        while due(outcome.due) <= now.min(end) {
            let place = (0..connections.len()).map(|next| (turn + next) % connections.len()).find(|&at| {
                let http2 = &connections[at].http2;
                http2.open() < most && http2.has_room(calls.length())
            });
            match place {
                Some(at) => {
                    connections[at].http2.call(calls.next(), due(outcome.due));
                    turn = at + 1;
                }
                None if schedule.overload.is_some() => outcome.dropped += 1,
                // It stays due.
                None => break,
            }
            outcome.due += 1;
        }
        for connection in &mut connections {
            let mut done = |due, answer| {
                let took = nanos(started.elapsed()) - due;
                match answer {
                    Answer::Failed => outcome.failed += 1,
                    _ if took > patience => outcome.late += 1,
                    _ => outcome.answered += 1,
                }
                outcome.latencies.record(took);
            };
            let written = connection.write();
            // Read even so: what the server said last tells why it hung up.
            let exchanged = connection.read(&mut buffer, &mut done).and(written);
            if let Err(error) = exchanged {
                if schedule.overload.is_none() {
                    return Err(error);
                }
                // Envoy connects anew; the calls that were in flight have failed.
                outcome.failed += connection.http2.open() as u64;
                outcome.lost.push(error.to_string());
                *connection = Connection::open(server, timeout)?;
            }
            outcome.reset += connection.http2.cancel_below(now.saturating_sub(patience));
        }
        let waiting = connections.iter().any(|connection| connection.http2.open() > 0);
        if now > end && (!waiting || now > end + grace) {
            return Ok(outcome);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
