//! A session's connection: made when it is needed, made again when it breaks, and what is known of the server's clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{RedisOptions, Shared, WrongUrl, secret, tls};
use crate::store::StoreError;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long it is waited after two failures in a row; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long a bound of the server's clock is good for: clocks drift, and are set.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How often it is made sure that replicas share a secret: a server can be emptied.
const SECRET_EVERY: Duration = Duration::from_secs(1);

/// A connection and what is known of the clock at its other end.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    state: RefCell<State>,
    /// How many connections there were: what an old one has to say says nothing of a new one.
    generation: Cell<u64>,
    /// The last of them that was found broken.
    broken: Arc<AtomicU64>,
    /// Connections that were not made, or broke before anything was answered.
    failures: Cell<u32>,
    clock: ClockBound,
    secret_shared: Cell<Instant>,
}

#[derive(Debug)]
enum State {
    /// There is none, and no other one is made before that time.
    Down {
        not_before: Option<Instant>,
        why: Option<Failure>,
    },
    /// One is being made, perhaps after a failure.
    Making {
        making: watch::Receiver<Option<Made>>,
        after: Option<Failure>,
    },
    Up(MultiplexedConnection),
}

/// What there is of a connection.
enum Found {
    Up(Up),
    Making(watch::Receiver<Option<Made>>),
    Failed(Failure),
}

type Made = Result<(MultiplexedConnection, u64, Instant), Failure>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No way there.
    Unreachable(io::ErrorKind, String),
    /// It refused.
    Refused(String),
    /// It answered what it cannot have answered.
    Garbled(String),
}

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        use redis::ErrorKind::{AuthenticationFailed, Extension, Io, Server};
        if let Some(words) = tls::failure(error) {
            return Self::Unreachable(io::ErrorKind::ConnectionAborted, words);
        }
        match error.kind() {
            Io => Self::Unreachable(
                if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::ConnectionAborted },
                error.to_string(),
            ),
            AuthenticationFailed => Self::Refused("it does not accept the user or the password".into()),
            Server(_) | Extension => Self::Refused(words(error)),
            _ => Self::Garbled(error.to_string()),
        }
    }
}

impl Failure {
    /// What is needed on this side is not there.
    fn unusable(error: &WrongUrl) -> Self {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        Self::Unreachable(io::ErrorKind::InvalidInput, format!("{error}{}", cause.unwrap_or_default()))
    }

    /// Whether whoever tried had to wait for it.
    fn took_long(&self) -> bool {
        matches!(self, Self::Unreachable(io::ErrorKind::TimedOut, _))
    }

    /// As callers are told.
    pub(super) fn error(self, options: &RedisOptions) -> StoreError {
        let unreachable = |kind, words| StoreError::Unreachable {
            address: options.address(),
            source: io::Error::new(kind, words),
        };
        match self {
            Self::Refused(reason) => StoreError::Refused { reason },
            Self::Unreachable(kind, words) => unreachable(kind, words),
            Self::Garbled(words) => unreachable(io::ErrorKind::InvalidData, words),
        }
    }
}

/// What the server said, without what the client's library makes of it.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

/// A connection that is up, and which one it is.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) connection: MultiplexedConnection,
    generation: u64,
    broken: Arc<AtomicU64>,
}

impl Up {
    /// Has another connection made: this one is broken.
    pub(super) fn is_broken(&self) {
        self.broken.fetch_max(self.generation, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            state: RefCell::new(State::Down { not_before: None, why: None }),
            generation: Cell::new(0),
            broken: Arc::default(),
            failures: Cell::new(0),
            clock: ClockBound::default(),
            secret_shared: Cell::new(Instant::now()),
        }
    }

    /// The connection, once it is there. After one that took long nobody waits for the next try,
    /// until one has succeeded.
    pub(super) async fn up(&self) -> Result<Up, Failure> {
        loop {
            let mut making = match self.look() {
                Found::Up(up) => return Ok(up),
                Found::Failed(why) => return Err(why),
                Found::Making(making) => making,
            };
            // An error is what becomes of it when the runtime ends.
            let _ = making.wait_for(Option::is_some).await;
            self.conclude(&making);
        }
    }

