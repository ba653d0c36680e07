//! What is in force, for whoever wants to know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::change::Change;
use super::history::{Event, History};
use super::remote::Remote;
use crate::config::Diagnostic;
use crate::model::Timestamp;

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
pub struct Latest {
    known: Mutex<Known>,
    /// Sent to whenever something of it changes.
    pub(super) changes: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) status: Status,
    /// The version that is in force.
    pub(super) in_force: Version,
    /// The newest version that was put in force or refused.
    pub(super) newest: Version,
    /// Why the newest is refused that each place sent, by the name of the place: [`FILES`] or a control plane's.
    refusals: BTreeMap<String, Arc<[Diagnostic]>>,
    pub(super) remotes: Vec<Remote>,
    pub(super) history: History,
}

/// The name of files among the places that configurations come from.
pub(super) const FILES: &str = "";

impl Known {
    /// Notes why the newest that `place` sent is refused, if it is.
    pub(super) fn note(&mut self, place: &str, refusal: Option<&[Diagnostic]>) {
        match refusal {
            Some(refusal) => drop(self.refusals.insert(place.to_owned(), refusal.into())),
            None => drop(self.refusals.remove(place)),
        }
        self.status.stale = !self.refusals.is_empty();
        self.status.refusal = match self.refusals.len() {
            1 => self.refusals.values().next().map(Arc::clone).unwrap_or_default(),
            _ => self.refusals.values().flat_map(|refusal| refusal.iter().cloned()).collect(),
        };
    }
}

impl Latest {
    /// Of the first configuration, which is in force since then.
    pub(super) fn beginning(since: Timestamp) -> Self {
        let status =
            Status { generation: 1, since, stale: false, refusal: Arc::new([]), files: Arc::new([]) };
        let known = Known {
            status,
            in_force: Version(0),
            newest: Version(0),
            refusals: BTreeMap::new(),
            remotes: Vec::new(),
            history: History::default(),
        };
        Self { known: Mutex::new(known), changes: watch::Sender::new(()) }
    }

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

    /// How it stands with each control plane that is asked.
    pub fn remotes(&self) -> Vec<Remote> {
        self.lock().remotes.clone()
    }

    /// Why the set that each of these control planes sent last is refused, by its name; those whose set is in force are not there.
    pub fn refusals(&self) -> BTreeMap<String, Arc<[Diagnostic]>> {
        let known = self.lock();
        let of_remotes = known.refusals.iter().filter(|(place, _)| *place != FILES);
        of_remotes.map(|(place, why)| (place.clone(), Arc::clone(why))).collect()
    }

    /// Changes how it stands with the control plane `name`.
    pub fn set_remote(&self, name: &str, change: impl FnOnce(&mut Remote)) {
        if let Some(remote) = self.lock().remotes.iter_mut().find(|remote| remote.name == name) {
            change(remote);
        }
        self.changes.send_replace(());
    }

    /// Hears of each change from now on: of what is in force, and of control planes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        // Plain values, each whole whatever a thread that held them died of.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a configuration was seen, among all that are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(super) u64);
