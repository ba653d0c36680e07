//! Puts configurations in force, one at a time and never an older one after a newer one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::change::Change;
use super::history::{Event, History};
use super::people::{Amendment, NotChanged, Recorded, SubjectChanges, amend, amend_one};
use super::tiers::hold_tiers;
use crate::clock::Clock;
use crate::config::{self, Diagnostic, Loaded, Options, Sources};
use crate::limiter::Limiter;
use crate::model::Timestamp;
use crate::policy::Policy;
use crate::store::Store;
use crate::telemetry::ReachedTiersNotKept;

/// What is in force, and whether it is the newest that was seen.
#[derive(Clone, Debug)]
pub struct Status {
    /// Counts the configurations that were put in force: 1 is the one that the server started with.
    pub generation: u64,
    /// When this one was put in force, by the wall clock.
    pub since: Timestamp,
    /// Whether a newer one was refused.
    pub stale: bool,
    /// Why it was refused; empty unless stale.
    pub refusal: Arc<[Diagnostic]>,
    /// The names of what it was compiled from; empty until it is known.
    pub files: Arc<[String]>,
}

/// The status, for whoever wants to read it.
#[derive(Debug)]
pub struct Latest(Mutex<Known>);

#[derive(Debug)]
struct Known {
    status: Status,
    /// The version that is in force.
    in_force: Version,
    /// The newest version that was put in force or refused.
    newest: Version,
    history: History,
}

impl Latest {
    /// What holds now.
    pub fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// What was put in force and what was refused, the newest first.
    pub fn history(&self) -> Vec<Event> {
        self.lock().history.newest_first()
    }

