//! Asks a control plane for as long as the server runs, and puts in force what it sends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::connection::Connection;
use super::proto::{DiscoveryResponse, TYPE_URL};
use super::refused::Refused;
use super::server::XdsServer;
use super::set::{Digest, Set};
use super::stream::{Refusal, begin, shown};
use super::tls::XdsTls;
use super::waiting::{Received, Waiting, due};
use crate::clock::Clock;
use crate::config::{Diagnostic, Fingerprint, Options, Severity};
use crate::control::{AwaitedStore, Change, Published, Publisher, Reporting, waits_for_store, yielding};
use crate::model::any_part;
use crate::store::Store;
use crate::telemetry::{
    Metrics, XdsAccepted, XdsAway, XdsConnected, XdsRefused, XdsRenewing, XdsStillRefused, XdsUnchanged,
};

/// How long a stream that does not fail may go without its begin before the connection is said to be open.
const SEEMS_OPEN: Duration = Duration::from_secs(1);
/// How often files are looked at that TLS was begun with.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is told again that a control plane is away for the same reason.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// How long an answer to a set that is sent again after it was refused may wait. Until then a server may hold back the next one.
const SENT_AGAIN: Duration = Duration::from_secs(5);
/// The most mistakes that a control plane is told.
const MOST_TOLD: usize = 20;

/// Control planes that are asked, and how what they send is put in force.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The control planes.
    pub servers: Vec<XdsServer>,
    /// How their resources are put together with all other policies.
    pub options: Options,
    /// How what is wrong with them is reported.
    pub reporting: Reporting,
}

/// Asks `server`, and puts in force each set that it sends. A set with a mistake changes nothing, and the server is told why. While it
/// is away what it sent last stays in force.
pub async fn follow<S: Store, C: Clock>(
    server: XdsServer,
    followed: Followed,
    publisher: Arc<Publisher<S, C>>,
    metrics: Arc<Metrics>,
) {
    let Followed { options, reporting, .. } = followed;
    let mut asking = Follower {
        name: server.name.clone(),
        backoff: Backoff::new(server.pauses),
        refusals: Backoff::new((server.pauses.0, server.pauses.1.min(SENT_AGAIN))),
        server,
        options,
        reporting,
        publisher,
        metrics,
        accepted: None,
        refused: None,
        waiting: None,
        away: None,
    };
    loop {
        match asking.ask().await {
            Ended::FilesChanged => XdsRenewing { source: &asking.name }.emit(),
            Ended::Failed(error) => {
                let again_in = asking.backoff.next(any_part());
                asking.lost(error, again_in);
                asking.pause(Instant::now() + again_in).await;
            }
        }
    }
}

/// Why a connection ended, or none came about.
enum Ended {
    /// For people.
    Failed(String),
    /// A new one is to be made with the certificates that are there now.
    FilesChanged,
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Why a set is refused.
struct Wrong {
    diagnostics: Vec<Diagnostic>,
    /// Whether they are mistakes of the set beside what is in force, which it has each time.
    is_of_set: bool,
    /// The set, where it has none and waits for the store.
    waits: Option<(Set, AwaitedStore)>,
}

impl Wrong {
    fn once(message: &str) -> Self {
        Self { diagnostics: vec![Diagnostic::error(message)], is_of_set: false, waits: None }
    }
}

/// What a control plane is to hear of a response.
enum Answer {
    Accept {
        version: String,
        nonce: String,
    },
    /// It is refused; when it is to hear that.
    Refuse(Refusal, Instant),
}

struct Follower<S, C> {
    name: String,
    server: XdsServer,
    options: Options,
    reporting: Reporting,
    publisher: Arc<Publisher<S, C>>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    /// How long an answer waits to a set that was just refused. A server that sends it again at once would otherwise be answered as
    /// fast as it sends.
    refusals: Backoff,
    /// The set that is in force.
    accepted: Option<Digest>,
    /// The newest one, if it is refused.
    refused: Option<Refused>,
    /// The same, if it waits for the store.
    waiting: Option<Waiting>,
    /// What was told of why the server is away, and when.
    away: Option<(String, Instant)>,
}

impl<S: Store, C: Clock> Follower<S, C> {
    /// Asks until the connection ends, and tells why it ended.
    async fn ask(&mut self) -> Ended {
        match self.try_to_ask().await {
            Ok(()) => Ended::Failed("the server ended the stream".to_owned()),
            Err(why) => why,
        }
    }

