//! One worker's way to the server. What the requests of one turn of its event loop ask for goes in one trip.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, RedisError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Failure;
use super::heard::Heard;
use super::link::{Link, Up};
use super::numbers::{Asked, Decided, Garbled};
use super::options::{CountedBy, RedisOptions};
use super::sentinel::Named;
use super::slots::SlotMap;
use super::url::Kind;
use super::wire::{self, Form, Reply, Requests};
use super::{COUNT, DECIDE, Shared, cluster, count, key, secret};
use crate::algorithm::{Charge, Mode, Outcomes};
use crate::model::{CellKey, Few, Timestamp};
use crate::store::{Answers, Session, StoreError};

/// The most requests that wait for the server. One that stands still is not told of more.
const WAITING: usize = 4_096;
/// The most charges of one request: the script numbers its counters in two bytes.
const CHARGES: usize = 10_000;
/// A connection on which no answer came for so long is given up.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// How often a request is sent on to another server of a cluster.
pub(super) const REDIRECTIONS: u32 = 3;
/// How long it is waited between two tries while the keys of a request are on their way from one server to another, and how often it is
/// tried, if it is waited so long.
const TRIED_EVERY: Duration = Duration::from_millis(1);
const TRIES: u32 = 100;

/// A worker's connection to the server, which its requests share.
#[derive(Debug)]
pub struct RedisSession {
    pub(super) shared: Arc<Shared>,
    /// To each server that was asked; there is one, if it is no cluster.
    links: RefCell<HashMap<Option<Named>, Rc<Link>>>,
    /// The slots by which links were last looked through.
    links_by: RefCell<Option<Arc<SlotMap>>>,
    /// Requests of this turn of the event loop.
    queue: RefCell<Vec<(To, Request)>>,
    /// How many requests were queued.
    queued: Cell<u64>,
    /// Each request that waits for the server has a share of it.
    pub(super) waiting: Arc<()>,
}

/// A request that is to be sent.
pub(super) struct Request {
    /// Which one it is, of all that this session has queued.
    pub(super) number: u64,
    /// What the keys of its counters are made under, where the server is to make sure of that.
    pub(super) secret: Option<[u64; 2]>,
    pub(super) form: Form,
    pub(super) mode: Mode,
    /// When that was counted what it gives back as if it had never been, in microseconds.
    pub(super) undoes: Option<u64>,
    /// Whether no other request goes with it.
    pub(super) alone: bool,
    pub(super) charges: Few<Charge>,
    pub(super) at: Option<Timestamp>,
    /// The server's time after which nobody waits any more.
    pub(super) deadline: u64,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) _waits: Arc<()>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) struct To {
    pub(super) slot: u16,
    /// Whether the slot is on its way there.
    pub(super) asking: bool,
    pub(super) up: Up,
}

/// A request that is queued, and is sent with [`RedisSession::sent`].
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) link: Rc<Link>,
    pub(super) to: To,
    pub(super) answer: oneshot::Receiver<Answer>,
}

/// Takes a request out of the queue again, if it is still there.
struct TakenBack<'a> {
    session: &'a RedisSession,
    number: u64,
}

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        self.session.queue.borrow_mut().retain(|(_, request)| request.number != self.number);
    }
}

/// How a slot is reached.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// How often a server has named another one.
    tried: u32,
    /// The server that is to be asked this time.
    once: Option<Named>,
    /// How often only some of the keys were found. A request goes alone then: it may have been another one's key.
    missed: u32,
    /// Whether it came too late once.
    was_late: bool,
    /// What the keys of its counters are made under, however often it is tried, where the server is to make sure of that.
    secret: Option<[u64; 2]>,
}

impl Way {
    /// Whether the slot is on its way to whoever is asked.
    pub(super) fn is_once(&self) -> bool {
        self.once.is_some()
    }

