//! The tests of the policies in `config`, the five APIs' among them, played over each store: every answer is that of counters in
//! memory, header by header and number by number. To have one played: a `transcripts!` line for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spillway::clock::ManualClock;
use spillway::engine::{Decision, answer};
use spillway::limiter::{Limiter, Worker};
use spillway::model::{Descriptor, Hits, Request, Timestamp};
use spillway::policy_test::{self, Change, Script, Seen, Target};
use spillway::store::{AnyStore, DiskStore, LeasedStore, MemoryStore, Store};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::disk::directory;
use super::redis;
use crate::apis::{load, scripts};
use crate::support::cluster::Cluster;
use crate::support::valkey::Valkey;

/// What may differ from counters in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    /// Nothing.
    Exact,
    /// Less may be told to be left: others hold a part of it.
    OrLess,
}

/// A store, played in a test of its own; `with` something that is kept meanwhile.
macro_rules! transcripts {
    ($name:ident, $remaining:ident: $make:expr) => {
        transcripts!($name, $remaining with () => |&()| $make);
    };
    ($name:ident, $remaining:ident with $kept:expr => $make:expr) => {
        #[test]
        fn $name() {
            let kept = $kept;
            check(Remaining::$remaining, || ($make)(&kept));
        }
    };
}

transcripts!(any, Exact: AnyStore::from(MemoryStore::default()));
transcripts!(disk, Exact with Disks::default() => Disks::open);
transcripts!(valkey, Exact with Valkey::start(&[]) => redis::counting_by_the_caller);
transcripts!(cluster, Exact with Cluster::start() => redis::in_a_cluster);
transcripts!(leased, OrLess: LeasedStore::new(MemoryStore::default(), 1));
transcripts!(leased_of_two_replicas, OrLess: LeasedStore::new(MemoryStore::default(), 2));
transcripts!(leased_valkey, OrLess with Valkey::start(&[]) => |server: &Valkey| {
    LeasedStore::new(redis::counting_by_the_caller(server), 1)
});

/// Directories of counters, which are removed at the end.
#[derive(Default)]
struct Disks(std::cell::RefCell<Vec<tempfile::TempDir>>);

impl Disks {
    fn open(&self) -> DiskStore {
        let directory = directory();
        let store = DiskStore::open(directory.path(), MemoryStore::default(), 10_000).unwrap();
        self.0.borrow_mut().push(directory);
        store
    }
}

/// Of a limit that was charged: whether it refuses, its number, what is used and what remains of it.
type Numbers = (bool, u64, u64, u64);

/// An answer, and the numbers that it was made of.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    at: Timestamp,
    seen: Seen,
    limits: Vec<Numbers>,
}

/// Answers from counters in a store, and keeps a transcript.
struct Playing<S: Store> {
    worker: Worker<S, Arc<ManualClock>>,
    clock: Arc<ManualClock>,
    runtime: Runtime,
    policy: PathBuf,
    domain: String,
    changes: Vec<Change>,
    transcript: Vec<Line>,
}

impl<S: Store> Playing<S> {
    fn new(file: &Path, script: &Script, store: S) -> Self {
        let policy = file.parent().unwrap().join(&script.policy);
        let loaded = load(&policy).unwrap_or_else(|| panic!("{} has mistakes", policy.display()));
        let domain = script.domain.clone().unwrap_or_else(|| loaded.domains().next().unwrap().name.clone());
        let clock = Arc::new(ManualClock::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let worker = Arc::new(Limiter::new(loaded, store, Arc::clone(&clock))).worker();
        Self { worker, clock, runtime, policy, domain, changes: Vec::new(), transcript: Vec::new() }
    }
}

impl<S: Store> Target for Playing<S> {
    fn send(&mut self, at: Timestamp, descriptors: &[Vec<(String, String)>], hits: Option<Hits>) -> Seen {
        self.clock.set(at);
        let hits = hits.unwrap_or(Hits::ONE);
        let descriptors = descriptors.iter().map(|entries| Descriptor::of_text(entries, hits));
        let request = Request { domain: self.domain.as_bytes(), descriptors: descriptors.collect() };
        let policy = self.worker.limiter().engine.policy();
        let deadline = Instant::now() + Duration::from_secs(5);
        let decided = self.worker.decide(self.worker.scratch(), &policy, &request, Some(deadline));
        let verdict = self.runtime.block_on(decided).unwrap_or_else(|error| panic!("at {at:?}: {error}"));
        let answer = answer(&request, &verdict);
        let rule = verdict.reported().map(|(_, limit, _)| limit.name.clone());
        let seen = Seen {
            over_limit: verdict.over_limit,
            headers: answer.response_headers.to_vec(),
            request_headers: answer.request_headers.to_vec(),
            body: answer.body,
            rule,
        };
        let counted = verdict.decisions.iter().filter_map(|decision| match decision {
            Decision::Counted(counted) => Some(counted),
            _ => None,
        });
        let limits = counted.flat_map(|counted| counted.limits.iter()).map(|charged| {
            let told = charged.outcome;
            (charged.refuses, told.limit, told.used, told.remaining)
        });
        self.transcript.push(Line { at, seen: seen.clone(), limits: limits.collect() });
        seen
    }