    async fn try_to_ask(&mut self) -> Result<(), Ended> {
        // Before they are read.
        let looked = self.server.tls.as_ref().map(XdsTls::looks);
        let connection = Connection::open(&self.server).await?;
        match self.ask_on(&connection, looked).await {
            Err(Ended::Failed(why)) => Err(Ended::Failed(connection.failure().await.unwrap_or(why))),
            ended => ended,
        }
    }

    async fn ask_on(
        &mut self,
        connection: &Connection,
        looked: Option<Vec<Fingerprint>>,
    ) -> Result<(), Ended> {
        let (mut asking, begun) = begin(connection, &self.server).await?;
        tokio::pin!(begun);
        let seems_open = tokio::time::sleep(SEEMS_OPEN);
        tokio::pin!(seems_open);
        let changed = changed(self.server.tls.clone().zip(looked));
        tokio::pin!(changed);
        if let Some(waiting) = &mut self.waiting {
            waiting.is_of_stream = false;
        }
        let mut is_told = false;
        let mut responses = loop {
            tokio::select! {
                begun = &mut begun => break begun?,
                () = &mut seems_open, if !is_told => {
                    self.connected();
                    is_told = true;
                }
                () = &mut changed => return Err(Ended::FilesChanged),
                // Whoever sent it is told when they send it again.
                () = due(self.waiting.as_mut(), &self.publisher) => drop(self.try_again().await),
            }
        };
        self.connected();
        let mut refusal: Option<(Refusal, Instant)> = None;
        loop {
            let at = refusal.as_ref().map_or_else(Instant::now, |(_, at)| *at);
            let answer = tokio::select! {
                response = responses.message() => match response.map_err(|status| shown(&status))? {
                    Some(response) => self.take(response).await,
                    None => return Ok(()),
                },
                () = due(self.waiting.as_mut(), &self.publisher) => self.answer_again().await,
                () = tokio::time::sleep_until(at), if refusal.is_some() => {
                    if let Some((refusal, _)) = refusal.take() {
                        asking.refuse(refusal).await?;
                    }
                    None
                }
                () = &mut changed => return Err(Ended::FilesChanged),
            };
            // An older refusal needs to be told no more.
            match answer {
                Some(Answer::Accept { version, nonce }) => {
                    refusal = None;
                    asking.accept(version, nonce).await?;
                }
                // A server that sends faster than it is to be answered is answered all the same.
                Some(Answer::Refuse(why, at)) => {
                    let before = refusal.map(|(_, before)| before);
                    refusal = Some((why, before.map_or(at, |before| before.min(at))));
                }
                None => {}
            }
        }
    }

