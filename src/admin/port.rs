//! The admin port's parts, put together on its own thread.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use tokio::sync::mpsc;

use super::Health;
use super::api::{Api, Served, StorePlace};
use super::audit::Audit;
use super::reloads::Reloads;
use super::token::TokenFile;
use super::{desk, live, router};
use crate::clock::Clock;
use crate::control::{Amendment, NotChanged, Published, Publisher, Watched};
use crate::engine::Engine;
use crate::limiter::Limiter;
use crate::model::Reading;
use crate::store::{Statistics, Store};
use crate::telemetry::Metrics;

/// The most questions about counters that wait to be taken up.
const WAITING: usize = 64;

/// What the admin port shows and changes.
#[derive(Debug)]
pub struct AdminParts<S, C> {
    /// Whether traffic should be sent here.
    pub health: Arc<Health>,
    /// What happened since the start.
    pub metrics: Arc<Metrics>,
    /// What decides.
    pub limiter: Arc<Limiter<S, C>>,
    /// Who puts configurations in force.
    pub publisher: Arc<Publisher<S, C>>,
    /// The files that they come from.
    pub watched: Option<Watched>,
    /// Where counters are kept.
    pub store: StorePlace,
    /// Who may use the port; without it everybody who reaches it.
    pub token: Option<TokenFile>,
}

struct Live<S, C> {
    limiter: Arc<Limiter<S, C>>,
    publisher: Arc<Publisher<S, C>>,
    watched: Option<Watched>,
}

impl<S, C> fmt::Debug for Live<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl<S: Store, C: Clock> Served for Live<S, C> {
    fn engine(&self) -> &Engine {
        &self.limiter.engine
    }

    fn statistics(&self) -> Statistics {
        self.limiter.store.statistics()
    }

    fn now(&self) -> Reading {
        self.limiter.clock.read()
    }

    fn reload(&self) -> Option<Published> {
        let Watched { path, options, .. } = self.watched.as_ref()?;
        let version = self.publisher.version();
        let sources = self.publisher.read_files(path, options.every_file);
        Some(self.publisher.publish(version, &sources, options.clone()))
    }

    fn change_subject(&self, amendment: &Amendment) -> Result<u64, NotChanged> {
        self.publisher.change_subject(amendment)
    }

    fn keeps_changes(&self) -> bool {
        self.publisher.keeps_changes()
    }
}

/// The routes of the port. Has to be called in a `LocalSet` of the port's own thread: the store is asked there, and the ticks
/// for viewers are made there.
pub fn admin_router<S: Store, C: Clock>(parts: AdminParts<S, C>) -> Router {
    let AdminParts { health, metrics, limiter, publisher, watched, store, token } = parts;
    let (desk, jobs) = mpsc::channel(WAITING);
    let latest = publisher.latest();
    tokio::task::spawn_local(desk::answer(Arc::clone(&limiter), jobs));
    let audit = Arc::new(Audit::of(&limiter.store));
    let served = Arc::new(Live { limiter, publisher, watched });
    let viewers = Arc::default();
    let api = Arc::new(Api {
        served,
        desk,
        health,
        metrics,
        latest,
        store,
        token,
        viewers,
        audit,
        reloads: Reloads::default(),
    });
    tokio::task::spawn_local(live::tick(Arc::clone(&api)));
    router::router(api)
}
