//! What runs beside the gRPC server as long as it serves.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http;
use super::slots::Slots;
use crate::admin;
use crate::clock::{Clock, Step};
use crate::control::{self, Publisher, Watched};
use crate::limiter::Limiter;
use crate::store::Store;
use crate::telemetry::{ClockStepped, CountersEvicted, Metrics, StoreBroken, TaskEnded};

/// The time that a counter is kept after its window: a call may have read the clock just before the window's end.
const KEPT: Duration = Duration::from_secs(60);
/// The time between two sweeps, which free expired counters.
const SWEEP: Duration = Duration::from_secs(10);
/// The time between two checks of the clock, which find that it was set even while no calls come.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
/// The time between two looks at whether the store has failed, and between two reports of that.
const STORE_LOOK: Duration = Duration::from_secs(1);
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// The pause after each part of a sweep, in which the workers have all cores.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(20);
/// The pause before a task that ended is started again.
const STARTED_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn reload_files<S: Store, C: Clock>(
    watched: Watched,
    publisher: Arc<Publisher<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let of_task = Arc::clone(metrics);
    in_background("reloading the configuration", metrics, move || {
        control::follow(watched.clone(), Arc::clone(&publisher), Arc::clone(&of_task))
    })
}

pub(super) fn answer_operators<S: Store, C: Clock>(
    listener: TcpListener,
    most_connections: usize,
    parts: admin::Parts<S, C>,
) -> Guarded<()> {
    let metrics = Arc::clone(&parts.metrics);
    let (listener, slots) = (Arc::new(listener), Slots::new(most_connections, metrics.http_connections()));
    let (router, of_task) = (admin::router(parts), Arc::clone(&metrics));
    in_background("HTTP", &metrics, move || {
        http::serve(Arc::clone(&listener), router.clone(), Arc::clone(&slots), Arc::clone(&of_task))
    })
}

pub(super) fn report_clock_steps<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let (limiter, of_task) = (Arc::clone(limiter), Arc::clone(metrics));
    in_background("watching the clock", metrics, move || {
        watch_clock(Arc::clone(&limiter), Arc::clone(&of_task))
    })
}

pub(super) fn watch_store<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let (limiter, of_task) = (Arc::clone(limiter), Arc::clone(metrics));
    in_background("watching the store", metrics, move || {
        report_failure(Arc::clone(&limiter), Arc::clone(&of_task))
    })
}

pub(super) fn free_counters<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    evicted: &Arc<Evicted>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let (limiter, evicted, of_task) = (Arc::clone(limiter), Arc::clone(evicted), Arc::clone(metrics));
    in_background("freeing counters", metrics, move || {
        sweep(Arc::clone(&limiter), Arc::clone(&evicted), Arc::clone(&of_task))
    })
}

/// Spawns a task that runs until the handle is dropped: see [`supervised`].
fn in_background<F: Future<Output = ()> + Send + 'static>(
    what: &'static str,
    metrics: &Arc<Metrics>,
    task: impl Fn() -> F + Send + Sync + 'static,
) -> Guarded<()> {
    Guarded(tokio::spawn(supervised(what, Arc::clone(metrics), task)))
}

/// Runs a task for ever. When it ends, which is an internal error (bug), it is started again.
async fn supervised<F: Future<Output = ()>>(what: &'static str, metrics: Arc<Metrics>, task: impl Fn() -> F) {
    loop {
        // The panic hook has logged the panic.
        let _ = AssertUnwindSafe(async { task().await }).catch_unwind().await;
        TaskEnded { what, is_restarted: true }.emit(&metrics);
        tokio::time::sleep(STARTED_AGAIN).await;
    }
}

/// The number of counters that were evicted before they expired, up to the last report.
#[derive(Debug, Default)]
pub(super) struct Evicted(AtomicU64);

impl Evicted {
    /// Reports the evictions since the last report.
    pub(super) fn report(&self, store: &impl Store) {
        let now = store.statistics().evicted;
        let count = now.saturating_sub(self.0.swap(now, Ordering::Relaxed));
        if count > 0 {
            CountersEvicted { count }.emit();
        }
    }
}

/// Reports each time that the wall clock is set.
async fn watch_clock<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(CLOCK_LOOK);
    loop {
        ticks.tick().await;
        for step in limiter.clock.take_steps() {
            let (forward, by) = match step {
                Step::Forward(by) => (true, by),
                Step::Back(by) => (false, by),
            };
            ClockStepped { forward, by }.emit(&metrics);
        }
    }
}

/// Reports that the store has failed for good: at once, and then each minute.
async fn report_failure<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(STORE_LOOK);
    loop {
        ticks.tick().await;
        if let Some(reason) = limiter.store.failure() {
            StoreBroken { reason: &reason }.emit(&metrics);
            tokio::time::sleep(TOLD_AGAIN).await;
        }
    }
}

async fn sweep<S: Store, C: Clock>(
    limiter: Arc<Limiter<S, C>>,
    evicted: Arc<Evicted>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        evicted.report(&limiter.store);
        metrics.report_held_back(false);
        metrics.tidy(limiter.engine.policy().catalog());
        // In small parts, because the sweep takes time on a core that a worker uses.
        for () in limiter.store.sweep(limiter.clock.read().steady.minus(KEPT)) {
            tokio::time::sleep(BETWEEN_SWEEPS).await;
        }
    }
}

/// A task that is aborted when this handle is dropped.
#[derive(Debug)]
pub(super) struct Guarded<T>(pub(super) JoinHandle<T>);

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
