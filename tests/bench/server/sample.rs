//! One sample: a server under a closed loop for a moment, and what it cost.

use std::error::Error;
use std::time::Duration;

use crate::accounting::Cpu;
use crate::calls::{Keys, Shape};
use crate::closed::{Closed, Load, Until};
use crate::cores::Cores;
use crate::http2::Answer;
use crate::policies::LEADS;
use crate::servers::{Kind, MANY_KEYS, Server};

/// What is measured: a server, and how it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) shape: &'static Shape,
    pub(crate) keys: Keys,
    pub(crate) load: Load,
    pub(crate) expected: Answer,
    pub(crate) place: Place,
}

/// Where the load comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A core of its own.
    OwnCore,
    /// Whichever the scheduler picks, as the server's workers are on all of them.
    AnyCore,
}

/// The load that most rows are about.
pub(crate) const BATCHED: Load = Load { connections: 4, in_flight: 32 };

impl Subject {
    /// Many keys in batches, all let through; the others differ from it.
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Self {
        let keys = Keys::Uniform { first: 0, count: MANY_KEYS };
        let (load, expected, place) = (BATCHED, Answer::Ok, Place::OwnCore);
        Self { name, kind, shape: &LEADS, keys, load, expected, place }
    }
}

/// What one moment showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// The server's CPU time for one answer, in microseconds.
    pub(crate) cpu: f64,
    pub(crate) per_second: f64,
    /// How much of one core the server and the load had.
    pub(crate) server_busy: f64,
    /// How much of the time the server could have run and was not let.
    pub(crate) held_up: f64,
    pub(crate) load_busy: f64,
}

/// How long to warm up, and how long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

pub(crate) fn sample(
    server: &Server,
    subject: &Subject,
    times: Times,
    cores: &Cores,
) -> Result<Sample, Box<dyn Error>> {
    match subject.place {
        Place::OwnCore => cores.load()?,
        Place::AnyCore => cores.any()?,
    }
    let Subject { shape, load, keys, expected, .. } = *subject;
    let run = || {
        let mut closed = Closed::open(server.grpc, load, shape, keys, expected)?;
        closed.run(Until::Elapsed(times.warm_up))?;
        // No call is in flight now or at the end, so the books have all of the calls in between and no others.
        let this = std::process::id();
        settled();
        let before = (Cpu::of(server.id())?, Cpu::of(this)?);
        let ran = closed.run(Until::Elapsed(times.measured))?;
        settled();
        let (server, load) = (Cpu::of(server.id())?.since(&before.0), Cpu::of(this)?.since(&before.1));
        #[allow(clippy::cast_precision_loss, reason = "no run has so many answers")]
        let answers = ran.answers as f64;
        let elapsed = ran.elapsed.as_secs_f64();
        Ok::<_, std::io::Error>(Sample {
            cpu: server.ran.as_secs_f64() * 1e6 / answers,
            per_second: answers / elapsed,
            server_busy: server.ran.as_secs_f64() / elapsed,
            held_up: server.waited.as_secs_f64() / elapsed,
            load_busy: load.ran.as_secs_f64() / elapsed,
        })
    };
    let sample = run().map_err(|error| format!("{}: {error}", subject.name));
    cores.load()?;
    Ok(sample?)
}

/// Waits until the last answer's thread has gone to sleep, which is when the kernel books its time.
fn settled() {
    std::thread::sleep(Duration::from_millis(3));
}
