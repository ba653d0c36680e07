//! How long an answer takes when its counter is kept on a disk, against one in memory.

use std::error::Error;

use crate::calls::Keys;
use crate::cores::Cores;
use crate::open::{self, Schedule};
use crate::policies::LEADS;
use crate::report::Bound;
use crate::rows::Results;
use crate::sample::{BATCHED, Times};
use crate::servers::{DAILY_KEYS, Kind, Servers};

/// Few enough that no call waits for the one before it, many enough that reservations run out and are renewed.
const PER_SECOND: f64 = 5_000.0;

/// One round: the same calls, when they are due, to one server after the other.
pub(crate) fn round(
    round: usize,
    servers: &mut Servers,
    cores: &Cores,
    times: Times,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let mut taken = [0.0; 2];
    let mut note = String::new();
    let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    for at in order {
        let server = servers.get([Kind::DailyInMemory, Kind::DailyOnDisk][at])?;
        cores.load()?;
        let keys = Keys::Uniform { first: 0, count: DAILY_KEYS };
        let time = times.measured * 4;
        let schedule =
            Schedule { per_second: PER_SECOND, time, connections: BATCHED.connections, overload: None };
        let outcome = open::run(server.grpc, &schedule, &LEADS, keys)?;
        let latencies = &outcome.latencies;
        let (half, most) = (latencies.per_mille(500), latencies.per_mille(990));
        let (longest, stall) = (latencies.longest(), outcome.stall);
        note += &format!(
            "; {}: p50 {half:?}, p99 {most:?}, longest {longest:?}, longest stall of the load {stall:?}",
            ["memory", "disk"][at]
        );
        taken[at] = most.as_secs_f64();
    }
    let what = "p99 of an answer at 5,000 requests per second, counters on a disk and inside their reservations / in memory";
    let row = results.add("11", what, Bound::AtMost(1.2), taken[1] / taken[0]);
    row.note = format!("round {}{note}", round + 1);
    Ok(())
}
