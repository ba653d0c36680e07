//! Many threads, few keys, every algorithm: never more admissions than the algorithm allows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{MemoryStore, Session as _};

const THREADS: u64 = 8;
const LIMIT: u64 = 1_000;
const WINDOW: Duration = Duration::from_millis(100);
/// Each call moves the shared clock on by so many nanoseconds: a window sees 500,000 calls, of which few can pass, and a
/// thread that is held up for a while falls behind by less than a window.
const TICK: u64 = 200;

/// Calls of each thread: three windows of them, or as many as `SPILLWAY_CONCURRENCY_CALLS` says; `make soak` takes five times
/// as many.
fn calls() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long a test takes is up to whoever runs it")]
    let reported = std::env::var("SPILLWAY_CONCURRENCY_CALLS");
    reported.map_or(200_000, |calls| calls.parse().expect("SPILLWAY_CONCURRENCY_CALLS is a number"))
}

fn charge(key: u64, algorithm: Algorithm) -> Charge {
    let share = Share {
        algorithm,
        limit: LIMIT,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell: 0,
    };
    Charge { key: CellKey { high: key, low: key }, durability: Durability::None, share }
}

fn apply(store: &MemoryStore, mode: Mode, charges: &[Charge], now: Timestamp) -> bool {
    let outcomes = store.apply_now(mode, charges, now).expect("counters in memory answer at once");
    outcomes.iter().all(|outcome| outcome.is_some_and(|outcome| outcome.admitted))
}

/// When a call that passed was begun, and when it had been answered.
type Passed = (u64, u64);

/// Runs the calls on all threads and tells those that passed.
///
/// The clock is read before the store is asked, as the engine does it, so calls reach the store a little out of order.
fn admitted(
    charges: &(dyn Fn(u64) -> Vec<Charge> + Sync),
    mode: Mode,
    store: &MemoryStore,
) -> BTreeMap<u64, Vec<Passed>> {
    let (clock, calls) = (AtomicU64::new(0), calls());
    let each: Vec<Vec<(u64, Passed)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut passed = Vec::new();
                    for call in 0..calls {
                        let now = clock.fetch_add(TICK, Ordering::SeqCst);
                        let key = call % 3;
                        if apply(store, mode, &charges(key), Timestamp::from_nanos(now)) {
                            passed.push((key, (now, clock.load(Ordering::SeqCst))));
                        }
                    }
                    passed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut by_key: BTreeMap<u64, Vec<Passed>> = BTreeMap::new();
    for (key, passed) in each.into_iter().flatten() {
        by_key.entry(key).or_default().push(passed);
    }
    by_key
}

/// The most calls that lie *entirely* inside an interval of that length: begun in it, and answered in it. Only of those is
/// it certain that they were decided in it, so this raises no false alarm.
fn most_within(passed: &[Passed], length: Duration) -> usize {
    let length = u64::try_from(length.as_nanos()).unwrap();
    let (mut begun, mut answered): (Vec<u64>, Vec<u64>) = passed.iter().copied().unzip();
    begun.sort_unstable();
    answered.sort_unstable();
    let within = |(before, &start): (usize, &u64)| {
        // All that were answered by then, less all that were begun before.
        answered.partition_point(|&end| end < start + length).saturating_sub(before)
    };
    begun.iter().enumerate().map(within).max().unwrap_or_default()
}

#[test]
fn no_algorithm_admits_more_than_it_may_under_any_concurrency() {
    for (algorithm, most) in [
        (Algorithm::aligned(WINDOW), 2 * LIMIT),
        (Algorithm::anchored(WINDOW), 2 * LIMIT - 1),
        // One period holds the whole run.
        (Algorithm::period(Timestamp::EPOCH, Timestamp::from_secs(1 << 30)), LIMIT),
        (Algorithm::sliding_window(WINDOW), LIMIT),
        (Algorithm::token_bucket(WINDOW, LIMIT), 2 * LIMIT),
    ] {
        let store = MemoryStore::default();
        let passed = admitted(&|key| vec![charge(key, algorithm)], Mode::Each, &store);
        for (key, calls) in &passed {
            let found = most_within(calls, WINDOW) as u64;
            assert!(found <= most, "{algorithm:?}: {found} of key {key} within {WINDOW:?}");
            assert!(
                calls.len() as u64 >= LIMIT,
                "{algorithm:?}: only {} of key {key} ever passed",
                calls.len()
            );
        }
        assert_eq!(passed.len(), 3);
    }
}

#[test]
fn all_or_nothing_leaves_every_counter_exact() {
    // Two counters without an end, one shared by all keys: what passed is what was counted, on both, to the hit.
    let forever = Algorithm::aligned(Duration::from_secs(1 << 30));
    let of = |limit, charge: Charge| Charge { share: Share { limit, ..charge.share }, ..charge };
    let (most, of_each) = (calls() * 7 / 10, calls() * 3 / 10);
    let shared = of(most, charge(99, forever));
    let both = |key: u64| vec![of(of_each, charge(key, forever)), shared];
    let store = MemoryStore::default();
    let passed = admitted(&both, Mode::AllOrNothing, &store);

    let count = |charge: Charge| {
        let look = Charge { share: Share { hits: Hits::Look, ..charge.share }, ..charge };
        let outcomes = store.apply_now(Mode::Each, &[look], Timestamp::EPOCH).unwrap();
        outcomes[0].unwrap().used
    };
    for (key, times) in &passed {
        assert_eq!(count(charge(*key, forever)), times.len() as u64, "key {key}");
    }
    assert_eq!(count(shared), most);
    assert_eq!(passed.values().map(Vec::len).sum::<usize>() as u64, most);
}
