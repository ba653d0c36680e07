//! What runs beside the gRPC server as long as it serves.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::certificates::Certificates;
use super::origins::Xds;
use super::slots::Slots;
use super::{http, json};
use crate::admin;
use crate::clock::{Clock, Step};
use crate::control::{self, Publisher, Watched};
use crate::limiter::Limiter;
use crate::store::Store;
use crate::telemetry::{ClockStepped, CountersEvicted, Metrics, StoreBroken, StoreReopened, TaskEnded};
use crate::tls::REASONS;
use crate::xds;

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

/// A task for each control plane.
pub(super) fn ask_control_planes<S: Store, C: Clock>(
    xds: Option<&Xds>,
    publisher: &Arc<Publisher<S, C>>,
    metrics: &Arc<Metrics>,
) -> Vec<Guarded<()>> {
    let followed = xds.map(|xds| &xds.followed);
    let each = followed.into_iter().flat_map(|followed| {
        followed.servers.iter().map(move |server| {
            let (server, followed) = (server.clone(), followed.clone());
            let (publisher, of_task) = (Arc::clone(publisher), Arc::clone(metrics));
            in_background("asking the xDS server", metrics, move || {
                xds::follow(server.clone(), followed.clone(), Arc::clone(&publisher), Arc::clone(&of_task))
            })
        })
    });
    each.collect()
}

pub(super) fn answer_operators<S: Store, C: Clock>(
    listener: TcpListener,
    most_connections: usize,
    parts: admin::Parts<S, C>,
    decider: json::Decider,
) -> Guarded<()> {
    let metrics = Arc::clone(&parts.metrics);
    let listener = Arc::new(listener);
    let slots = Slots::new(most_connections, http::IN_USE, metrics.http_connections());
    let (router, of_task) =
        (admin::operators_router(parts).merge(json::router(decider)), Arc::clone(&metrics));
    in_background("HTTP", &metrics, move || {
        let (listener, slots, of_task) = (Arc::clone(&listener), Arc::clone(&slots), Arc::clone(&of_task));
        http::serve(listener, router.clone(), slots, of_task, "HTTP", None)
    })
}

/// Serves the certificates that the files hold as they change.
pub(super) fn follow_certificates<S: Store, C: Clock>(
    certificates: Arc<Certificates>,
    limiter: &Arc<Limiter<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    metrics.set_tls_reasons(&REASONS);
    certificates.report(metrics);
    let (limiter, of_task) = (Arc::clone(limiter), Arc::clone(metrics));
    in_background("watching certificates", metrics, move || {
        let limiter = Arc::clone(&limiter);
        let now = move || limiter.clock.read().wall.as_nanos() / 1_000_000_000;
        Arc::clone(&certificates).follow(now, Arc::clone(&of_task))
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

/// Looks whether a change of a subject is kept that was in doubt, until that is known.
pub(super) fn settle_changes<S: Store, C: Clock>(
    publisher: &Arc<Publisher<S, C>>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let publisher = Arc::clone(publisher);
    in_background("settling changes", metrics, move || {
        let publisher = Arc::clone(&publisher);
        async move {
            let mut ticks = tokio::time::interval(STORE_LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if publisher.is_in_doubt() {
                    let publisher = Arc::clone(&publisher);
                    // Still in doubt, it is asked again; a panic was logged.
                    let _ = tokio::task::spawn_blocking(move || publisher.settle_doubt()).await;
                }
            }
        }
    })
}

/// Frees what is needed no more: counters, and policies that were replaced, wherever the new ones came from.
pub(super) fn free_counters<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    publisher: &Arc<Publisher<S, C>>,
    evicted: &Arc<Evicted>,
    metrics: &Arc<Metrics>,
) -> Guarded<()> {
    let (limiter, evicted, of_task) = (Arc::clone(limiter), Arc::clone(evicted), Arc::clone(metrics));
    let publisher = Arc::clone(publisher);
    in_background("freeing counters", metrics, move || {
        sweep(Arc::clone(&limiter), Arc::clone(&publisher), Arc::clone(&evicted), Arc::clone(&of_task))
    })
}

/// Sends statistics from time to time, where somebody wants them.
pub(super) fn report_statistics<S: Store, C: Clock>(
    limiter: &Arc<Limiter<S, C>>,
    metrics: &Arc<Metrics>,
) -> Option<Guarded<()>> {
    let interval = metrics.statistics_interval()?;
    let (limiter, of_task) = (Arc::clone(limiter), Arc::clone(metrics));
    Some(in_background("sending statistics", metrics, move || {
        let (limiter, metrics) = (Arc::clone(&limiter), Arc::clone(&of_task));
        async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                send_statistics(Arc::clone(&limiter), Arc::clone(&metrics)).await;
            }
        }
    }))
}

