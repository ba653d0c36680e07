//! What the routes of the admin port answer from.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Health;
use super::answer::Problem;
use super::asked::Question;
use super::audit::Audit;
use super::reloads::Reloads;
use super::token::TokenFile;
use super::viewers::Viewers;
use crate::control::{Amendment, Latest, NotChanged, Published};
use crate::engine::Engine;
use crate::model::Reading;
use crate::store::Statistics;
use crate::telemetry::{AdminChange, Metrics};

/// The most bytes of a request's body.
pub(super) const LONGEST_BODY: usize = 64 << 10;

/// What serves Envoy, as far as operators look at it.
pub(super) trait Served: Debug + Send + Sync {
    /// What decides.
    fn engine(&self) -> &Engine;

    /// How much the store keeps.
    fn statistics(&self) -> Statistics;

    /// One reading of the clock.
    fn now(&self) -> Reading;

    /// Reads the configuration anew and puts it in force, which takes its time. `None` where it came from no files.
    fn reload(&self) -> Option<Published>;

    /// Changes a subject, which takes its time.
    fn change_subject(&self, amendment: &Amendment) -> Result<u64, NotChanged>;

    /// Whether changes of subjects outlive the process.
    fn keeps_changes(&self) -> bool;
}

/// Where counters are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorePlace {
    /// `memory`, `disk`, `redis` and so on.
    pub kind: String,
    /// For people; no password is in it.
    pub place: String,
    /// Whether replicas share it.
    pub is_shared: bool,
}

/// A question about counters, and where the answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) question: Question,
    pub(super) answer: oneshot::Sender<Result<serde_json::Value, Problem>>,
}

/// What the routes share.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) served: Arc<dyn Served>,
    pub(super) desk: mpsc::Sender<Job>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) latest: Arc<Latest>,
    pub(super) store: StorePlace,
    pub(super) token: Option<TokenFile>,
    pub(super) viewers: Arc<Viewers>,
    pub(super) audit: Arc<Audit>,
    pub(super) reloads: Reloads,
}

impl Api {
    /// Logs a change that was made, and keeps it.
    pub(super) async fn note(&self, change: AdminChange<'_>) {
        change.emit();
        self.keep(change).await;
    }

    /// Keeps a change that was made, and has a line of its own in the log.
    pub(super) async fn keep(&self, change: AdminChange<'_>) {
        self.audit.note(self.served.now().wall, change).await;
    }

    /// Has a question about counters answered where they can be asked.
    pub(super) async fn ask(&self, question: Question) -> Result<serde_json::Value, Problem> {
        let busy = || Problem::away("too many questions about counters are open; ask again");
        let (answer, answered) = oneshot::channel();
        self.desk.try_send(Job { question, answer }).map_err(|_| busy())?;
        answered.await.map_err(|_| Problem::away("the question was given up"))?
    }
}
