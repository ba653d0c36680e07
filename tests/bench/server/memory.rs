//! What a counter takes, with everything around it.

use std::error::Error;

use crate::accounting::resident;
use crate::http2::Answer;
use crate::policies::LEADS;
use crate::report::Bound;
use crate::rows::Results;
use crate::servers::{Kind, Servers, VERY_MANY_KEYS};

/// Fills `kind` with a million counters and tells how much the process has grown for each.
pub(crate) fn per_counter(
    kind: Kind,
    what: &str,
    servers: &mut Servers,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let server = servers.get(kind)?;
    let before = resident(server.id())?;
    server.fill(&LEADS, VERY_MANY_KEYS, Answer::Ok)?;
    let after = resident(server.id())?;
    let counters = server.counters()?;
    #[allow(clippy::cast_precision_loss, reason = "memory is far smaller")]
    let each = (after - before) as f64 / counters as f64;
    let row = results.add("7", what, Bound::AtMost(96.0), each);
    row.note =
        format!("{counters} counters; resident before {} MiB, after {} MiB", before >> 20, after >> 20);
    Ok(())
}
