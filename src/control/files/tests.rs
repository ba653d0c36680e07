//! When files are read, and what is reported of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::config;
use crate::limiter::Limiter;
use crate::store::{MemoryStore, Record, RecordKind, Records, Statistics, StoreError};
use crate::telemetry::{Format, Snapshot};

/// The files in a directory, and what they say in force.
fn beginning<S: Store>(directory: &TempDir, store: S) -> (Watched, Publisher<S, ManualClock>) {
    let path = directory.path().to_owned();
    let (options, seen) = (Options::default(), Fingerprint::of(&path, false, &[]));
    let loaded = config::load(&[&path], options.clone()).unwrap();
    let (reload, reporting) = (Arc::default(), Reporting::default());
    let watched = Watched { path, options, seen, files: loaded.names, reload, reporting };
    let limiter = Limiter::new(loaded.policy, store, ManualClock::default());
    (watched, Publisher::new(Arc::new(limiter)))
}

/// A look, and what is due after it.
fn look<S: Store>(
    follower: &mut Follower,
    now: Instant,
    publisher: &Publisher<S, ManualClock>,
    metrics: &Metrics,
) -> Option<Due> {
    let due = follower.look(now, publisher);
    if let Some(due) = due {
        follower.act(due, now, publisher, metrics);
    }
    due
}

#[test]
fn mistakes_in_files_that_never_settle_are_reported_once_they_are_found_twice() {
    let directory = tempfile::tempdir().unwrap();
    let put = |text: &str| std::fs::write(directory.path().join("d.yaml"), text).unwrap();
    let right = "domain: d\ndescriptors: [{key: k}]\n";
    put(right);
    let (watched, publisher) = beginning(&directory, MemoryStore::holding(1000, 1 << 20));
    let metrics = Arc::new(Metrics::default());
    let (mut follower, begun) = (Follower::of(watched), Instant::now());
    let mut seconds = 0;
    let mut reported_after = |text: &str, looks: u64| {
        for _ in 0..looks {
            seconds += 1;
            put(&format!("{text}# {seconds}\n"));
            look(&mut follower, begun + Duration::from_secs(seconds), &publisher, &metrics);
        }
        let text = metrics.render(Snapshot::default(), Format::default());
        let refusals = text.lines().find_map(|line| line.strip_prefix("spillway_config_refusals_total "));
        refusals.unwrap().parse::<u64>().unwrap()
    };
    let wrong = format!("{right}limits: 1\n");
    assert_eq!(reported_after(&wrong, 6), 0, "it may be half a file");
    assert_eq!(reported_after(&wrong, 5), 1);
    assert_eq!(reported_after(&wrong, 30), 1, "once");
    assert_eq!(reported_after(right, 6), 1);
    assert_eq!(reported_after(&wrong, 12), 2, "again, after it was right");
    assert!(publisher.latest().status().stale);
    // It stays as it is, and says the same.
    let mut settle = |seconds: u64| {
        for second in 0..2 {
            look(&mut follower, begun + Duration::from_secs(seconds + second), &publisher, &metrics);
        }
        let text = metrics.render(Snapshot::default(), Format::default());
        let refusals = text.lines().find_map(|line| line.strip_prefix("spillway_config_refusals_total "));
        refusals.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(settle(1_000), 2, "it is known");
    put(right);
    assert_eq!(settle(1_010), 2);
    assert!(!publisher.latest().status().stale);
    let mut change = |seconds: u64| {
        put(&format!("{wrong}# {seconds} again\n"));
        look(&mut follower, begun + Duration::from_secs(seconds), &publisher, &metrics);
    };
    (1_020..1_032).for_each(&mut change);
    assert!(publisher.latest().status().stale, "the same mistake after files that settled and were right");
}

/// A store whose records cannot be read, or have one that nobody understands.
#[derive(Clone, Debug, Default)]
struct Unread {
    counters: MemoryStore,
    has_failed: Arc<AtomicBool>,
    /// How often its records were asked for.
    asked: Arc<AtomicU64>,
}

impl Store for Unread {
    type Session = MemoryStore;

    fn session(&self) -> MemoryStore {
        self.counters.clone()
    }

    fn statistics(&self) -> Statistics {
        self.counters.statistics()
    }

    fn records(&self) -> Option<Arc<dyn Records>> {
        Some(Arc::new(self.clone()))
    }

    fn failure(&self) -> Option<String> {
        self.has_failed.load(Ordering::Relaxed).then(|| "the disk is full".to_owned())
    }
}

impl Records for Unread {
    fn each(&self, kind: RecordKind, _: &str, visit: &mut dyn FnMut(&str, &[u8])) -> Result<(), StoreError> {
        if kind == RecordKind::Subject {
            self.asked.fetch_add(1, Ordering::Relaxed);
            visit("a", b"of a later version");
        }
        Ok(())
    }

    fn apply(&self, _: Vec<Record>) -> Result<(), StoreError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// It may be so for good, and to compile a large policy takes a second of a core.
#[test]
fn files_that_wait_for_a_store_are_read_when_it_recovers_and_else_after_longer_and_longer_pauses() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let policy = "domain: d\nsubjects: s.subjects.yaml\ndescriptors: [{key: k, subject: k}]\n";
    put("d.yaml", policy);
    put("s.subjects.yaml", "subjects: [{id: a}]");
    let store = Unread::default();
    let (watched, publisher) = beginning(&directory, store.clone());
    let (mut follower, metrics) = (Follower::of(watched), Metrics::default());
    let (begun, mut seconds) = (Instant::now(), 0);
    let mut read_in = |looks: u64| {
        let before = store.asked.load(Ordering::Relaxed);
        for _ in 0..looks {
            seconds += 1;
            look(&mut follower, begun + Duration::from_secs(seconds), &publisher, &metrics);
        }
        store.asked.load(Ordering::Relaxed) - before
    };
    put("d.yaml", &format!("{policy}# changed\n"));
    assert_eq!(read_in(2), 1);
    let read = read_in(600);
    assert!((10..=15).contains(&read), "{read} times in ten minutes");
    store.has_failed.store(true, Ordering::Relaxed);
    assert!(read_in(40) <= 1);
    store.has_failed.store(false, Ordering::Relaxed);
    assert_eq!(read_in(1), 1, "at once");
    assert!(read_in(40) <= 1);
}

/// A look is no reason to begin a thread that gives way.
#[test]
fn of_files_that_stay_as_they_are_nothing_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let put = |text: &str| std::fs::write(directory.path().join("d.yaml"), text).unwrap();
    put("domain: d\ndescriptors: [{key: k}]\n");
    let (watched, publisher) = beginning(&directory, MemoryStore::holding(1000, 1 << 20));
    let (mut follower, metrics, begun) = (Follower::of(watched), Metrics::default(), Instant::now());
    let mut looks = |seconds: std::ops::Range<u64>| {
        let each = seconds
            .map(|second| look(&mut follower, begun + Duration::from_secs(second), &publisher, &metrics));
        each.collect::<Vec<_>>()
    };
    assert_eq!(looks(0..100), [None; 100]);
    put("domain: d\ndescriptors: [{key: other}]\n");
    assert_eq!(looks(100..104), [None, Some(Due::Load), None, None]);
}
