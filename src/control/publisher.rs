//! Puts configurations in force, one at a time and never an older one after a newer one.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::background::Background;
use super::change::Change;
use super::history::Event;
use super::latest::{FILES, Latest, Status, Version};
use super::parts::Parts;
use super::people::{Amendment, NotChanged, Recorded, SubjectChanges, amend, amend_domain, amend_one};
use super::remote::Remote;
use super::tiers::hold_tiers;
use crate::clock::Clock;
use crate::config::{self, Diagnostic, Loaded, Options, Sources};
use crate::limiter::Limiter;
use crate::model::Timestamp;
use crate::policy::Policy;
use crate::store::{Store, StoreError};
use crate::subjects::SubjectChange;
use crate::telemetry::{Metrics, ReachedTiersNotKept, ReadyTallies, SubjectChangeSettled};

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

/// How long a change of a subject waits for those before it, which wait for a disk.
const CHANGED_WITHIN: Duration = Duration::from_secs(5);

/// The only one that puts policies in force.
#[derive(Debug)]
pub struct Publisher<S, C> {
    limiter: Arc<Limiter<S, C>>,
    seen: AtomicU64,
    latest: Arc<Latest>,
    /// What operators changed of subjects while the server runs.
    changes: Box<dyn SubjectChanges>,
    /// Held while a subject is changed, so that changes come one after the other, with the last one if it is in doubt. Taken before
    /// `publishing`.
    changing: parking_lot::Mutex<Option<Doubt>>,
    /// Held while a policy is made ready and put in force, so that publications come one after the other.
    publishing: Mutex<()>,
    /// Held while a configuration is compiled that comes from several places: what the others say stays the same meanwhile.
    parts: Mutex<Parts>,
    /// Policies that were replaced, until no request sees them.
    replaced: Mutex<Vec<Arc<Policy>>>,
    compiling: Background,
    freeing: Background,
    adding_up: Background,
    /// What counts the hits of rules, if anything does.
    metrics: Option<Arc<Metrics>>,
}

/// A change of a subject of which it is not known whether it is kept.
#[derive(Debug)]
struct Doubt {
    domain: String,
    id: String,
    /// What is kept of the subject if it is.
    kept: Option<SubjectChange>,
}

/// A configuration without mistakes, with what workers count its hits with.
#[derive(Debug)]
struct Ready {
    loaded: Loaded,
    tallies: Option<ReadyTallies>,
}

/// Where a policy is from that was compiled anew.
#[derive(Debug)]
struct Compiled<'a> {
    version: Option<Version>,
    /// Whose configuration changed: [`FILES`] or a control plane's name.
    place: &'a str,
    names: &'a [String],
}

impl<S: Store, C: Clock> Publisher<S, C> {
    /// Publishes to `limiter`, whose policy is generation 1.
    pub fn new(limiter: Arc<Limiter<S, C>>) -> Self {
        let latest = Latest::beginning(limiter.clock.now());
        let changes = Box::new(Recorded::of(&limiter.store));
        Self {
            limiter,
            seen: AtomicU64::new(0),
            latest: Arc::new(latest),
            changes,
            changing: parking_lot::Mutex::default(),
            publishing: Mutex::default(),
            parts: Mutex::default(),
            replaced: Mutex::default(),
            compiling: Background::default(),
            freeing: Background::default(),
            adding_up: Background::default(),
            metrics: None,
        }
    }

    /// Has room made in `metrics` for the counts of each policy before it comes into force, so that no worker has to.
    #[must_use]
    pub fn counting_in(mut self, metrics: &Arc<Metrics>) -> Self {
        self.metrics = Some(Arc::clone(metrics));
        self
    }

    /// Frees the policies that were replaced and that no request sees any more: here, because a worker that was the last to see one
    /// of 100,000 rules would be tens of milliseconds late with its next answers. To be called now and then.
    pub fn free_replaced(&self) {
        drop(self.unseen());
    }

    /// Has the same done in the background. `false` if it is not, because the last time has not come to its end yet.
    pub fn begin_to_free_replaced(&self) -> bool {
        if self.freeing.is_taken() {
            return false;
        }
        // Taken out here: in the background it would hold a lock that others wait for.
        let unseen = self.unseen();
        self.freeing.begin(move || drop(unseen))
    }

    /// Adds up what was counted under policies that were replaced, and frees the counts themselves. It takes its time. To be called now
    /// and then.
    pub fn tidy_counts(&self) {
        let Some(metrics) = &self.metrics else { return };
        let catalog = self.limiter.engine.policy().catalog().clone();
        metrics.forget_other_domains(&catalog);
        if let Some(tidying) = metrics.tidying(&catalog) {
            let mut tidied = self.adding_up.compute(move || tidying.add_up());
            metrics.tidy(&mut tidied);
            // Where there is no thread for it, it is freed here.
            self.adding_up.begin(move || drop(tidied));
        }
    }

