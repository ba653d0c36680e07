//! How many requests a second one Valkey decides on, beside a plain pipeline of the same client that only counts.
//!
//! One thread, a number of requests in flight, two windows for each. All rows are taken in turns, round by round, so that what
//! else the machine does hits all of them alike: read the ratios. Behind that, hot keys: leases of counters in that Valkey beside counters
//! in memory.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it reports, and ends when anything is wrong")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::clock::{Clock, SystemClock};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{
    LeasedSession, LeasedStore, MemoryStore, RedisOptions, RedisSession, RedisStore, Session, Store,
};
use support::valkey::Valkey;
use tokio::time::Instant;

const SUBJECTS: u64 = 1_000;
/// Subjects that are asked for all the time.
const HOT: u64 = 16;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A row of the report.
enum Row {
    /// Two pairs of INCRBY and EXPIRE in one pipeline.
    Pipeline(redis::aio::MultiplexedConnection),
    Store(RedisSession, Algorithm),
    /// Hot keys in memory, and leases of them.
    Memory(MemoryStore),
    Leased(LeasedSession<RedisSession>),
}

impl Row {
    async fn ask(&self, clock: &SystemClock, subject: u64) {
        match self {
            Self::Pipeline(connection) => {
                let mut pipeline = redis::pipe();
                for (window, seconds) in [("m", 60), ("h", 3_600)] {
                    let key = format!("plain:{subject:032x}:{window}");
                    pipeline.cmd("INCRBY").arg(&key).arg(1).cmd("EXPIRE").arg(&key).arg(seconds).ignore();
                }
                pipeline.query_async::<Vec<u64>>(&mut connection.clone()).await.unwrap();
            }
            Self::Store(session, algorithm) => {
                let charges = charges(subject, *algorithm);
                let deadline = Instant::now() + TIMEOUT;
                session.apply(Mode::AllOrNothing, &charges, Timestamp::EPOCH, deadline).await.unwrap();
            }
            Self::Memory(session) => hot(session, clock, subject).await,
            Self::Leased(session) => hot(session, clock, subject).await,
        }
    }

    /// Asks for a while with so many requests in flight.
    async fn round(&self, server: &Valkey, in_flight: u64) -> Round {
        let (here_before, there_before) = (cpu_here(), cpu_there(server));
        let (begun, done) = (Instant::now(), Rc::new(Cell::new(0_u32)));
        let clock = &SystemClock::new();
        let clients = (0..in_flight).map(|client| {
            let done = Rc::clone(&done);
            async move {
                let mut subject = client * 7_919;
                while begun.elapsed() < ROUND {
                    subject = (subject + 7_919) % SUBJECTS;
                    self.ask(clock, subject).await;
                    done.set(done.get() + 1);
                }
            }
        });
        join_all(clients).await;
        let (took, requests) = (begun.elapsed(), f64::from(done.get()));
        let of_each = |time: f64| time * 1e6 / requests;
        Round {
            rate: requests / took.as_secs_f64(),
            here: of_each(cpu_here() - here_before),
            there: of_each(cpu_there(server) - there_before),
        }
    }
}

/// What came of one.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Requests a second.
    rate: f64,
    /// Microseconds of CPU time for each request: of this client, and of the server.
    here: f64,
    there: f64,
}

/// Seconds of CPU time that this thread took.
fn cpu_here() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap().as_secs_f64()
}

/// Seconds of CPU time that the server took.
fn cpu_there(server: &Valkey) -> f64 {
    let info: String = redis::from_redis_value(server.ask(&["INFO", "cpu"]).unwrap()).unwrap();
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).unwrap();
    of("used_cpu_user:") + of("used_cpu_sys:")
}

/// What a request asks of two windows.
fn charges(subject: u64, algorithm: Algorithm) -> [Charge; 2] {
    [60, 3_600].map(|seconds| {
        let window = Duration::from_secs(seconds);
        let (algorithm, limit) = match algorithm {
            Algorithm::SlidingWindow(_) => (Algorithm::sliding_window(window), 100),
            _ => (Algorithm::aligned(window), 1_000_000_000),
        };
        let share = Share {
            algorithm,
            limit,
            hits: Hits::ONE,
            count_denied: false,
            settles: false,
            enforced: true,
            stage: 0,
            cell: 0,
        };
        Charge { key: CellKey { high: seconds, low: subject }, durability: Durability::None, share }
    })
}

/// As a worker asks: at once if that is possible. Others have their turn then.
async fn hot<S: Session>(session: &S, clock: &SystemClock, subject: u64) {
    let charges = charges(subject % HOT, Algorithm::aligned(Duration::from_secs(1)));
    let now = clock.now();
    if session.apply_now(Mode::AllOrNothing, &charges, now).is_none() {
        let deadline = Instant::now() + TIMEOUT;
        session.apply(Mode::AllOrNothing, &charges, now, deadline).await.unwrap();
    }
    tokio::task::yield_now().await;
}

fn store(server: &Valkey, prefix: &str, together: usize) -> RedisSession {
    shared(server, prefix, together).session()
}

fn shared(server: &Valkey, prefix: &str, together: usize) -> RedisStore {
    let mut options = RedisOptions::read(&server.url()).unwrap();
    options.prefix = prefix.into();
    options.timeout = Some(TIMEOUT);
    options.together = together;
    RedisStore::with(options).unwrap()
}

fn main() {
    let server = Valkey::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = redis::Client::open(server.url()).unwrap();
        let plain = client.get_multiplexed_async_connection().await.unwrap();
        let fixed = Algorithm::aligned(Duration::from_secs(1));
        let sliding = Algorithm::sliding_window(Duration::from_secs(1));
        let rows = [
            ("pipeline of two INCRBY + EXPIRE", Row::Pipeline(plain)),
            ("store, fixed windows", Row::Store(store(&server, "b:", 16), fixed)),
            ("store, fixed windows, each alone", Row::Store(store(&server, "u:", 1), fixed)),
            ("store, sliding windows of 100", Row::Store(store(&server, "s:", 16), sliding)),
        ];
        for in_flight in [1, 64, 256] {
            compare(&server, &rows, in_flight, "the pipeline").await;
        }
        let hot = [
            ("hot keys in memory", Row::Memory(MemoryStore::default())),
            ("hot keys, leased", Row::Leased(LeasedStore::new(shared(&server, "l:", 16), 2).session())),
        ];
        compare(&server, &hot, 64, "memory").await;
    });
}

/// Takes all rows in turns, and prints them.
async fn compare(server: &Valkey, rows: &[(&str, Row)], in_flight: u64, first: &str) {
    println!(
        "{in_flight} in flight, median of {ROUNDS} rounds; CPU time for each request, of the client and of the server:"
    );
    let mut rounds = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, row), rounds) in rows.iter().zip(&mut rounds) {
            rounds.push(row.round(server, in_flight).await);
        }
    }
    for ((name, _), of_row) in rows.iter().zip(&rounds) {
        let median = |number: &dyn Fn(&Round) -> f64| sorted(of_row.iter().map(number))[ROUNDS / 2];
        let ratios = sorted(of_row.iter().zip(&rounds[0]).map(|(of_row, first)| of_row.rate / first.rate));
        println!(
            "  {name:<34} {:>8.0}/s   {:.2} of {first} ({:.2} to {:.2})   {:5.2} µs {:5.2} µs",
            median(&|round| round.rate),
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1],
            median(&|round| round.here),
            median(&|round| round.there),
        );
    }
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}
