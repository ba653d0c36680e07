//! Configuration that changes while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::awaited::AwaitedStore;
use super::publisher::{Published, Publisher};
use super::reporting::{self, Reporting};
use super::yielding::yielding;
use crate::clock::Clock;
use crate::config::{Diagnostic, Fingerprint, Options};
use crate::store::Store;
use crate::telemetry::{ConfigReloaded, Metrics, TaskEnded};

/// How often files are looked at, be there news or none: not every file system reports changes, and not through every link.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait after news, and then again: whoever writes a file writes more than once.
const SETTLES: Duration = Duration::from_millis(25);
/// How long files may go on changing before they are read all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long after files could not be read they are tried again, at first and at most: a file system comes back, a right is
/// granted.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How soon the files are read again for a signal after the last one: those that come meanwhile are one.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// Within this time a change and a signal that asks for it come to the same.
const ONE_CHANGE: Duration = Duration::from_secs(3);

/// Files that a policy was read from.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What was named on the command line.
    pub path: PathBuf,
    /// How files are put together.
    pub options: Options,
    /// What they looked like before they were read.
    pub seen: Fingerprint,
    /// Those that were read, wherever they are.
    pub files: Vec<String>,
    /// Notified when the files are to be read at once, changed or not.
    pub reload: Arc<Notify>,
    /// How what is wrong with them is reported.
    pub reporting: Reporting,
}

/// Publishes what the files say whenever they change, as soon as they have looked the same twice: a file that is just
/// being written is let finish, for five seconds at most. A set of files with a mistake changes nothing; the mistakes are
/// logged, once.
pub async fn follow<S: Store, C: Clock>(
    watched: Watched,
    publisher: Arc<Publisher<S, C>>,
    metrics: Arc<Metrics>,
) {
    let news = Arc::new(Notify::new());
    // Dropped with this task. Without it, looking each second is what is left.
    let _watcher = watch(&watched.path, &news);
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reload = Arc::clone(&watched.reload);
    let mut follower = Follower::of(watched);
    let mut heard_again = Instant::now();
    loop {
        let asked = async {
            tokio::time::sleep_until(heard_again).await;
            reload.notified().await;
        };
        let why = tokio::select! {
            _ = ticks.tick() => Why::Time,
            () = news.notified() => Why::News,
            () = asked => Why::Asked,
        };
        if why == Why::Asked {
            heard_again = Instant::now() + ASKED_EVERY;
        }
        for _ in 0..if why == Why::News { 2 } else { 1 } {
            if why == Why::News {
                tokio::time::sleep(SETTLES).await;
            }
            let now = Instant::now();
            if let Some(after) = follower.after(why, now, &publisher, &metrics).await {
                follower = after;
            } else {
                TaskEnded { what: "reading the configuration", is_restarted: true }.emit(&metrics);
            }
        }
    }
}

/// Why the files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Time,
    News,
    Asked,
}

/// What is to be done with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// They are read: they have changed and settled, or are tried again.
    Load,
    /// They are read, and whoever asked for it gets an answer.
    LoadAsAsked,
    /// They are tried, as they do not settle.
    Try,
}

/// Notifies `news` when something changes in the directory `path`, or beside the file `path`.
fn watch(path: &Path, news: &Arc<Notify>) -> Option<impl Watcher + use<>> {
    let news = Arc::clone(news);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no news: we do it ourselves.
        if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            news.notify_one();
        }
    })
    .ok()?;
    let (directory, mode) = if path.is_dir() {
        (path, RecursiveMode::Recursive)
    } else {
        (
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            RecursiveMode::NonRecursive,
        )
    };
    // One that may not be read below it, as `lost+found`, fails the whole: then those on top are watched.
    watcher.watch(directory, mode).or_else(|_| watcher.watch(directory, RecursiveMode::NonRecursive)).ok()?;
    Some(watcher)
}