    /// Whether it may be tried again, as it came too late for the first time: the server's clock may be further ahead than it was, as
    /// after it was set or this process stood still. Nothing was charged, and what the clock shows has just been learned.
    pub(super) fn may_be_late(&mut self) -> bool {
        !std::mem::replace(&mut self.was_late, true)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("charges", &self.charges).finish_non_exhaustive()
    }
}

/// What became of a request, and what the server's clock showed.
pub(super) type Answer = Result<(Decided, u64), Failure>;

/// Whether these are charges of more than one counter.
fn are_several(charges: &[Charge]) -> bool {
    charges.iter().any(|charge| charge.key != charges[0].key)
}

/// The answer, which is missing where the runtime ends.
pub(super) fn given_up(answer: Result<Answer, oneshot::error::RecvError>) -> Answer {
    let given_up = "the request was given up".to_owned();
    answer.unwrap_or_else(|_| Err(Failure::Unreachable(io::ErrorKind::Interrupted, given_up)))
}

impl RedisSession {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            links: RefCell::default(),
            links_by: RefCell::default(),
            queue: RefCell::default(),
            queued: Cell::new(0),
            waiting: Arc::new(()),
        }
    }

    /// Has all slots decide that `charges` are in.
    async fn decide(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
        mut heard: Heard,
    ) -> Result<Decided, Failure> {
        let slots: Few<u16> =
            charges.iter().map(|charge| key::slot(&self.shared.options, charge.key)).collect();
        if slots.iter().all(|slot| *slot == slots[0]) {
            return match self.ask(slots[0], mode, charges, now, deadline, &mut heard).await {
                // A counter that is new is at neither server, and stays there as long as the slot is handed over.
                Err(Failure::OnItsWay(_)) if are_several(charges) => {
                    heard.forget();
                    self.spread_over_counters(slots[0], mode, charges, now, deadline).await
                }
                decided => decided,
            };
        }
        // Each slot answers for itself.
        heard.forget();
        self.spread_over_slots(&slots, mode, charges, now, deadline).await
    }

    /// Has one slot decide on `charges`, wherever it is.
    async fn ask(
        &self,
        slot: u16,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
        heard: &mut Heard,
    ) -> Result<Decided, Failure> {
        let mut way = Way { secret: self.shared.secret_to_check(), ..Way::default() };
        loop {
            let Queued { number, link, to, answer } =
                self.queue(slot, &way, mode, charges, now, deadline).await?;
            heard.queued(answer);
            self.sent(number).await;
            match heard.answer().await {
                Ok((decided, time)) => {
                    link.learn(to.up.generation, time);
                    if matches!(decided, Decided::Late) && Instant::now() < deadline && way.may_be_late() {
                        continue;
                    }
                    return Ok(decided);
                }
                // Alone it is parted as well.
                Err(failure @ Failure::OnItsWay(_)) if way.missed > 0 && are_several(charges) => {
                    return Err(failure);
                }
                Err(failure) => way = self.another_way(&way, slot, failure)?,
            }
        }
    }

    /// Queues `charges`, to go with whatever else comes in with this turn of the event loop.
    pub(super) async fn queue(
        &self,
        slot: u16,
        way: &Way,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Queued, Failure> {
        if charges.len() > CHARGES {
            return Err(Failure::Refused(format!("{} charges are too many for one request", charges.len())));
        }
        let secret = way.secret;
        if way.missed > 1 {
            tokio::time::sleep(TRIED_EVERY).await;
        }
        let link = self.link(slot, way).await?;
        let up = link.up().await.inspect_err(|_| self.look_again())?;
        // Those that were given up before they were sent wait no longer.
        if Arc::strong_count(&self.waiting) > WAITING {
            self.queue.borrow_mut().retain(|(_, request)| !request.answer.is_closed());
        }
        if Arc::strong_count(&self.waiting) > WAITING {
            return Err(Failure::Refused(format!("{WAITING} requests wait for it already")));
        }
        let (answer, answered) = oneshot::channel();
        let at = self.shared.at(now);
        let deadline = link.server_time(deadline);
        let charges = Few::from_slice(charges);
        let waits = Arc::clone(&self.waiting);
        let form = wire::form(mode, &charges);
        let to = To { slot, asking: way.is_once(), up };
        let number = self.queued.get();
        self.queued.set(number.wrapping_add(1));
        let alone = way.missed > 0;
        let request = Request {
            number,
            secret,
            form,
            mode,
            undoes: None,
            alone,
            charges,
            at,
            deadline,
            answer,
            _waits: waits,
        };
        self.queue.borrow_mut().push((to.clone(), request));
        Ok(Queued { number, link, to, answer: answered })
    }

    /// Sends what is queued, unless somebody else has. Given up before that, the request with this number is not sent at all.
    pub(super) async fn sent(&self, number: u64) {
        let taken_back = TakenBack { session: self, number };
        // Whatever else came in with this turn of the event loop goes with it.
        tokio::task::yield_now().await;
        std::mem::forget(taken_back);
        self.send_queue();
    }

    /// The link to whoever has that slot.
    async fn link(&self, slot: u16, way: &Way) -> Result<Rc<Link>, Failure> {
        let server = match (&way.once, self.shared.options.kind) {
            (_, Kind::Single | Kind::Sentinel) => None,
            (Some(server), _) => Some(server.clone()),
            (None, Kind::Cluster) => {
                let slots = cluster::slots(&self.shared).await?;
                let Some(server) = slots.server_of(slot) else {
                    self.look_again();
                    return Err(Failure::Refused(format!("CLUSTERDOWN no server has the slot {slot}")));
                };
                Some(server.clone())
            }
        };
        self.leave_links();
        let mut links = self.links.borrow_mut();
        if !links.contains_key(&server) {
            links.insert(server.clone(), Rc::new(Link::new(Arc::clone(&self.shared), server.clone())));
        }
        Ok(Rc::clone(&links[&server]))
    }

    /// Leaves servers that have left the cluster, whenever it was looked at anew. One that a slot is on its way to may have none yet, and
    /// is asked all the same.
    fn leave_links(&self) {
        let Some(map) = self.shared.cluster.map() else { return };
        let mut by = self.links_by.borrow_mut();
        if by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &map)) {
            return;
        }
        self.links.borrow_mut().retain(|server, link| {
            let was_asked = link.was_asked();
            was_asked || server.as_ref().is_none_or(|server| map.servers().contains(server))
        });
        *by = Some(map);
    }

    /// Where to ask next, after a failure that tells.
    pub(super) fn another_way(&self, way: &Way, slot: u16, failure: Failure) -> Result<Way, Failure> {
        let Way { tried, missed, was_late, secret, .. } = *way;
        match failure {
            Failure::Elsewhere { server, once } if tried < REDIRECTIONS + missed => {
                let tried = tried + 1;
                if once {
                    return Ok(Way { tried, once: Some(server), missed, was_late, secret });
                }
                self.shared.cluster.moved(slot, &server);
                self.look_again();
                Ok(Way { tried, once: None, missed, was_late, secret })
            }
            Failure::OnItsWay(_) if missed < TRIES => {
                Ok(Way { tried, once: None, missed: missed + 1, was_late, secret })
            }
            failure => {
                self.look_again();
                Err(failure)
            }
        }
    }

    /// Servers of a cluster may have changed.
    fn look_again(&self) {
        if self.shared.options.kind == Kind::Cluster {
            cluster::ask(&self.shared);
        }
    }

    /// Sends what is queued, unless another request has: what is for one slot goes together.
    fn send_queue(&self) {
        let mut queue = self.queue.take();
        queue.retain(|(_, request)| !request.answer.is_closed());
        if self.shared.options.kind == Kind::Cluster {
            queue.sort_by_key(|(to, _)| (to.slot, to.asking));
        }
        // Each script has its batches.
        let (plain, rest): (Vec<_>, Vec<_>) =
            queue.into_iter().partition(|(_, request)| request.form == Form::Count);
        self.send_batches(Form::Count, plain);
        self.send_batches(Form::Decide, rest);
    }

    /// Sends requests for one of the scripts.
    fn send_batches(&self, form: Form, queue: Vec<(To, Request)>) {
        let mut queue = queue.into_iter().peekable();
        let most = match form {
            Form::Count => count::CHARGES,
            Form::Decide => CHARGES,
        };
        while let Some((to, first)) = queue.next() {
            let (mut charges, mut batch) = (first.charges.len(), vec![first]);
            while let Some((_, next)) = queue.next_if(|(other, next)| {
                let fits = batch.len() < self.shared.options.together && charges + next.charges.len() <= most;
                // One run of the shorter script counts at one time.
                let may = batch[0].secret == next.secret
                    && !batch[0].alone
                    && !next.alone
                    && (form == Form::Decide || next.at == batch[0].at);
                may && fits && (other.slot, other.asking) == (to.slot, to.asking)
            }) {
                charges += next.charges.len();
                batch.push(next);
            }
            // Its own task, for it goes on also where those who asked give up.
            tokio::spawn(run(Arc::clone(&self.shared), to, form, batch));
        }
    }
}

