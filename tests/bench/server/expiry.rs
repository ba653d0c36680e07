//! Latency while the counters of windows that are over are thrown away.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::calls::Keys;
use crate::cores::Cores;
use crate::http2::Answer;
use crate::open::{self, Schedule};
use crate::policies::LEADS;
use crate::report::Bound;
use crate::rows::Results;
use crate::sample::{BATCHED, Subject, Times, sample};
use crate::servers::{Kind, Servers};

const EXPIRING: u64 = 200_000;
/// Spillway keeps a counter for 60 seconds after its window's end, here 3 seconds after its start, and looks every 10:
/// the sweep that takes them is between 63 and 73 seconds from when they were made. Some time before is for preparation.
const DUE: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(62);
const END: Duration = Duration::from_secs(74);

/// When the first and the last of the counters were made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    first: Instant,
    last: Instant,
}

/// Makes the counters that will expire.
pub(crate) fn fill(servers: &mut Servers) -> Result<Filled, Box<dyn Error>> {
    let server = servers.get(Kind::Expiring)?;
    let first = Instant::now();
    server.fill(&LEADS, EXPIRING, Answer::Ok)?;
    Ok(Filled { first, last: Instant::now() })
}

/// When to measure.
pub(crate) fn due(filled: Filled) -> Instant {
    filled.first + DUE
}

/// Asks for other keys at half of the capacity until the sweep is over. When it is too late for that, because the
/// machine has other things to do, the counters are made anew, and it returns when.
pub(crate) fn measure(
    filled: Filled,
    servers: &mut Servers,
    cores: &Cores,
    times: Times,
    results: &mut Results,
) -> Result<Option<Filled>, Box<dyn Error>> {
    if Instant::now() > filled.first + LATEST {
        return fill(servers).map(Some);
    }
    let keys = Keys::Uniform { first: EXPIRING, count: 1000 };
    let subject = Subject { keys, ..Subject::new("capacity, one limit, 4 × 32", Kind::Expiring) };
    let server = servers.get(subject.kind)?;
    let capacity = sample(server, &subject, times, cores)?.per_second;
    let before = server.counters()?;
    let schedule = Schedule {
        per_second: capacity / 2.0,
        time: (filled.last + END).saturating_duration_since(Instant::now()),
        connections: BATCHED.connections,
        overload: None,
    };
    let outcome = open::run(server.grpc, &schedule, &LEADS, keys)?;
    let after = server.counters()?;
    if outcome.failed > 0 {
        return Err(format!("{} calls failed while counters expired", outcome.failed).into());
    }
    let latency = |part| outcome.latencies.per_mille(part).as_secs_f64() * 1e3;
    let what = "99.9th percentile in ms at half of the capacity, while 200,000 counters expire";
    let row = results.add("8", what, Bound::AtMost(2.0), latency(999));
    row.note = format!(
        "{} calls at {:.0} a second; median {:.3} ms, 99th {:.3} ms, longest {:.3} ms; counters before {before}, after \
         {after}; longest stall of the load {:.3} ms",
        outcome.due,
        schedule.per_second,
        latency(500),
        latency(990),
        outcome.latencies.longest().as_secs_f64() * 1e3,
        outcome.stall.as_secs_f64() * 1e3,
    );
    if before < EXPIRING || after > EXPIRING / 2 {
        row.values.push(f64::NAN);
        row.note += "; NOT VALID: they did not expire meanwhile";
    }
    Ok(None)
}