    fn look(&self) -> Found {
        if let State::Making { making, after: Some(why) } = &*self.state.borrow() {
            let (making, why) = (making.clone(), why.clone());
            return if making.borrow().is_some() { Found::Making(making) } else { Found::Failed(why) };
        }
        let mut state = self.state.borrow_mut();
        let after = match &*state {
            State::Up(connection) if !self.is_broken() => {
                self.share_secret(connection);
                return Found::Up(Up {
                    connection: connection.clone(),
                    generation: self.generation.get(),
                    broken: Arc::clone(&self.broken),
                });
            }
            State::Up(_) if self.failures.get() > 0 => {
                let why = Failure::Unreachable(
                    io::ErrorKind::ConnectionAborted,
                    "the last connection broke before anything was answered".into(),
                );
                *state = self.failed(why.clone());
                return Found::Failed(why);
            }
            State::Up(_) => {
                self.failures.set(1);
                None
            }
            State::Making { making, .. } => return Found::Making(making.clone()),
            State::Down { not_before: Some(until), why: Some(why) } if Instant::now() < *until => {
                return Found::Failed(why.clone());
            }
            // A refusal comes at once, and so does a server that is there again. One that stands still is not waited for twice.
            State::Down { why, .. } => why.clone().filter(Failure::took_long),
        };
        let (tell, making) = watch::channel(None);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let _ = tell.send(Some(connect(&shared).await));
        });
        let found = match &after {
            None => Found::Making(making.clone()),
            Some(why) => Found::Failed(why.clone()),
        };
        *state = State::Making { making, after };
        found
    }

    /// Makes sure of the secret, once in a while.
    fn share_secret(&self, connection: &MultiplexedConnection) {
        let now = Instant::now();
        if now.saturating_duration_since(self.secret_shared.get()) < SECRET_EVERY {
            return;
        }
        self.secret_shared.set(now);
        let (shared, mut connection) = (Arc::clone(&self.shared), connection.clone());
        tokio::spawn(async move {
            // Whatever is wrong is told to requests.
            let _ = timeout(CONNECT_WITHIN, secret::share(&shared, &mut connection)).await;
        });
    }

    /// Takes a connection that was made, unless somebody else has.
    fn conclude(&self, made: &watch::Receiver<Option<Made>>) {
        let mut state = self.state.borrow_mut();
        if !matches!(&*state, State::Making { making, .. } if making.same_channel(made)) {
            return;
        }
        let made = made.borrow().clone();
        match made {
            Some(Ok((connection, time, at))) => {
                self.generation.set(self.generation.get() + 1);
                self.clock.forget();
                self.clock.learn(time, at);
                *state = State::Up(connection);
            }
            Some(Err(why)) => *state = self.failed(why),
            None => {
                let why = "the program is stopping".into();
                *state = self.failed(Failure::Unreachable(io::ErrorKind::Interrupted, why));
            }
        }
    }

    /// One more failure, and when it is tried again.
    fn failed(&self, why: Failure) -> State {
        let failures = self.failures.get();
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        self.failures.set(failures.saturating_add(1));
        State::Down { not_before: Some(Instant::now() + pause), why: Some(why) }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed) >= self.generation.get()
    }

    /// What the server's clock said in an answer that has just come.
    pub(super) fn learn(&self, time: u64) {
        self.failures.set(0);
        self.clock.learn(time, Instant::now());
    }

    /// What the server's clock shows at `at`, or a little earlier than that, in microseconds since 1970.
    pub(super) fn server_time(&self, at: Instant) -> u64 {
        self.clock.at(at)
    }
}

/// A connection that is ready to be used, what the server's clock showed, and when that was here.
pub(super) async fn connect(shared: &Shared) -> Made {
    // What is in its files may have changed.
    let client = shared
        .options
        .client(shared.options.servers[0].clone())
        .map_err(|error| Failure::unusable(&error))?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let failed = |error: RedisError| Failure::of(&error);
    let made = async {
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connected.map_err(failed)?;
        secret::share(shared, &mut connection).await?;
        let (seconds, micros): (u64, u64) =
            redis::cmd("TIME").query_async(&mut connection).await.map_err(failed)?;
        Ok((connection, seconds.saturating_mul(1_000_000).saturating_add(micros), Instant::now()))
    };
    match timeout(CONNECT_WITHIN, made).await {
        Ok(made) => made,
        Err(_) => Err(Failure::Unreachable(
            io::ErrorKind::TimedOut,
            format!(
                "no connection was made within {} ms{}",
                CONNECT_WITHIN.as_millis(),
                shared.options.hint()
            ),
        )),
    }
}

/// How far the server's clock is ahead of this process's, at least: an answer was given before it was received. The largest
/// difference is the closest one.
#[derive(Debug)]
struct ClockBound {
    start: Instant,
    /// Microseconds that the server's clock is ahead of the time since `start`: the most of this second and of the one before.
    most: Cell<[Option<i64>; 2]>,
    since: Cell<Instant>,
}

impl Default for ClockBound {
    fn default() -> Self {
        let start = Instant::now();
        Self { start, most: Cell::default(), since: Cell::new(start) }
    }
}

impl ClockBound {
    fn learn(&self, time: u64, received: Instant) {
        let ahead = i64::try_from(time).unwrap_or(i64::MAX).saturating_sub(self.micros(received));
        let [mut now, mut before] = self.most.get();
        if received.saturating_duration_since(self.since.get()) > GOOD_FOR {
            (now, before) = (None, now);
            self.since.set(received);
        }
        self.most.set([now.max(Some(ahead)), before]);
    }

    fn forget(&self) {
        self.most.set([None, None]);
    }

    fn at(&self, at: Instant) -> u64 {
        let ahead = self.most.get().into_iter().max().flatten().unwrap_or_default();
        u64::try_from(self.micros(at).saturating_add(ahead)).unwrap_or_default()
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(i64::MAX)
    }
}
