//! Counters, where they are kept, and the clock that they go by.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::telemetry::Metrics;

/// There were more counters than may be kept, and some that still counted were forgotten.
#[derive(Debug)]
pub struct CountersEvicted {
    /// How many since this was said last.
    pub count: u64,
}

impl CountersEvicted {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            count = self.count,
            "counters were forgotten before their windows ended, to make room for new ones: raise `--max-counters` or \
             `--max-counter-memory`, or look for a client that makes up keys",
        );
    }
}

/// The wall clock was set.
#[derive(Debug)]
pub struct ClockStepped {
    /// Whether it shows more than before.
    pub forward: bool,
    /// By how much.
    pub by: Duration,
}

impl ClockStepped {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        let by = self.by.as_secs_f64();
        if self.forward {
            metrics.clock_steps_forward.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                seconds = by,
                "the clock was set forward; windows that have ended by it begin anew"
            );
        } else {
            metrics.clock_steps_back.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                seconds = by,
                "the clock was set back; nobody waits longer for that, and times of day follow it",
            );
        }
    }
}

/// A store could not say whether a request passes, which was answered by an error.
#[derive(Debug)]
pub struct StoreFailed<'a> {
    /// Why not.
    pub error: &'a (dyn std::error::Error + 'static),
    /// The kind of error, as the metric names it.
    pub kind: &'static str,
}

impl StoreFailed<'_> {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_failures.fetch_add(1, Ordering::Relaxed);
        metrics.store_errors.add(self.kind, 1);
        metrics.failed_open_without_store.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.store_lines.admit() else { return };
        let cause = self.error.source().map(tracing::field::display);
        tracing::error!(cause, held_back, "a call was answered by an error: {}", self.error);
    }
}

/// Where counters are kept from now on.
#[derive(Debug)]
pub struct CountersKept<'a> {
    /// For people, without a password: `memory`, `redis at host:6379`.
    pub place: &'a str,
}

impl CountersKept<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!("counters are kept in {}", self.place);
    }
}

/// The server that counters are kept in cannot be used at the start. It is tried again with the requests that come.
#[derive(Debug)]
pub struct CountersAway<'a> {
    /// Why not.
    pub error: &'a (dyn std::error::Error + 'static),
}

impl CountersAway<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let cause = self.error.source().map(tracing::field::display);
        tracing::error!(
            cause,
            "{}; until it can be used, limits let requests pass uncounted, unless their `on_store_failure` says otherwise",
            self.error
        );
    }
}

/// Several replicas were announced, and each has counters of its own.
#[derive(Debug)]
pub struct ReplicasCountAlone {
    /// How many.
    pub replicas: u32,
}

impl ReplicasCountAlone {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            "`--replicas {}` has no effect on counters that replicas do not share: together they admit as many times each limit. \
             Share them, as with `--store redis://HOST:6379`",
            self.replicas
        );
    }
}

/// The store has failed: its disk is full or broken, say. It is opened anew as soon as that works.
#[derive(Debug)]
pub struct StoreBroken<'a> {
    /// Why.
    pub reason: &'a str,
}

impl StoreBroken<'_> {
    /// Logs it, and notes it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_broken.store(true, Ordering::Relaxed);
        tracing::error!(
            reason = self.reason,
            "the counter store writes nothing any more, and limits that need it do what their `on_store_failure` says: give the \
             disk room, for a copy of the store too, or put a copy in the place of a damaged file, and it is opened anew within a minute",
        );
    }
}

/// A store that had failed is written again, without a restart.
#[derive(Debug)]
pub struct StoreReopened;

impl StoreReopened {
    /// Logs it, and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_broken.store(false, Ordering::Relaxed);
        metrics.store_reopened.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            "the counter store is written again: it was checked and copied, and its counters are what they would be after a crash"
        );
    }
}

/// The file of counters has lost commits that the disk had: it was damaged, and read as it was before them.
#[derive(Debug)]
pub struct StoreLostCommits<'a> {
    /// The file.
    pub store: &'a str,
    /// How many.
    pub commits: u64,
}

impl StoreLostCommits<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(
            store = self.store,
            commits = self.commits,
            "the counter store has lost its last commits, though the disk had them: the file was damaged, or an older copy of it is in its \
             place. Counters go on from what it has, so hits that were counted since can pass once more; look after the disk"
        );
    }
}

/// Tiers that subjects have reached are in memory only, for the store could not be read or written.
#[derive(Debug)]
pub struct ReachedTiersNotKept<'a> {
    /// Why not.
    pub error: &'a (dyn std::error::Error + 'static),
}

impl ReachedTiersNotKept<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::error!(
            "{}; the configuration is in force, and a restart may lower tiers that follow from facts",
            self.error
        );
    }
}

/// The store could not take what it had yet to get at the end: leases that were not spent, or counters that were to be written.
#[derive(Debug)]
pub struct StoreNotClosed<'a> {
    /// Why not.
    pub error: &'a (dyn std::error::Error + 'static),
}

impl StoreNotClosed<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let cause = self.error.source().map(tracing::field::display);
        tracing::error!(cause, "the counter store was not closed in good order: {}", self.error);
    }
}

/// A store could not say whether a request passes, and `on_store_failure` said what happens then.
#[derive(Debug)]
pub struct StoreReplaced<'a> {
    /// Why not.
    pub error: &'a (dyn std::error::Error + 'static),
    /// The kind of error, as the metric names it.
    pub kind: &'static str,
    /// Whether the request was refused; else it was counted in memory.
    pub refused: bool,
}

impl StoreReplaced<'_> {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_failures.fetch_add(1, Ordering::Relaxed);
        metrics.store_errors.add(self.kind, 1);
        let counter =
            if self.refused { &metrics.refused_without_store } else { &metrics.counted_without_store };
        counter.fetch_add(1, Ordering::Relaxed);
        let Some(held_back) = metrics.store_lines.admit() else { return };
        let what = if self.refused { "refused" } else { "counted in memory" };
        let cause = self.error.source().map(tracing::field::display);
        tracing::error!(cause, held_back, "a request was {what}: {}", self.error);
    }
}

/// The store failed so often that it is not asked for a while, or it answers again.
#[derive(Debug)]
pub struct StoreAsked {
    /// Whether it answers again.
    pub again: bool,
}

impl StoreAsked {
    /// Counts it, and logs it at most once a second.
    pub fn emit(&self, metrics: &Metrics) {
        if self.again {
            metrics.store_breakers_open.fetch_sub(1, Ordering::Relaxed);
        } else {
            metrics.store_breaks.fetch_add(1, Ordering::Relaxed);
            metrics.store_breakers_open.fetch_add(1, Ordering::Relaxed);
        }
        let Some(held_back) = metrics.store_state_lines.admit() else { return };
        if self.again {
            tracing::info!(held_back, "the counter store answers again");
        } else {
            tracing::error!(
                held_back,
                "the counter store fails: it is asked now and then only, until it answers"
            );
        }
    }
}
