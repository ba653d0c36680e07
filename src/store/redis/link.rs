//! A session's connection: made when it is needed, made again when it breaks, and what is known of the server's clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, RedisError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::sentinel::{self, Named};
use super::server_clock::ClockBound;
use super::url::Kind;
use super::{Shared, cluster, secret};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long it is waited after two failures in a row; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How often it is made sure that replicas share a secret, for a server can be emptied, and that it is a master.
const PROBED_EVERY: Duration = Duration::from_secs(1);
/// After how many of these probes sentinels are asked also about a server that is well.
const SENTINELS_ASKED_EVERY: u32 = 5;

/// A connection and what is known of the clock at its other end.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    /// The server of a cluster that it leads to; else it is as the URL says.
    server: Option<Named>,
    state: RefCell<State>,
    /// How many connections there were: what an old one has to say says nothing of a new one.
    generation: Cell<u64>,
    /// The last of them that was found broken.
    broken: Arc<AtomicU64>,
    /// Connections that were not made, or broke before anything was answered.
    failures: Cell<u32>,
    clock: ClockBound,
    probed: Cell<Instant>,
    probes: Cell<u32>,
    was_asked: Cell<bool>,
}

#[derive(Debug)]
enum State {
    /// There is none, and no other one is made before that time.
    Down {
        not_before: Option<Instant>,
        why: Option<Failure>,
    },
    /// One is being made. What is told of a server that stands still is how the last try ended; others follow.
    Making(watch::Receiver<Option<Made>>),
    Up(MultiplexedConnection, Option<Named>),
}

/// What there is of a connection.
enum Found {
    Up(Up),
    Making(watch::Receiver<Option<Made>>),
    Failed(Failure),
}

type Made = Result<Connected, Failure>;

/// A connection that was made.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    connection: MultiplexedConnection,
    /// Where it leads, where sentinels named it.
    named: Option<Named>,
    /// What the server's clock showed, and when that was here.
    time: u64,
    at: Instant,
}

impl Connected {
    /// The connection, which no link has.
    pub(super) fn up(self) -> Up {
        Up { connection: self.connection, generation: 0, broken: Arc::default() }
    }
}

/// A connection that is up, and which one it is.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) connection: MultiplexedConnection,
    pub(super) generation: u64,
    broken: Arc<AtomicU64>,
}

impl Up {
    /// Has another connection made: this one is broken.
    pub(super) fn is_broken(&self) {
        self.broken.fetch_max(self.generation, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, server: Option<Named>) -> Self {
        Self {
            shared,
            server,
            state: RefCell::new(State::Down { not_before: None, why: None }),
            generation: Cell::new(0),
            broken: Arc::default(),
            failures: Cell::new(0),
            clock: ClockBound::default(),
            probed: Cell::new(Instant::now()),
            probes: Cell::new(0),
            was_asked: Cell::new(false),
        }
    }

    /// Whether anybody asked for the connection since this was called last.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.take()
    }

    /// The connection, once it is there. Where the server stands still nobody waits for it after the first try: others are made by
    /// themselves, so it is found again whoever asks and when.
    pub(super) async fn up(&self) -> Result<Up, Failure> {
        self.was_asked.set(true);
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
        let mut state = self.state.borrow_mut();
        match &*state {
            State::Up(connection, named) if !self.is_broken() => {
                let up = Up {
                    connection: connection.clone(),
                    generation: self.generation.get(),
                    broken: Arc::clone(&self.broken),
                };
                self.probe(&up, named.as_ref());
                return Found::Up(up);
            }
            State::Up(..) if self.failures.get() > 0 => {
                let why = Failure::Unreachable(
                    io::ErrorKind::ConnectionAborted,
                    "the last connection broke before anything was answered".into(),
                );
                *state = self.failed(why.clone());
                return Found::Failed(why);
            }
            State::Up(..) => self.failures.set(1),
            State::Making(making) => {
                return match &*making.borrow() {
                    Some(Err(why)) if why.took_long() => Found::Failed(why.clone()),
                    _ => Found::Making(making.clone()),
                };
            }
            State::Down { not_before: Some(until), why: Some(why) } if Instant::now() < *until => {
                return Found::Failed(why.clone());
            }
            // A refusal comes at once, and so does a server that is there again.
            State::Down { .. } => {}
        }
        let (tell, making) = watch::channel(None);
        tokio::spawn(make(Arc::clone(&self.shared), self.server.clone(), tell));
        *state = State::Making(making.clone());
        Found::Making(making)
    }

    /// Makes sure of the secret, and that the server is still the master, once in a while.
    fn probe(&self, up: &Up, named: Option<&Named>) {
        let now = Instant::now();
        if now.saturating_duration_since(self.probed.get()) < PROBED_EVERY {
            return;
        }
        self.probed.set(now);
        if self.server.is_some() {
            cluster::ask_unless_within(PROBED_EVERY, &self.shared);
            return;
        }
        self.probes.set(self.probes.get().wrapping_add(1));
        let asks_anyway = self.probes.get().is_multiple_of(SENTINELS_ASKED_EVERY);
        let (shared, mut up, named) = (Arc::clone(&self.shared), up.clone(), named.cloned());
        tokio::spawn(async move {
            // Whatever is wrong is told to requests.
            let probed = async {
                secret::share(&shared, &mut up.connection).await?;
                if named.is_some() { sentinel::is_master(&mut up.connection).await } else { Ok(()) }
            };
            let is_well = matches!(timeout(CONNECT_WITHIN, probed).await, Ok(Ok(())));
            // One that answers badly or not at all may have been replaced, and so may one that was cut off from the others.
            if let Some(named) = named
                && (asks_anyway || !is_well)
                && shared.sentinels.name_another(&shared.options, &named, is_well).await
            {
                up.is_broken();
            }
        });
    }

