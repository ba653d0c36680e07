//! What operators do while calls go on, with 100,000 rules that were all asked: a scrape, and a reload beside a steady load.

use std::error::Error;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Keys;
use crate::cores::Cores;
use crate::open::{self, Outcome, Schedule};
use crate::policies::EACH_OF_MANY;
use crate::report::Bound;
use crate::rows::Results;
use crate::sample::{BATCHED, Times};
use crate::servers::{Kind, MANY_KEYS, Server, Servers};

/// What a server of a few thousand requests per second has: its core is busy for some of the time.
const PER_SECOND: f64 = 5_000.0;
/// From the end of one reload to the next.
const PAUSE: Duration = Duration::from_millis(500);

/// One round of the row for scrapes.
pub(crate) fn scrapes(
    round: usize,
    servers: &mut Servers,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let server = servers.get(Kind::ManyRules)?;
    let started = Instant::now();
    let text = server.scrape()?;
    let took = started.elapsed();
    let lines = text.lines().filter(|line| line.starts_with("spillway_rule_hits_total{")).count();
    if lines < 100_000 {
        return Err(format!("only {lines} of 100,000 rules are reported").into());
    }
    let what = "scrape in ms of 100,000 rules that were all reached";
    let row = results.add("12", what, Bound::AtMost(100.0), took.as_secs_f64() * 1e3);
    row.note = format!("round {}: {} bytes", round + 1, text.len());
    Ok(())
}

/// One round of the row for reloads: the same calls, when they are due, with and without them.
pub(crate) fn reloads(
    round: usize,
    servers: &mut Servers,
    cores: &Cores,
    times: Times,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let server = servers.get(Kind::ManyRules)?;
    cores.load()?;
    let (mut taken, mut note) = ([0.0; 2], String::new());
    let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    for at in order {
        let (outcome, reloads) = calls(server, times.measured * 8, at == 1)?;
        let latencies = &outcome.latencies;
        let [half, most, rare] = [500, 990, 999].map(|part| latencies.per_mille(part));
        note += &format!(
            "; {reloads} reloads: p50 {half:?}, p99 {most:?}, p99.9 {rare:?}, longest {:?}, longest stall of the load {:?}",
            latencies.longest(),
            outcome.stall
        );
        taken[at] = most.as_secs_f64();
        if at == 1 {
            #[allow(clippy::cast_precision_loss, reason = "no run has so many")]
            let failed = (outcome.due - outcome.answered) as f64;
            results.add(
                "13",
                "calls that failed beside reloads of 100,000 rules",
                Bound::AtMost(0.0),
                failed,
            );
        }
    }
    let what = "p99 of an answer at 5,000 requests per second, beside reloads of 100,000 rules on the same core / without";
    let row = results.add("13", what, Bound::AtMost(1.2), taken[1] / taken[0]);
    row.note = format!("round {}{note}", round + 1);
    Ok(())
}

/// What became of calls, and how often the policy was loaded anew meanwhile, if it was to be.
fn calls(server: &Server, time: Duration, reloads: bool) -> Result<(Outcome, usize), Box<dyn Error>> {
    let keys = Keys::Uniform { first: 0, count: MANY_KEYS };
    let schedule =
        Schedule { per_second: PER_SECOND, time, connections: BATCHED.connections, overload: None };
    let (stop, stopped) = channel::<()>();
    thread::scope(|scope| {
        let reloading = scope.spawn(move || {
            let mut many = 0;
            while reloads && stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                server.reload().map_err(|error| error.to_string())?;
                many += 1;
            }
            Ok::<_, String>(many)
        });
        let outcome = open::run(server.grpc, &schedule, &EACH_OF_MANY, keys);
        drop(stop);
        let many = reloading.join().map_err(|_| "the reloads panicked")??;
        Ok((outcome?, many))
    })
}