/// What is known of the files.
#[derive(Clone, Debug)]
struct Follower {
    watched: Watched,
    /// What they looked like when they were last read.
    read: Fingerprint,
    /// What they looked like at the last look.
    before: Fingerprint,
    /// Since when they have looked otherwise than when they were read.
    changing_since: Option<Instant>,
    /// Why they could not be read, when they are tried again, and how long after that the next time.
    failed: Option<(String, Instant, Duration)>,
    /// The store, where it alone kept them out. They are read again as soon as it has recovered.
    awaited: Option<AwaitedStore>,
    /// What was wrong with files that keep changing when they were last tried, and whether that was reported.
    unsettled: Option<(String, bool)>,
    /// What was told to be wrong with them, and when. A change and a signal that asks for it are one.
    told: Option<(String, Instant)>,
}

impl Follower {
    fn of(watched: Watched) -> Self {
        // Which files lie elsewhere is known only since they were read. What changes meanwhile is seen by the second look.
        let looks = Fingerprint::of(&watched.path, watched.options.every_file, &watched.files);
        let unchanged = Fingerprint::of(&watched.path, watched.options.every_file, &[]) == watched.seen;
        let seen = if unchanged { looks } else { watched.seen };
        Self {
            watched,
            read: seen,
            before: seen,
            changing_since: None,
            failed: None,
            awaited: None,
            unsettled: None,
            told: None,
        }
    }

    /// What is known after the files were looked at, and read if need be; none where that panicked.
    async fn after<S: Store, C: Clock>(
        &self,
        why: Why,
        now: Instant,
        publisher: &Arc<Publisher<S, C>>,
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        // A panic leaves things as they were.
        let (mut looking, of_look) = (self.clone(), Arc::clone(publisher));
        let looked = tokio::task::spawn_blocking(move || {
            let due = if why == Why::Asked { Some(Due::LoadAsAsked) } else { looking.look(now, &of_look) };
            (looking, due)
        });
        let (mut looked, due) = looked.await.ok()?;
        let Some(due) = due else { return Some(looked) };
        let (publisher, metrics) = (Arc::clone(publisher), Arc::clone(metrics));
        // On a thread of its own: a large policy takes its time. A look does not need one each second.
        let read = yielding(move || {
            looked.act(due, now, &publisher, &metrics);
            looked
        });
        read.await.ok()
    }

    /// Looks at the files, and tells what is due.
    fn look<S: Store, C: Clock>(&mut self, now: Instant, publisher: &Publisher<S, C>) -> Option<Due> {
        let looks = Fingerprint::of(&self.watched.path, self.watched.options.every_file, &self.watched.files);
        let settled = std::mem::replace(&mut self.before, looks) == looks;
        if looks == self.read {
            self.changing_since = None;
            let store_is_back = self.awaited.as_mut().is_some_and(|store| store.is_back(publisher));
            let is_due = store_is_back || self.failed.as_ref().is_some_and(|(_, again, _)| now >= *again);
            return is_due.then_some(Due::Load);
        }
        let since = *self.changing_since.get_or_insert(now);
        if settled {
            self.read = looks;
            self.changing_since = None;
            Some(Due::Load)
        } else {
            (now.duration_since(since) >= LONGEST_WAIT).then_some(Due::Try)
        }
    }

    fn act<S: Store, C: Clock>(
        &mut self,
        due: Due,
        now: Instant,
        publisher: &Publisher<S, C>,
        metrics: &Metrics,
    ) {
        match due {
            Due::Load => self.load(now, false, publisher, metrics),
            Due::LoadAsAsked => self.read_now(now, publisher, metrics),
            Due::Try => self.try_unsettled(now, publisher, metrics),
        }
    }

    /// Puts in force files that may be half written, if they can be read all the same. A mistake counts once it was found two times
    /// in a row.
    fn try_unsettled<S: Store, C: Clock>(
        &mut self,
        now: Instant,
        publisher: &Publisher<S, C>,
        metrics: &Metrics,
    ) {
        if let Err(diagnostics) = self.take(false, publisher, metrics) {
            let mistakes = reporting::text(&diagnostics);
            let known = self.unsettled.take().filter(|(known, _)| *known == mistakes);
            if let Some((_, false)) = known {
                publisher.refuse(publisher.version(), &diagnostics);
                self.tell(now, &mistakes, &diagnostics, false, metrics);
            }
            self.unsettled = Some((mistakes, known.is_some()));
        }
        self.changing_since = Some(now);
    }