    fn set(&mut self, now: Timestamp, change: &Change) -> Result<(), String> {
        self.clock.set(now);
        self.changes.push(change.clone());
        let mut policy = load(&self.policy).ok_or("the policy cannot be read again")?;
        let directory =
            policy.domain_mut(&self.domain).directory_mut().ok_or("the domain has no subjects")?;
        for change in &self.changes {
            directory.edit(&change.subject, &change.attributes).map_err(|error| error.to_string())?;
        }
        self.worker.limiter().publish(policy);
        Ok(())
    }
}

/// Plays a script; tells what it misses, and every answer.
fn play<S: Store>(file: &Path, script: &Script, store: S) -> (String, Vec<Line>) {
    let mut playing = Playing::new(file, script, store);
    let misses = policy_test::run(script, &mut playing);
    (misses.iter().map(ToString::to_string).collect(), playing.transcript)
}

fn check<S: Store>(remaining: Remaining, make: impl Fn() -> S) {
    let (mut played, mut lines) = (0, 0);
    for (file, script) in scripts() {
        let (_, expected) = play(&file, &script, MemoryStore::default());
        let (misses, found) = play(&file, &script, make());
        assert_eq!(found.len(), expected.len(), "{}", file.display());
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let is_same = match remaining {
                Remaining::Exact => found == expected,
                Remaining::OrLess => is_same_or_less(found, expected),
            };
            assert!(is_same, "{}, answer {at}:\n{found:#?}\nand not\n{expected:#?}", file.display());
        }
        assert!(remaining == Remaining::OrLess || misses.is_empty(), "{}:\n{misses}", file.display());
        (played, lines) = (played + 1, lines + found.len());
    }
    assert!(played >= 8 && lines >= 500, "{lines} answers of {played} scripts tell little");
}

/// Whether two answers differ in nothing but in how much is left, of which there may be less.
fn is_same_or_less(found: &Line, expected: &Line) -> bool {
    let header = |(found, expected): (&(String, String), &(String, String))| {
        let is_remaining = expected.0.to_lowercase().contains("remaining");
        let number = |text: &str| text.parse::<u64>().ok();
        let is_less = || number(&found.1).zip(number(&expected.1)).is_some_and(|(less, more)| less <= more);
        found == expected || (is_remaining && found.0 == expected.0 && is_less())
    };
    let headers = |found: &[(String, String)], expected: &[(String, String)]| {
        found.len() == expected.len() && found.iter().zip(expected).all(header)
    };
    let limit = |(found, expected): (&Numbers, &Numbers)| {
        (found.0, found.1) == (expected.0, expected.1) && found.2 >= expected.2 && found.3 <= expected.3
    };
    let (of, than) = (&found.seen, &expected.seen);
    (of.over_limit, &of.body, &of.rule) == (than.over_limit, &than.body, &than.rule)
        && headers(&of.headers, &than.headers)
        && headers(&of.request_headers, &than.request_headers)
        && found.limits.len() == expected.limits.len()
        && found.limits.iter().zip(&expected.limits).all(limit)
}
