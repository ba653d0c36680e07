//! How many requests a second the whole server decides on whose counters are in a Valkey.

use std::error::Error;

use crate::calls::Keys;
use crate::closed::{Closed, Load, Until};
use crate::cores::Cores;
use crate::http2::Answer;
use crate::policies::LEADS;
use crate::report::Bound;
use crate::rows::Results;
use crate::sample::Times;
use crate::servers::{DAILY_KEYS, Kind, Servers};

/// As many as wait for a Valkey where a busy Envoy asks.
const LOAD: Load = Load { connections: 4, in_flight: 64 };
/// Five times what Limitador's Redis mode did on a machine of two such cores: 7,000 to 9,000.
const LEAST: f64 = 45_000.0;

/// One round. The server has a core for itself; the load and the Valkey share the other one.
pub(crate) fn round(
    round: usize,
    servers: &mut Servers,
    cores: &Cores,
    times: Times,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let server = servers.get(Kind::DailyShared)?;
    cores.load()?;
    let keys = Keys::Uniform { first: 0, count: DAILY_KEYS };
    let mut load = Closed::open(server.grpc, LOAD, &LEADS, keys, Answer::Ok)?;
    load.run(Until::Elapsed(times.warm_up))?;
    let ran = load.run(Until::Elapsed(times.measured))?;
    #[allow(clippy::cast_precision_loss, reason = "no run has so many")]
    let per_second = ran.answers as f64 / ran.elapsed.as_secs_f64();
    let what = "requests per second whose counters are in a Valkey, which shares a core with the load";
    let row = results.add("14", what, Bound::AtLeast(LEAST), per_second);
    row.note = format!("round {}: {} answers in {:?}", round + 1, ran.answers, ran.elapsed);
    Ok(())
}