    /// Reads the files, whether they changed or not.
    fn read_now<S: Store, C: Clock>(&mut self, now: Instant, publisher: &Publisher<S, C>, metrics: &Metrics) {
        let looks = Fingerprint::of(&self.watched.path, self.watched.options.every_file, &self.watched.files);
        (self.read, self.before, self.changing_since) = (looks, looks, None);
        // Whoever asks gets an answer each time.
        (self.failed, self.unsettled) = (None, None);
        self.load(now, true, publisher, metrics);
    }

    /// Reads the files, and reports what is wrong with them if that is something new or was `asked`.
    fn load<S: Store, C: Clock>(
        &mut self,
        now: Instant,
        asked: bool,
        publisher: &Publisher<S, C>,
        metrics: &Metrics,
    ) {
        let store = AwaitedStore::of(publisher);
        let Err(diagnostics) = self.take(true, publisher, metrics) else { return };
        let mistakes = reporting::text(&diagnostics);
        let known = self.failed.take().filter(|(known, ..)| *known == mistakes);
        let pause = known.as_ref().map_or(AGAIN.0, |(.., pause)| (*pause * 2).min(AGAIN.1));
        let was_reported =
            self.unsettled.take().is_some_and(|(known, is_reported)| is_reported && known == mistakes);
        if known.is_none() && !was_reported {
            self.tell(now, &mistakes, &diagnostics, asked, metrics);
        }
        self.awaited = reporting::waits_for_store(&diagnostics).then_some(store);
        // What was read says the same however often it is read.
        if diagnostics.iter().any(|diagnostic| diagnostic.unread) {
            self.failed = Some((mistakes, now + pause, pause));
        }
    }

    /// Reports what is wrong with files. What was reported just before is reported again only if somebody `asked`, and counted once.
    fn tell(
        &mut self,
        now: Instant,
        mistakes: &str,
        diagnostics: &[Diagnostic],
        asked: bool,
        metrics: &Metrics,
    ) {
        let told = self.told.replace((mistakes.to_owned(), now));
        let is_new = told.is_none_or(|(told, at)| told != mistakes || now.duration_since(at) >= ONE_CHANGE);
        if is_new || asked {
            self.watched.reporting.refused(diagnostics, is_new, metrics);
        }
    }

    /// Puts in force what the files say, or reports what is wrong with them. Of what is not `settled` a mistake is no refusal.
    fn take<S: Store, C: Clock>(
        &mut self,
        settled: bool,
        publisher: &Publisher<S, C>,
        metrics: &Metrics,
    ) -> Result<(), Vec<Diagnostic>> {
        let options = self.watched.options.clone();
        let version = publisher.version();
        let sources = publisher.read_files(&self.watched.path, options.every_file);
        let answer = if settled {
            publisher.publish(version, &sources, options)
        } else {
            publisher.publish_if_right(version, &sources, options)
        };
        let (rules, change, names, warnings) = match answer {
            Published::Applied { rules, change, names, warnings, .. } => (rules, change, names, warnings),
            Published::Rejected(diagnostics) => {
                // Their mistake may be in a file that lies elsewhere, and that was not named before.
                let mut all = self.watched.files.clone();
                all.extend(sources.asked().into_iter().filter(|name| !self.watched.files.contains(name)));
                self.watches(all);
                return Err(diagnostics);
            }
            Published::Superseded => return Ok(()),
        };
        self.watched.reporting.warned(&warnings);
        ConfigReloaded { files: names.len(), rules, change: &change.told() }.emit(metrics);
        self.watches(names);
        (self.failed, self.unsettled, self.told) = (None, None, None);
        self.awaited = None;
        Ok(())
    }

    /// Watches `files` from now on. That some came to it or left it is no change of what they say. What changes meanwhile is seen by
    /// the second look, which is at those that were known before.
    fn watches(&mut self, files: Vec<String>) {
        let looks = Fingerprint::of(&self.watched.path, self.watched.options.every_file, &files);
        let known = Fingerprint::of(&self.watched.path, self.watched.options.every_file, &self.watched.files);
        if self.read == known {
            (self.read, self.before) = (looks, looks);
        }
        self.watched.files = files;
    }
}

#[cfg(test)]
mod tests;
