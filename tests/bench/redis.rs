//! How many requests a second one Valkey decides on, beside a plain pipeline of the same client that only counts.
//!
//! One thread, a number of requests in flight, two windows for each. All rows are taken in turns, round by round, so that what
//! else the machine does hits all of them alike: read the ratios.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it reports, and ends when anything is wrong")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{RedisOptions, RedisSession, RedisStore, Session, Store};
use support::valkey::Valkey;
use tokio::time::Instant;

const SUBJECTS: u64 = 1_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A row of the report.
enum Row {
    /// Two pairs of INCRBY and EXPIRE in one pipeline.
    Pipeline(redis::aio::MultiplexedConnection),
    Store(RedisSession, Algorithm),
}

impl Row {
    async fn ask(&self, subject: u64) {
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
                let charges = [60, 3_600].map(|seconds| Charge {
                    key: CellKey { high: seconds, low: subject },
                    durability: Durability::None,
                    share: Share {
                        algorithm: match algorithm {
                            Algorithm::SlidingWindow(_) => {
                                Algorithm::sliding_window(Duration::from_secs(seconds))
                            }
                            _ => Algorithm::aligned(Duration::from_secs(seconds)),
                        },
                        limit: if matches!(algorithm, Algorithm::SlidingWindow(_)) { 100 } else { 1_000_000 },
                        hits: Hits::ONE,
                        count_denied: false,
                        settles: false,
                        enforced: true,
                        stage: 0,
                        cell: 0,
                    },
                });
                let deadline = Instant::now() + TIMEOUT;
                session.apply(Mode::AllOrNothing, &charges, Timestamp::EPOCH, deadline).await.unwrap();
            }
        }
    }

    /// Requests a second, with so many in flight.
    async fn rate(&self, in_flight: u64) -> f64 {
        let (begun, done) = (Instant::now(), Rc::new(Cell::new(0_u32)));
        let clients = (0..in_flight).map(|client| {
            let done = Rc::clone(&done);
            async move {
                let mut subject = client * 7_919;
                while begun.elapsed() < ROUND {
                    subject = (subject + 7_919) % SUBJECTS;
                    self.ask(subject).await;
                    done.set(done.get() + 1);
                }
            }
        });
        join_all(clients).await;
        f64::from(done.get()) / begun.elapsed().as_secs_f64()
    }
}

fn store(server: &Valkey, prefix: &str, together: usize) -> RedisSession {
    let mut options = RedisOptions::read(&server.url()).unwrap();
    options.prefix = prefix.into();
    options.timeout = Some(TIMEOUT);
    options.together = together;
    RedisStore::with(options).unwrap().session()
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
            println!("{in_flight} in flight, median of {ROUNDS} rounds:");
            let mut rates = vec![Vec::new(); rows.len()];
            for _ in 0..ROUNDS {
                for ((_, row), rates) in rows.iter().zip(&mut rates) {
                    rates.push(row.rate(in_flight).await);
                }
            }
            for ((name, _), of_row) in rows.iter().zip(&rates) {
                let mut ratios: Vec<f64> =
                    of_row.iter().zip(&rates[0]).map(|(rate, plain)| rate / plain).collect();
                ratios.sort_by(f64::total_cmp);
                let mut sorted = of_row.clone();
                sorted.sort_by(f64::total_cmp);
                println!(
                    "  {name:<34} {:>8.0}/s   {:.2} of the pipeline ({:.2} to {:.2})",
                    sorted[ROUNDS / 2],
                    ratios[ROUNDS / 2],
                    ratios[0],
                    ratios[ROUNDS - 1]
                );
            }
        }
    });
}