    fn unseen(&self) -> Vec<Arc<Policy>> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody can come to share one that is not shared.
        replaced.extract_if(.., |policy| Arc::strong_count(policy) == 1).collect()
    }

    /// Whether there are policies that were replaced and that [`free_replaced`](Self::free_replaced) may free.
    pub fn keeps_replaced(&self) -> bool {
        !self.replaced.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Has configurations come from these control planes, too, beside the `files` that are in force, if there are any. To be
    /// called before anything is published.
    pub fn begin_remotes<'n>(&self, names: impl IntoIterator<Item = &'n str>, files: Option<Sources>) {
        let (mut parts, mut known) = (self.parts(), self.latest.lock());
        for name in names {
            parts.remotes.insert(name.to_owned(), Sources::in_memory::<String, String>([], []));
            known.remotes.push(Remote::named(name));
        }
        parts.files = files;
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Each part is whole whatever a thread that held them died of.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store has not failed, so that what it keeps of subjects can be read.
    pub fn can_read_store(&self) -> bool {
        self.limiter.store.failure().is_none()
    }

    /// Whether changes of subjects outlive the process.
    pub fn keeps_changes(&self) -> bool {
        self.changes.is_durable()
    }

    /// Changes one subject of the policy in force, whatever its files say by now: keeps the change and puts the policy in force with
    /// all changes that were made and this one. It takes its time. Returns the policy's generation.
    ///
    /// # Errors
    ///
    /// Why it is refused. Nothing has changed then, but for [`NotChanged::InDoubt`].
    pub fn change_subject(&self, amendment: &Amendment) -> Result<u64, NotChanged> {
        let mut in_doubt = self.changing.try_lock_for(CHANGED_WITHIN).ok_or(NotChanged::Busy)?;
        let Amendment { domain, id, .. } = amendment;
        self.settle(&mut in_doubt)?;
        let before = self.limiter.engine.policy().clone();
        let (amended, kept) = amend_one(&before, &*self.changes, amendment)?;
        // The disk may take its time. Files come into force meanwhile.
        self.changes.put(domain, id, kept.as_ref()).map_err(|error| match error {
            StoreError::InDoubt { .. } => {
                *in_doubt = Some(Doubt { domain: domain.clone(), id: id.clone(), kept });
                NotChanged::InDoubt(error.to_string())
            }
            _ => NotChanged::NotKept(error.to_string()),
        })?;
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.limiter.engine.policy().clone();
        // Other files may have come into force while the change was written.
        let amended =
            if Arc::ptr_eq(&before, &now) { amended } else { amend_domain(&now, &*self.changes, domain)? };
        Ok(self.put_in_force(amended, None))
    }

    /// Whether it is not known of the last change whether it is kept.
    pub fn is_in_doubt(&self) -> bool {
        // Where somebody changes something, they settle it.
        self.changing.try_lock().is_some_and(|in_doubt| in_doubt.is_some())
    }

    /// Has what is in force agree with what is kept after a change that was in doubt, once that is known. It waits for some seconds
    /// at most.
    ///
    /// # Errors
    ///
    /// Why it is still in doubt.
    pub fn settle_doubt(&self) -> Result<(), NotChanged> {
        let mut in_doubt = self.changing.try_lock_for(CHANGED_WITHIN).ok_or(NotChanged::Busy)?;
        self.settle(&mut in_doubt)
    }

    fn settle(&self, in_doubt: &mut Option<Doubt>) -> Result<(), NotChanged> {
        let Some(Doubt { domain, id, kept }) = in_doubt else { return Ok(()) };
        // Read before that, it would be what was kept before the change: the commit may not have ended yet.
        self.changes.settle().map_err(|error| NotChanged::NotKept(error.to_string()))?;
        let all = self.changes.all(domain).map_err(NotChanged::NotKept)?;
        let is_kept = all.changes.into_iter().find(|(of, _)| of == id).map(|(_, kept)| kept) == *kept;
        // Its domain may have gone meanwhile, and with it all that could disagree.
        match self.amend_again(domain) {
            Err(NotChanged::NoSubjects(_)) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        SubjectChangeSettled { domain, subject: id, is_kept }.emit();
        *in_doubt = None;
        Ok(())
    }

    /// Puts in force what is kept of the subjects of `domain`.
    fn amend_again(&self, domain: &str) -> Result<(), NotChanged> {
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let amended = amend_domain(&self.limiter.engine.policy(), &*self.changes, domain)?;
        self.put_in_force(amended, None);
        Ok(())
    }

    /// The time, by the wall clock.
    pub fn now(&self) -> Timestamp {
        self.limiter.clock.now()
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
            known.note(FILES, Some(diagnostics));
            let at = self.limiter.clock.now();
            known.history.add(Event::rejected(at, diagnostics));
        }
    }

    /// The same for what may be half of a configuration: a mistake in it is no refusal, and the status stays as it is.
    pub fn publish_if_right(&self, version: Version, sources: &Sources, options: Options) -> Published {
        let mut parts = self.parts();
        let answer = match self.compile(parts.with_files(sources), options) {
            Ok(ready) => self.apply(Some(version), FILES, ready),
            Err(diagnostics) => Published::Rejected(diagnostics),
        };
        if matches!(answer, Published::Applied { .. }) {
            parts.keep_files(sources);
        }
        without_names_of(answer, parts.remotes.values())
    }

    /// Puts in force what the control plane `name` sends, in place of what it sent before, beside what comes from elsewhere. A
    /// mistake in it changes nothing; `told` may say more of each. To be called for its sets one after the other, on a thread
    /// that serves nobody.
    pub fn publish_remote(
        &self,
        name: &str,
        sources: &Sources,
        options: Options,
        told: impl FnOnce(&mut [Diagnostic]),
    ) -> Published {
        let mut parts = self.parts();
        let answer = match self.compile(parts.with_remote(name, sources), options) {
            Ok(mut ready) => {
                told(&mut ready.loaded.warnings);
                self.apply(None, name, ready)
            }
            Err(mut diagnostics) => {
                told(&mut diagnostics);
                Published::Rejected(diagnostics)
            }
        };
        match &answer {
            Published::Applied { .. } => drop(parts.remotes.insert(name.to_owned(), sources.clone())),
            Published::Rejected(diagnostics) => self.refuse_remote(name, diagnostics),
            Published::Superseded => {}
        }
        answer
    }

    /// Compiles and makes ready what takes its time, in the background.
    fn compile(&self, sources: Sources, options: Options) -> Result<Ready, Vec<Diagnostic>> {
        let tallies = self.metrics.as_ref().map(|metrics| metrics.next_tallies());
        self.in_background(move || {
            let mut loaded = config::compile(&sources, options.clone())?;
            loaded.policy.prepare();
            let tallies = tallies.as_ref().map(|tallies| tallies.of(loaded.policy.catalog()));
            Ok(Ready { loaded, tallies })
        })
    }

    /// What `work` comes to, of whose kind there is much where policies are large: done while nothing else wants the core, or by the
    /// calling thread where that takes too long. It may be done twice.
    pub fn in_background<T: Send + 'static>(&self, work: impl Fn() -> T + Send + Sync + 'static) -> T {
        self.compiling.compute(work)
    }

    /// What the policy files at `path` say, read in the same way.
    pub fn read_files(&self, path: &Path, every_file: bool) -> Sources {
        let path = path.to_owned();
        self.in_background(move || Sources::in_files(&[&path], every_file))
    }

    /// Notes that what the control plane `name` sent is refused for its mistakes.
    pub fn refuse_remote(&self, name: &str, diagnostics: &[Diagnostic]) {
        let mut known = self.latest.lock();
        known.note(name, Some(diagnostics));
        let at = self.limiter.clock.now();
        known.history.add(Event::rejected(at, diagnostics));
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

    fn apply(&self, version: Option<Version>, place: &str, ready: Ready) -> Published {
        let Ready { mut loaded, tallies } = ready;
        // Its guard protects nothing that a panic could leave half done.
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(wrong) = amend(&mut loaded.policy, &*self.changes) {
            return Published::Rejected(vec![wrong]);
        }
        // Versions are those of files, which are read by several; a control plane's sets come one after the other.
        if version.is_some_and(|version| version <= self.latest.lock().in_force) {
            return Published::Superseded;
        }
        let Loaded { policy, warnings, names } = loaded;
        let (rules, change) = (policy.rules(), Change::between(&self.limiter.engine.policy(), &policy));
        if let (Some(metrics), Some(tallies)) = (&self.metrics, tallies) {
            metrics.prepare(tallies);
        }
        let generation = self.put_in_force(policy, Some(&Compiled { version, place, names: &names }));
        Published::Applied { generation, rules, change, names, warnings }
    }

    /// Puts `policy` in force and returns its generation. Where it was compiled anew, it comes with where it is
    /// from; else it is the one in force with a change beside them.
    fn put_in_force(&self, mut policy: Policy, compiled: Option<&Compiled<'_>>) -> u64 {
        self.hold_tiers(&mut policy);
        let (rules, change) = (policy.rules(), Change::between(&self.limiter.engine.policy(), &policy));
        policy.prepare();
        let replaced = self.limiter.publish(policy);
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).push(replaced);
        if !self.begin_to_free_replaced() {
            self.free_replaced();
        }
        let mut known = self.latest.lock();
        known.status.generation += 1;
        known.status.since = self.limiter.clock.now();
        let Status { generation, since, .. } = known.status;
        known.history.add(Event::applied(since, generation, rules, &change));
        if let Some(&Compiled { version, place, names }) = compiled {
            known.in_force = version.unwrap_or(known.in_force);
            known.status.files = names.into();
            // Where a newer one was refused meanwhile, that still is the newest.
            if version.is_none_or(|version| version > known.newest) {
                known.newest = version.unwrap_or(known.newest);
                known.note(place, None);
            }
        }
        drop(known);
        self.latest.changes.send_replace(());
        generation
    }
}

/// Leaves out the names of what came from control planes.
fn without_names_of<'s>(mut answer: Published, remotes: impl IntoIterator<Item = &'s Sources>) -> Published {
    if let Published::Applied { names, .. } = &mut answer {
        let remote: HashSet<&str> = remotes.into_iter().flat_map(Sources::names).collect();
        names.retain(|name| !remote.contains(name.as_str()));
    }
    answer
}

#[cfg(test)]
mod tests;