impl Shared {
    /// The secret that keys are made under, where a server can make sure with each request that it still is its own. In a cluster it is in one
    /// slot, and counters are in others; and without it whoever makes the keys has a way of their own.
    fn secret_to_check(&self) -> Option<[u64; 2]> {
        let is_checked = self.options.kind != Kind::Cluster && self.gives_secret.load(Ordering::Acquire);
        is_checked.then(|| self.secret.get())
    }

    /// The time to count at; the server's own if there is none.
    pub(super) fn at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.options.clock {
            CountedBy::Server => None,
            CountedBy::Caller => Some(now),
        }
    }
}

impl RedisSession {
    /// Learns the secret that keys are made under. Whether that makes other keys than have been made until now.
    async fn learns_another_secret(&self) -> Result<bool, Failure> {
        let before = self.shared.secret.get();
        if self.shared.options.kind == Kind::Cluster {
            // It is not known without its secret.
            cluster::slots(&self.shared).await?;
        } else {
            self.link(0, &Way::default()).await?.up().await?;
        }
        let makes_keys = self.shared.gives_secret.load(Ordering::Acquire);
        Ok(makes_keys && self.shared.secret.get() != before)
    }

    async fn apply_heard(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
        heard: Heard,
    ) -> Result<Outcomes, StoreError> {
        if charges.is_empty() {
            return Ok(Outcomes::new());
        }
        let asked = Instant::now();
        let deadline = self.shared.options.timeout.map_or(deadline, |timeout| deadline.min(asked + timeout));
        let decided = async {
            if !self.shared.knows_secret() && self.learns_another_secret().await? {
                return Ok(None);
            }
            self.decide(mode, charges, now, deadline, heard).await.map(Some)
        };
        match timeout_at(deadline, decided).await {
            Ok(Ok(None)) => Err(StoreError::Rekeyed),
            Ok(Ok(Some(Decided::Outcomes(outcomes)))) => Ok(outcomes),
            Ok(Ok(Some(Decided::Unreadable))) => Err(StoreError::Unreadable {
                source: "another program or another version of Spillway wrote it".into(),
            }),
            Ok(Ok(Some(Decided::Late))) => Err(StoreError::Late),
            Err(_) => Err(StoreError::TimedOut { after: asked.elapsed() }),
            Ok(Err(failure)) => Err(failure.error(&self.shared.options)),
        }
    }
}