    /// Takes a connection that was made, unless somebody else has.
    fn conclude(&self, made: &watch::Receiver<Option<Made>>) {
        let mut state = self.state.borrow_mut();
        if !matches!(&*state, State::Making(making) if making.same_channel(made)) {
            return;
        }
        let made = made.borrow().clone();
        match made {
            Some(Err(why)) if why.took_long() => {}
            Some(Ok(Connected { connection, named, time, at })) => {
                self.generation.set(self.generation.get() + 1);
                self.clock.forget();
                self.clock.learn(time, at);
                *state = State::Up(connection, named);
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

    /// What the server's clock said in an answer that has just come on the connection of that generation. Of one that was left it says
    /// nothing about the server that there is now, which may be another one.
    pub(super) fn learn(&self, generation: u64, time: u64) {
        if generation != self.generation.get() {
            return;
        }
        self.failures.set(0);
        self.clock.learn(time, Instant::now());
    }

    /// What the server's clock shows at `at`, or a little earlier than that, in microseconds since 1970.
    pub(super) fn server_time(&self, at: Instant) -> u64 {
        self.clock.at(at)
    }
}

/// Makes a connection, and tells how that ended. A server that stands still is tried until it does not, or nobody is left to tell.
async fn make(shared: Arc<Shared>, server: Option<Named>, tell: watch::Sender<Option<Made>>) {
    loop {
        let made = connect(&shared, server.as_ref()).await;
        let stands_still = matches!(&made, Err(why) if why.took_long());
        if tell.send(Some(made)).is_err() || !stands_still {
            return;
        }
        sleep(LONGEST_PAUSE).await;
    }
}

/// A connection that is ready to be used.
pub(super) async fn connect(shared: &Shared, server: Option<&Named>) -> Made {
    let options = &shared.options;
    match server {
        Some((host, port)) => connect_to(shared, options.server_at(host, *port), None, false).await,
        None if options.kind == Kind::Sentinel => connect_to_master(shared).await,
        None => connect_to(shared, options.servers[0].clone(), None, true).await,
    }
}

/// A connection to the first server that a sentinel names and that says itself that it is the master.
async fn connect_to_master(shared: &Shared) -> Made {
    let options = &shared.options;
    let (mut silent, mut failed) = (Vec::new(), Vec::<(Named, Failure)>::new());
    for number in shared.sentinels.in_order(options) {
        let named = match sentinel::master(options, number).await {
            Ok(named) if failed.iter().any(|(other, _)| *other == named) => continue,
            Ok(named) => named,
            Err(why) => {
                silent.push(why);
                continue;
            }
        };
        let server = options.server_at(&named.0, named.1);
        match connect_to(shared, server, Some(named.clone()), true).await {
            Ok(connected) => {
                shared.sentinels.was_right(number);
                return Ok(connected);
            }
            Err(why) => failed.push((named, why)),
        }
    }
    let silent = silent.join("; ");
    let why = failed.into_iter().next().map(|(_, why)| why);
    Err(why
        .unwrap_or_else(|| Failure::unreachable(format!("no sentinel says where the master is ({silent})"))))
}

/// A connection to that server, which sentinels may have `named`, and which may have the secret.
async fn connect_to(shared: &Shared, server: ConnectionInfo, named: Option<Named>, has_secret: bool) -> Made {
    let options = &shared.options;
    // What is in its files may have changed.
    let client = options.client(server).map_err(|error| Failure::unusable(&error))?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let failed = |error: RedisError| Failure::of(&error);
    let made = async {
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connected.map_err(failed)?;
        if named.is_some() {
            sentinel::is_master(&mut connection).await?;
        }
        if has_secret {
            secret::share(shared, &mut connection).await?;
        }
        let (seconds, micros): (u64, u64) =
            redis::cmd("TIME").query_async(&mut connection).await.map_err(failed)?;
        let time = seconds.saturating_mul(1_000_000).saturating_add(micros);
        Ok(Connected { connection, named, time, at: Instant::now() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RedisStore;

    #[test]
    fn the_clock_of_a_server_that_was_left_is_not_that_of_the_next_one() {
        let shared = RedisStore::open("redis://127.0.0.1:1").unwrap().0;
        let link = Link::new(shared, None);
        link.generation.set(2);
        link.failures.set(1);
        let ahead = |link: &Link| link.server_time(Instant::now()) > 5_000_000;
        link.learn(1, 10_000_000);
        assert!(!ahead(&link) && link.failures.get() == 1);
        link.learn(2, 10_000_000);
        assert!(ahead(&link) && link.failures.get() == 0);
    }
}
