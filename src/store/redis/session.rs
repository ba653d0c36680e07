//! One worker's way to the server. What the requests of one turn of its event loop ask for goes in one trip.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, RedisError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Failure;
use super::link::{Link, Up};
use super::options::CountedBy;
use super::wire::{self, Asked, Decided, Reply};
use super::{DECIDE, Shared};
use crate::algorithm::{Charge, Mode, Outcomes};
use crate::model::{CellKey, Few, Timestamp};
use crate::store::{Answers, Session, StoreError};

/// The most requests that wait for the server. One that stands still is not told of more.
const WAITING: usize = 4_096;
/// The most charges of one request: the script numbers its counters in two bytes.
const CHARGES: usize = 10_000;
/// A connection on which no answer came for so long is given up.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// A worker's connection to the server, which its requests share.
#[derive(Debug)]
pub struct RedisSession {
    shared: Arc<Shared>,
    link: Link,
    /// Requests of this turn of the event loop.
    queue: RefCell<Vec<Request>>,
    /// Each request that waits for the server has a share of it.
    waiting: Arc<()>,
}

/// A request that is to be sent.
struct Request {
    mode: Mode,
    charges: Few<Charge>,
    at: Option<Timestamp>,
    /// The server's time after which nobody waits any more.
    deadline: u64,
    answer: oneshot::Sender<Answer>,
    _waits: Arc<()>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("charges", &self.charges).finish_non_exhaustive()
    }
}

/// What became of a request, and what the server's clock showed.
type Answer = Result<(Decided, u64), Failure>;

impl RedisSession {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let link = Link::new(Arc::clone(&shared));
        Self { shared, link, queue: RefCell::default(), waiting: Arc::new(()) }
    }

    async fn ask(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Decided, Failure> {
        if charges.len() > CHARGES {
            return Err(Failure::Refused(format!("{} charges are too many for one request", charges.len())));
        }
        let up = self.link.up().await?;
        // Those that were given up before they were sent wait no longer.
        if Arc::strong_count(&self.waiting) > WAITING {
            self.queue.borrow_mut().retain(|request| !request.answer.is_closed());
        }
        if Arc::strong_count(&self.waiting) > WAITING {
            return Err(Failure::Refused(format!("{WAITING} requests wait for it already")));
        }
        let (answer, answered) = oneshot::channel();
        let at = match self.shared.options.clock {
            CountedBy::Server => None,
            CountedBy::Caller => Some(now),
        };
        let deadline = self.link.server_time(deadline);
        let charges = Few::from_slice(charges);
        let waits = Arc::clone(&self.waiting);
        self.queue.borrow_mut().push(Request { mode, charges, at, deadline, answer, _waits: waits });
        // Whatever else came in with this turn of the event loop goes with it.
        tokio::task::yield_now().await;
        self.send_queue(&up);
        let (decided, time) = answered.await.unwrap_or_else(|_| {
            Err(Failure::Unreachable(io::ErrorKind::Interrupted, "the request was given up".into()))
        })?;
        self.link.learn(time);
        Ok(decided)
    }

    /// Sends what is queued, unless another request has.
    fn send_queue(&self, up: &Up) {
        let mut queue = self.queue.take();
        queue.retain(|request| !request.answer.is_closed());
        while !queue.is_empty() {
            let mut charges = 0;
            let fits = |request: &&Request| {
                charges += request.charges.len();
                charges <= CHARGES
            };
            let together = queue.iter().take(self.shared.options.together).take_while(fits).count().max(1);
            let batch: Vec<Request> = queue.drain(..together).collect();
            // Its own task, for it goes on also where those who asked give up.
            tokio::spawn(run(Arc::clone(&self.shared), up.clone(), batch));
        }
    }
}

impl Session for RedisSession {
    const ANSWERS: Answers = Answers::Later;

    fn apply_now(&self, _: Mode, _: &[Charge], _: Timestamp) -> Option<Outcomes> {
        None
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        if charges.is_empty() {
            return Ok(Outcomes::new());
        }
        let asked = Instant::now();
        let deadline = deadline.min(asked + self.shared.options.timeout);
        match timeout_at(deadline, self.ask(mode, charges, now, deadline)).await {
            Ok(Ok(Decided::Outcomes(outcomes))) => Ok(outcomes),
            Ok(Ok(Decided::Unreadable)) => Err(StoreError::Unreadable {
                source: "another program or another version of Spillway wrote it".into(),
            }),
            Ok(Ok(Decided::Late)) | Err(_) => Err(StoreError::TimedOut { after: asked.elapsed() }),
            Ok(Err(failure)) => Err(failure.error(&self.shared.options)),
        }
    }
}

/// Decides on a batch in one trip, and tells each request what became of it.
async fn run(shared: Arc<Shared>, mut up: Up, batch: Vec<Request>) {
    let script = Script::of(&shared.options.prefix, &batch);
    let reply = timeout(SILENT_FOR, script.run(&shared, &mut up)).await.unwrap_or_else(|_| {
        up.is_broken();
        let words = format!("no answer within {} ms", SILENT_FOR.as_millis());
        Err(Failure::Unreachable(io::ErrorKind::TimedOut, words))
    });
    let garbled = |error: wire::Garbled| Failure::Garbled(error.to_string());
    let mut reply = match &reply {
        Ok(bytes) => Reply::new(bytes).map_err(garbled),
        Err(failure) => Err(failure.clone()),
    };
    for request in batch {
        let answer = match &mut reply {
            Ok(reply) => reply.next(&request.charges).map(|decided| (decided, reply.time)).map_err(garbled),
            Err(failure) => Err(failure.clone()),
        };
        // Who does not wait any more need not be told.
        let _ = request.answer.send(answer);
    }
}

/// One run of the script.
#[derive(Debug)]
struct Script {
    keys: Vec<Vec<u8>>,
    requests: Vec<u8>,
}

impl Script {
    fn of(prefix: &str, batch: &[Request]) -> Self {
        let mut script = Self { keys: Vec::new(), requests: Vec::new() };
        let mut places: HashMap<CellKey, u16> = HashMap::new();
        for request in batch {
            let asked = Asked { mode: request.mode, deadline: request.deadline, at: request.at };
            let keys = &mut script.keys;
            let place = |charge: &Charge| {
                *places.entry(charge.key).or_insert_with(|| {
                    keys.push(key(prefix, charge.key));
                    u16::try_from(keys.len() - 1).unwrap_or(u16::MAX)
                })
            };
            let places: Few<u16> = request.charges.iter().map(place).collect();
            wire::write(&mut script.requests, asked, &request.charges, &places);
        }
        script
    }

    async fn run(&self, shared: &Shared, up: &mut Up) -> Result<Vec<u8>, Failure> {
        let by_hash = self.command("EVALSHA", shared.script.get_hash());
        let answer: Result<Vec<u8>, RedisError> = by_hash.query_async(&mut up.connection).await;
        let answer = match answer {
            // It runs and is kept from now on.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.command("EVAL", DECIDE).query_async(&mut up.connection).await
            }
            answer => answer,
        };
        answer.map_err(|error| {
            // One that may only be read from was the right one until others took over from it.
            let is_replica = matches!(error.code(), Some("READONLY" | "MASTERDOWN"));
            if error.is_unrecoverable_error() || error.is_io_error() || is_replica {
                up.is_broken();
            }
            Failure::of(&error)
        })
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        command.arg(&self.requests);
        command
    }
}

/// What the server knows a counter by.
fn key(prefix: &str, key: CellKey) -> Vec<u8> {
    format!("{prefix}{:016x}{:016x}", key.high, key.low).into_bytes()
}