impl Session for RedisSession {
    const ANSWERS: Answers = Answers::Later;

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        self.apply_heard(mode, charges, now, deadline, Heard::default()).await
    }

    async fn apply_or(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
        unmade: impl FnOnce() + Send + 'static,
    ) -> Result<Outcomes, StoreError> {
        self.apply_heard(mode, charges, now, deadline, Heard::by(Box::new(unmade))).await
    }
}

/// Decides on a batch in one trip, and tells each request what became of it.
pub(super) async fn run(shared: Arc<Shared>, To { asking, mut up, .. }: To, form: Form, batch: Vec<Request>) {
    let script = Script::of(&shared.options, form, asking, &batch);
    let reply = timeout(SILENT_FOR, script.run(&shared, &mut up)).await.unwrap_or_else(|_| {
        up.is_broken();
        let words = format!("no answer within {} ms", SILENT_FOR.as_millis());
        Err(Failure::Unreachable(io::ErrorKind::TimedOut, words))
    });
    if let Err(Failure::Rekeyed) = reply {
        // Whoever asks again makes the keys anew. Nothing was counted, whatever becomes of this.
        if !matches!(timeout(SILENT_FOR, secret::share(&shared, &mut up.connection)).await, Ok(Ok(()))) {
            up.is_broken();
        }
    }
    let garbled = |error: Garbled| Failure::Garbled(error.to_string());
    let mut reply = match &reply {
        Ok(bytes) => Reply::new(form, bytes).map_err(garbled),
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

/// One run of a script.
#[derive(Debug)]
struct Script {
    form: Form,
    /// Whether the slot is on its way there.
    asking: bool,
    keys: Vec<Vec<u8>>,
    requests: Vec<u8>,
    /// The key that the secret is kept under, and the secret.
    secret: Option<(String, String)>,
}

impl Script {
    fn of(options: &RedisOptions, form: Form, asking: bool, batch: &[Request]) -> Self {
        let (mut keys, mut requests) = (Vec::new(), Requests::new(form));
        let mut places: HashMap<CellKey, u16> = HashMap::new();
        for request in batch {
            let Request { mode, undoes, deadline, at, .. } = *request;
            let asked = Asked { mode, undoes, deadline, at };
            let place = |charge: &Charge| {
                *places.entry(charge.key).or_insert_with(|| {
                    keys.push(key::key(options, charge.key));
                    u16::try_from(keys.len() - 1).unwrap_or(u16::MAX)
                })
            };
            let places: Few<u16> = request.charges.iter().map(place).collect();
            requests.push(asked, &request.charges, &places);
        }
        // It is the same for all of them.
        let secret = batch.first().and_then(|request| request.secret);
        let secret = secret.map(|secret| (secret::key(options), secret::text(secret)));
        Self { form, asking, keys, requests: requests.into_bytes(), secret }
    }

    async fn run(&self, shared: &Shared, up: &mut Up) -> Result<Vec<u8>, Failure> {
        let (hash, text) = match self.form {
            Form::Count => (shared.count.get_hash(), COUNT),
            Form::Decide => (shared.decide.get_hash(), DECIDE),
        };
        let answer = self.ask(self.command("EVALSHA", hash), up).await;
        let answer = match answer {
            // It runs and is kept from now on.
            Err(error) if error.code() == Some("NOSCRIPT") => self.ask(self.command("EVAL", text), up).await,
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

    async fn ask(&self, command: Cmd, up: &mut Up) -> Result<Vec<u8>, RedisError> {
        if !self.asking {
            return command.query_async(&mut up.connection).await;
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(command);
        let (answer,) = pipeline.query_async(&mut up.connection).await?;
        Ok(answer)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len() + usize::from(self.secret.is_some()));
        for key in &self.keys {
            command.arg(key);
        }
        match &self.secret {
            Some((key, secret)) => command.arg(key).arg(&self.requests).arg(secret),
            None => command.arg(&self.requests),
        };
        command
    }
}