/// Sends statistics on a thread that may wait.
pub(super) async fn send_statistics<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) {
    let sending = move || metrics.send_statistics(limiter.engine.policy().catalog());
    // A panic was logged, and the next try is a new one.
    let _ = tokio::task::spawn_blocking(sending).await;
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

/// Reports that the store has failed, at once and then each minute, and that it works again.
async fn report_failure<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(STORE_LOOK);
    let mut told: Option<Instant> = None;
    loop {
        ticks.tick().await;
        match limiter.store.failure() {
            Some(reason) if told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN) => {
                StoreBroken { reason: &reason }.emit(&metrics);
                told = Some(Instant::now());
            }
            None if told.take().is_some() => StoreReopened.emit(&metrics),
            _ => {}
        }
    }
}

async fn sweep<S: Store, C: Clock>(
    limiter: Arc<Limiter<S, C>>,
    publisher: Arc<Publisher<S, C>>,
    evicted: Arc<Evicted>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        if publisher.keeps_replaced() && !publisher.begin_to_free_replaced() {
            let publisher = Arc::clone(&publisher);
            // A large one takes tens of milliseconds. Without a thread it is freed the next time; a panic was logged.
            let _ = control::yielding(move || publisher.free_replaced()).await;
        }
        evicted.report(&limiter.store);
        metrics.report_held_back(false);
        let of_counts = Arc::clone(&publisher);
        // Without a thread it is done the next time; a panic was logged.
        let _ = control::yielding(move || of_counts.tidy_counts()).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::{self, Options, Sources};
    use crate::store::MemoryStore;

    /// As where all configurations come by xDS.
    #[tokio::test(start_paused = true)]
    async fn a_policy_that_was_replaced_is_freed_though_no_files_are_followed() {
        let sources = |name: &str| {
            Sources::in_memory([("d.yaml", format!("domain: {name}\ndescriptors: [{{key: k}}]"))], [])
        };
        let policy = config::compile(&sources("first"), Options::default()).unwrap().policy;
        let store = MemoryStore::holding(1000, 1 << 20);
        let limiter = Arc::new(Limiter::new(policy, store, ManualClock::default()));
        let publisher = Arc::new(Publisher::new(Arc::clone(&limiter)));
        let seen = limiter.engine.policy().clone();
        publisher.publish(publisher.version(), &sources("second"), Options::default());
        let metrics = Arc::new(Metrics::default());
        let _freeing = free_counters(&limiter, &publisher, &Arc::default(), &metrics);
        let first = Arc::downgrade(&seen);
        tokio::time::sleep(3 * SWEEP).await;
        drop(seen);
        assert!(first.upgrade().is_some(), "the request that saw it last does not free it");
        for _ in 0..100_000 {
            tokio::time::sleep(SWEEP).await;
            if first.upgrade().is_none() {
                return;
            }
            // The thread that frees it knows nothing of paused time.
            std::thread::yield_now();
        }
        panic!("it is still there");
    }
}