    /// Says what the configuration was compiled from that the server started with, of so many rules.
    pub fn begin(&self, files: &[String], rules: usize) {
        let mut known = self.lock();
        known.status.files = files.into();
        let at = known.status.since;
        known.history.add(Event::applied(at, 1, rules, &Change::default()));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Plain values, each whole whatever a thread that held them died of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a configuration was seen, among all that are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

/// What became of a configuration.
#[derive(Debug)]
pub enum Published {
    /// It is in force.
    Applied {
        /// As which generation.
        generation: u64,
        /// How many rules it has.
        rules: usize,
        /// What it changes.
        change: Change,
        /// The names of what it was compiled from.
        names: Vec<String>,
        /// What is probably not meant in it.
        warnings: Vec<Diagnostic>,
    },
    /// It has mistakes, and what was in force stays so.
    Rejected(Vec<Diagnostic>),
    /// It has no mistakes, but a newer one came into force while it was compiled.
    Superseded,
}

/// How often a change of a subject is compiled while others come into force before it.
const TRIES: usize = 50;

/// The only one that puts policies in force.
#[derive(Debug)]
pub struct Publisher<S, C> {
    limiter: Arc<Limiter<S, C>>,
    seen: AtomicU64,
    latest: Arc<Latest>,
    /// What operators changed of subjects while the server runs.
    changes: Box<dyn SubjectChanges>,
    /// Held while a policy is made ready and put in force, so that publications come one after the other.
    publishing: Mutex<()>,
}

impl<S: Store, C: Clock> Publisher<S, C> {
    /// Publishes to `limiter`, whose policy is generation 1.
    pub fn new(limiter: Arc<Limiter<S, C>>) -> Self {
        let since = limiter.clock.now();
        let status =
            Status { generation: 1, since, stale: false, refusal: Arc::new([]), files: Arc::new([]) };
        let known = Known { status, in_force: Version(0), newest: Version(0), history: History::default() };
        let changes = Box::new(Recorded::of(&limiter.store));
        Self {
            limiter,
            seen: AtomicU64::new(0),
            latest: Arc::new(Latest(Mutex::new(known))),
            changes,
            publishing: Mutex::default(),
        }
    }

    /// Whether changes of subjects outlive the process.
    pub fn keeps_changes(&self) -> bool {
        self.changes.is_durable()
    }

    /// Changes one subject: compiles `sources` once more, which takes its time, with all changes that were made and this one, keeps
    /// the change and puts the policy in force. Returns its generation.
    ///
    /// # Errors
    ///
    /// Why it is refused. Nothing has changed then.
    pub fn change_subject(
        &self,
        amendment: &Amendment,
        sources: &Sources,
        options: &Options,
    ) -> Result<u64, NotChanged> {
        // Others may come into force while it is compiled.
        for _ in 1..TRIES {
            match self.try_to_change_subject(amendment, sources, options.clone()) {
                Err(NotChanged::Superseded) => {}
                ended => return ended,
            }
        }
        self.try_to_change_subject(amendment, sources, options.clone())
    }

    fn try_to_change_subject(
        &self,
        amendment: &Amendment,
        sources: &Sources,
        options: Options,
    ) -> Result<u64, NotChanged> {
        let version = self.version();
        let loaded = config::compile(sources, options);
        let mut loaded = loaded.map_err(|diagnostics| NotChanged::Files(diagnostics.len()))?;
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        if version <= self.latest.lock().in_force {
            return Err(NotChanged::Superseded);
        }
        let Amendment { domain, id, .. } = amendment;
        let kept = amend_one(&mut loaded.policy, &*self.changes, amendment)?;
        amend(&mut loaded.policy, &*self.changes, Some(domain))
            .map_err(|wrong| NotChanged::NotKept(wrong.message))?;
        self.changes.put(domain, id, kept.as_ref()).map_err(NotChanged::NotKept)?;
        match self.put_in_force(version, loaded) {
            Published::Applied { generation, .. } => Ok(generation),
            Published::Rejected(_) | Published::Superseded => Err(NotChanged::Superseded),
        }
    }

    /// What is in force, at any time from now on.
    pub fn latest(&self) -> Arc<Latest> {
        Arc::clone(&self.latest)
    }

    /// The version of a configuration that is seen now. To be taken before it is read.
    pub fn version(&self) -> Version {
        Version(self.seen.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Compiles `sources`, which takes its time and wants a thread that serves nobody, and puts the policy in force unless it has
    /// a mistake or a newer one is in force.
    pub fn publish(&self, version: Version, sources: &Sources, options: Options) -> Published {
        let answer = self.publish_if_right(version, sources, options);
        if let Published::Rejected(diagnostics) = &answer {
            self.refuse(version, diagnostics);
        }
        answer
    }

    /// Notes that a configuration is refused for its mistakes.
    pub fn refuse(&self, version: Version, diagnostics: &[Diagnostic]) {
        let mut known = self.latest.lock();
        if version > known.newest {
            known.newest = version;
            (known.status.stale, known.status.refusal) = (true, diagnostics.into());
            let at = self.limiter.clock.now();
            known.history.add(Event::rejected(at, diagnostics));
        }
    }

    /// The same for what may be half of a configuration: a mistake in it is no refusal, and the status stays as it is.
    pub fn publish_if_right(&self, version: Version, sources: &Sources, options: Options) -> Published {
        match config::compile(sources, options) {
            Ok(loaded) => self.apply(version, loaded),
            Err(diagnostics) => Published::Rejected(diagnostics),
        }
    }

    /// Lifts subjects to the tiers that they have reached, and keeps these where the store can. A store that fails keeps no new
    /// configuration out: it may be what is needed then.
    fn hold_tiers(&self, policy: &mut Policy) {
        let now = self.limiter.clock.now();
        policy.succeed(&self.limiter.engine.policy(), now);
        if let Some(records) = self.limiter.store.records()
            && let Err(error) = hold_tiers(policy, &*records, now)
        {
            ReachedTiersNotKept { error: &error }.emit();
        }
    }

    fn apply(&self, version: Version, mut loaded: Loaded) -> Published {
        // Its guard protects nothing that a panic could leave half done.
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(wrong) = amend(&mut loaded.policy, &*self.changes, None) {
            return Published::Rejected(vec![wrong]);
        }
        self.put_in_force(version, loaded)
    }

    fn put_in_force(&self, version: Version, loaded: Loaded) -> Published {
        let Loaded { mut policy, warnings, names } = loaded;
        let rules = policy.rules();
        if version <= self.latest.lock().in_force {
            return Published::Superseded;
        }
        self.hold_tiers(&mut policy);
        let mut known = self.latest.lock();
        let change = Change::between(&self.limiter.engine.policy(), &policy);
        self.limiter.publish(policy);
        known.in_force = version;
        known.status.generation += 1;
        known.status.since = self.limiter.clock.now();
        known.status.files = names.as_slice().into();
        let Status { generation, since, .. } = known.status;
        known.history.add(Event::applied(since, generation, rules, &change));
        // Where a newer one was refused meanwhile, that still is the newest.
        if version > known.newest {
            known.newest = version;
            (known.status.stale, known.status.refusal) = (false, Arc::new([]));
        }
        Published::Applied { generation: known.status.generation, rules, change, names, warnings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::MemoryStore;
    use std::time::Duration;

    fn publisher() -> Publisher<MemoryStore, ManualClock> {
        let clock = ManualClock::at(Timestamp::from_nanos(1_000_000_000));
        let policy = config::compile(&domain("start"), Options::default()).unwrap().policy;
        Publisher::new(Arc::new(Limiter::new(policy, MemoryStore::holding(1000, 1 << 20), clock)))
    }

    fn domain(name: &str) -> Sources {
        let text = format!("domain: {name}\ndescriptors: [{{key: k}}]");
        Sources::in_memory([("d.yaml".to_owned(), text)], [])
    }

    fn wrong() -> Sources {
        Sources::in_memory([("d.yaml", "domain: d\nlimits: 1")], [])
    }

    fn in_force(publisher: &Publisher<MemoryStore, ManualClock>, name: &str) -> bool {
        publisher.limiter.engine.policy().domain(name.as_bytes()).is_some()
    }

    #[test]
    fn an_older_one_that_is_compiled_later_never_replaces_a_newer_one() {
        let publisher = publisher();
        let (older, newer) = (publisher.version(), publisher.version());
        let answer = publisher.publish(newer, &domain("newer"), Options::default());
        assert!(matches!(answer, Published::Applied { generation: 2, .. }), "{answer:?}");
        let answer = publisher.publish(older, &domain("older"), Options::default());
        assert!(matches!(answer, Published::Superseded), "{answer:?}");
        assert!(in_force(&publisher, "newer"));
        let answer = publisher.publish(older, &wrong(), Options::default());
        assert!(matches!(answer, Published::Rejected(_)), "{answer:?}");
        let status = publisher.latest().status();
        assert_eq!((status.generation, status.stale), (2, false), "an old mistake is no news");
    }

    #[test]
    fn what_is_refused_leaves_in_force_what_is_and_the_status_says_so() {
        let publisher = publisher();
        let latest = publisher.latest();
        let begun = latest.status().since;
        publisher.limiter.clock.advance(Duration::from_secs(5));
        let Published::Rejected(reported) =
            publisher.publish(publisher.version(), &wrong(), Options::default())
        else {
            panic!("it has a mistake")
        };
        let status = latest.status();
        assert_eq!((status.generation, status.since, status.stale), (1, begun, true));
        assert_eq!(*status.refusal, *reported);
        assert!(in_force(&publisher, "start"));

        publisher.publish(publisher.version(), &domain("next"), Options::default());
        let status = latest.status();
        assert_eq!((status.generation, status.stale, status.refusal.len()), (2, false, 0));
        assert_eq!(status.since, begun.plus(Duration::from_secs(5)));
        assert!(in_force(&publisher, "next"));

        publisher.publish_if_right(publisher.version(), &wrong(), Options::default());
        assert!(!latest.status().stale, "half of one is no refusal");
    }

    #[test]
    fn of_an_older_one_that_is_right_and_a_newer_one_that_is_not_the_status_tells_both() {
        let publisher = publisher();
        let (older, newer) = (publisher.version(), publisher.version());
        publisher.publish(newer, &wrong(), Options::default());
        publisher.publish(older, &domain("older"), Options::default());
        let status = publisher.latest().status();
        assert_eq!((status.generation, status.stale), (2, true));
        assert!(in_force(&publisher, "older"));
    }
}