    /// Waits without a connection, and meanwhile puts in force what the store kept out.
    async fn pause(&mut self, until: Instant) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = due(self.waiting.as_mut(), &self.publisher) => drop(self.try_again().await),
            }
        }
    }

    /// Takes a response. What nobody asked for is not answered.
    async fn take(&mut self, response: DiscoveryResponse) -> Option<Answer> {
        let DiscoveryResponse { version_info: version, resources, type_url, nonce } = response;
        if type_url != TYPE_URL {
            return None;
        }
        self.backoff.reset();
        let (digest, count) = (Digest::of(&resources), resources.len());
        if self.accepted == Some(digest) && self.refused.is_none() {
            XdsUnchanged { source: &self.name, version: &version }.emit();
            self.note_accepted(&version, count, false);
            return Some(Answer::Accept { version, nonce });
        }
        let received = Received { digest, version, resources: count, nonce };
        // Before it is compiled: if something else comes into force meanwhile, it is compiled again.
        let generation = self.publisher.latest().status().generation;
        self.waiting = self.waiting.take().filter(|waiting| waiting.received.digest == digest);
        if let Some((waiting, refused)) = self.waiting.as_mut().zip(self.refused.as_ref()) {
            (waiting.received, waiting.is_of_stream) = (received.clone(), true);
            let why = refused.why().to_owned();
            return Some(self.refuse(received, why, None));
        }
        let known = self.refused.as_ref().and_then(|refused| refused.known(digest, generation));
        if let Some(why) = known {
            let why = why.to_owned();
            return Some(self.refuse(received, why, Some(generation)));
        }
        let answer = self.publish(resources).await;
        Some(self.conclude(received, answer, generation))
    }

    /// Compiles the set again that waits for the store. Nothing is returned where it waits on.
    async fn try_again(&mut self) -> Option<Answer> {
        let mut waiting = self.waiting.take()?;
        let generation = self.publisher.latest().status().generation;
        let set = std::mem::take(&mut waiting.set);
        let received = waiting.received.clone();
        match self.publishing(move || Ok(set)).await {
            Err(Wrong { waits: Some((set, _)), .. }) => {
                self.waiting = Some(waiting.on(set, Instant::now()));
                None
            }
            answer => Some(self.conclude(received, answer, generation)),
        }
    }

    /// The same, for the stream that the set came on. One that has begun since knows nothing of it.
    async fn answer_again(&mut self) -> Option<Answer> {
        let is_of_stream = self.waiting.as_ref().is_some_and(|waiting| waiting.is_of_stream);
        self.try_again().await.filter(|_| is_of_stream)
    }

    /// Notes what became of a set that was compiled beside what is in force as that generation.
    fn conclude(
        &mut self,
        received: Received,
        answer: Result<(usize, Change), Wrong>,
        generation: u64,
    ) -> Answer {
        match answer {
            Ok((rules, change)) => {
                let Received { digest, version, resources, nonce } = received;
                (self.accepted, self.refused) = (Some(digest), None);
                self.refusals.reset();
                let change = &change.told();
                XdsAccepted { source: &self.name, version: &version, resources, rules, change }
                    .emit(&self.metrics);
                self.note_accepted(&version, resources, true);
                Answer::Accept { version, nonce }
            }
            Err(Wrong { diagnostics, is_of_set, waits }) => {
                let is_new = self.refused.as_ref().is_none_or(|refused| !refused.is(received.digest));
                let beside = is_of_set.then_some(generation);
                self.waiting =
                    waits.map(|(set, store)| Waiting::new(received.clone(), set, store, Instant::now()));
                let refusal = self.refuse(received, told(&diagnostics), beside);
                if is_new {
                    self.reporting.refused(&diagnostics, true, &self.metrics);
                }
                refusal
            }
        }
    }

    /// Refuses a set, and tells when its server is to hear that: a set that was just refused later and later.
    fn refuse(&mut self, received: Received, why: String, beside: Option<u64>) -> Answer {
        let Received { digest: set, version, resources, nonce } = received;
        let (now, source, version) = (Instant::now(), &*self.name, &*version);
        let known = self.refused.as_mut().filter(|refused| refused.is(set));
        let is_new = known.is_none();
        let wait = if let Some(refused) = known {
            if let Some(times) = refused.again(why.clone(), beside, now) {
                XdsStillRefused { source, version, times }.emit();
            }
            self.refusals.next(any_part())
        } else {
            self.refused = Some(Refused::new(set, why.clone(), beside, now));
            self.refusals.reset();
            XdsRefused { source, version, resources }.emit();
            Duration::ZERO
        };
        self.publisher.latest().set_remote(source, |remote| {
            remote.is_refused = true;
            remote.refused += u64::from(is_new);
        });
        Answer::Refuse(Refusal { nonce, why }, now + wait)
    }

    /// Reads resources and puts them in force on a thread that serves nobody: many take their time.
    async fn publish(&self, resources: Vec<prost_types::Any>) -> Result<(usize, Change), Wrong> {
        let (name, publisher) = (self.name.clone(), Arc::clone(&self.publisher));
        self.publishing(move || {
            let of = name.clone();
            let set = publisher.in_background(move || Set::read(&of, &resources));
            set.map_err(|diagnostics| {
                publisher.refuse_remote(&name, &diagnostics);
                Wrong { diagnostics, is_of_set: true, waits: None }
            })
        })
        .await
    }

    /// The same with a set that is made on that thread.
    async fn publishing(
        &self,
        set: impl FnOnce() -> Result<Set, Wrong> + Send + 'static,
    ) -> Result<(usize, Change), Wrong> {
        let (name, options) = (self.name.clone(), self.options.clone());
        let (publisher, reporting) = (Arc::clone(&self.publisher), self.reporting);
        let publishing = yielding(move || {
            let set = set()?;
            let store = AwaitedStore::of(&publisher);
            let mut is_of_set = false;
            let compiled = |found: &mut [Diagnostic]| {
                is_of_set = found.iter().any(|one| one.severity == Severity::Error);
                set.with_fields(found);
            };
            match publisher.publish_remote(&name, &set.sources(), options, compiled) {
                Published::Applied { rules, change, warnings, .. } => {
                    reporting.warned(&warnings);
                    Ok((rules, change))
                }
                Published::Rejected(diagnostics) => {
                    let waits = waits_for_store(&diagnostics).then_some((set, store));
                    Err(Wrong { diagnostics, is_of_set, waits })
                }
                Published::Superseded => Err(Wrong::once("a newer set came before this one")),
            }
        });
        let panicked = |_| Err(Wrong::once("internal error: loading panicked, which is a bug"));
        publishing.await.unwrap_or_else(panicked)
    }

    fn connected(&mut self) {
        let is_new = self.away.take().is_some() || !self.is_connected();
        if is_new {
            XdsConnected { source: &self.name, node: &self.server.node_id }.emit();
        }
        self.publisher.latest().set_remote(&self.name, |remote| {
            (remote.is_connected, remote.failure) = (true, None);
        });
    }

    fn is_connected(&self) -> bool {
        let remotes = self.publisher.latest().remotes();
        remotes.iter().any(|remote| remote.name == self.name && remote.is_connected)
    }

    fn note_accepted(&self, version: &str, resources: usize, is_new: bool) {
        let now = self.publisher.now();
        self.publisher.latest().set_remote(&self.name, |remote| {
            (remote.has_answered, remote.is_refused) = (true, false);
            (remote.version, remote.resources) = (Some(version.to_owned()), resources);
            remote.updated = Some(now);
            remote.accepted += u64::from(is_new);
        });
    }

    /// The connection ended, or none came about.
    fn lost(&mut self, error: String, again_in: Duration) {
        let now = Instant::now();
        let is_news = self
            .away
            .as_ref()
            .is_none_or(|(told, at)| *told != error || now.duration_since(*at) >= TOLD_AGAIN);
        self.publisher.latest().set_remote(&self.name, |remote| {
            (remote.is_connected, remote.failure) = (false, Some(error.clone()));
        });
        if is_news {
            let is_kept = self.accepted.is_some();
            XdsAway { source: &self.name, error: &error, again_in, is_kept }.emit();
            self.away = Some((error, now));
        }
    }
}

/// Waits until files of TLS do not look as they looked, and can be used.
async fn changed(files: Option<(XdsTls, Vec<Fingerprint>)>) {
    let Some((tls, looked)) = files else { return pending().await };
    loop {
        tokio::time::sleep(LOOK).await;
        let (tls, looked) = (tls.clone(), looked.clone());
        let look = move || tls.looks() != looked && tls.can_be_used();
        if tokio::task::spawn_blocking(look).await.unwrap_or_default() {
            return;
        }
    }
}

/// The first mistakes, for the control plane that sent them.
fn told(diagnostics: &[Diagnostic]) -> String {
    let errors = || diagnostics.iter().filter(|one| one.severity == Severity::Error);
    let each = errors().take(MOST_TOLD).map(|one| {
        let place = one.excerpt.as_ref().map(|excerpt| format!("{}: ", excerpt.place));
        let hint = one.hint.as_ref().map(|hint| format!("; {hint}"));
        format!("{}{}{}", place.unwrap_or_default(), one.message, hint.unwrap_or_default())
    });
    let more = errors().count().saturating_sub(MOST_TOLD);
    let more = (more > 0).then(|| format!("and {more} more"));
    each.chain(more).collect::<Vec<_>>().join("\n")
}
