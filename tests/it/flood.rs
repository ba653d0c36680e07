//! A flood of invented keys, longer than the store is large: whoever was over its limit before stays refused.

use std::time::Duration;

use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Outcome, Timestamp};
use spillway::store::{MemoryStore, Session as _};

const HOUR: Duration = Duration::from_secs(3_600);
const LIMIT: u64 = 10;
const OFFENDERS: usize = 50;
/// An offender asks once a minute.
const TIMES: u32 = 60;
const BEGUN: Timestamp = Timestamp::from_secs(500_000 * 3_600);

fn charge(number: u64, algorithm: Algorithm, limit: u64) -> Charge {
    let low = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = CellKey { high: low.rotate_left(32).wrapping_mul(0xbf58_476d_1ce4_e5b9), low };
    let share = Share {
        algorithm,
        limit,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell: 0,
    };
    Charge { key, durability: Durability::None, share }
}

fn apply(store: &MemoryStore, charge: Charge, now: Timestamp) -> Outcome {
    store.apply_now(Mode::Each, &[charge], now).unwrap()[0].unwrap()
}

/// Lets the offenders ask for an hour while `invented` keys are used `hits` times each, and tells how often the offender
/// that got most was admitted.
fn flood(store: &MemoryStore, algorithm: Algorithm, invented: u64, hits: u64) -> u64 {
    let mut admitted = [0; OFFENDERS];
    let mut ask = |now| {
        for (admitted, offender) in admitted.iter_mut().zip(0..) {
            *admitted += u64::from(apply(store, charge(offender, algorithm, LIMIT), now).admitted);
        }
    };
    (0..=LIMIT).for_each(|_| ask(BEGUN));
    let mut invented = 1_000..1_000 + invented;
    let each = invented.clone().count() / TIMES as usize;
    for time in 0..TIMES {
        let now = BEGUN.plus(HOUR * time / TIMES);
        for number in invented.by_ref().take(each) {
            for _ in 0..hits {
                apply(store, charge(number, algorithm, LIMIT), now);
            }
        }
        ask(now);
    }
    admitted.into_iter().max().unwrap()
}

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::aligned(HOUR),
    Algorithm::anchored(HOUR),
    Algorithm::period(Timestamp::from_secs(500_000 * 3_600), Timestamp::from_secs(500_001 * 3_600)),
    Algorithm::sliding_window(HOUR),
    Algorithm::token_bucket(HOUR, LIMIT),
];

/// What an offender may get in all: a bucket refills meanwhile.
fn most(algorithm: Algorithm) -> u64 {
    if refills(algorithm) { 2 * LIMIT } else { LIMIT }
}

/// Whether the counters of invented keys end before the hour does, so that there may be room for all.
fn refills(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::TokenBucket(_))
}

#[test]
fn a_flood_of_keys_frees_no_offender() {
    for algorithm in ALGORITHMS {
        let store = MemoryStore::holding(100_000, usize::MAX);
        assert!(flood(&store, algorithm, 150_000, 1) <= most(algorithm), "{algorithm:?}");
        assert!(store.len() <= 100_000);
        assert!(store.evicted() > 0 || refills(algorithm), "{algorithm:?}: the store was full");
    }
}

#[test]
fn nor_does_one_that_uses_each_key_again() {
    for algorithm in ALGORITHMS {
        for hits in [2, LIMIT - 1] {
            let store = MemoryStore::holding(2_000, usize::MAX);
            assert!(flood(&store, algorithm, 10_000, hits) <= most(algorithm), "{algorithm:?}, {hits} hits");
            assert!(store.evicted() > 0 || refills(algorithm), "{algorithm:?}: the store was full");
        }
    }
}

#[test]
fn nor_one_that_fills_the_memory() {
    for algorithm in ALGORITHMS {
        let bytes = 512 << 10;
        let store = MemoryStore::holding(usize::MAX, bytes);
        assert!(flood(&store, algorithm, 20_000, 2) <= most(algorithm), "{algorithm:?}");
        assert!(store.bytes() <= bytes, "{algorithm:?}: {} bytes", store.bytes());
        assert!(store.evicted() > 0 || refills(algorithm), "{algorithm:?}: the memory was full");
    }
}

#[test]
fn nor_one_of_windows_that_end_later() {
    let store = MemoryStore::holding(2_000, usize::MAX);
    let offender = charge(0, Algorithm::aligned(HOUR), LIMIT);
    for _ in 0..=LIMIT {
        apply(&store, offender, BEGUN);
    }
    let month = Algorithm::aligned(HOUR * 720);
    for invented in 1..20_000 {
        apply(&store, charge(invented, month, LIMIT), BEGUN);
    }
    assert!(!apply(&store, offender, BEGUN).admitted);
}

#[test]
fn nor_one_of_other_limits_than_the_offenders() {
    // Logs grow as their clients go on, when the memory is full of counters that keep nothing elsewhere.
    for (clients, limit) in [(200, 600), (2_000, 60)] {
        let bytes = 8 << 20;
        let store = MemoryStore::holding(usize::MAX, bytes);
        for number in 10_000..310_000 {
            apply(&store, charge(number, Algorithm::aligned(HOUR), LIMIT), BEGUN);
        }
        assert!(store.evicted() > 0, "the memory was full");
        let mut admitted = vec![0; clients];
        for turn in 0..2 * limit {
            for (admitted, client) in admitted.iter_mut().zip(0..) {
                let now = BEGUN.plus(Duration::from_secs(turn));
                let charge = charge(client, Algorithm::sliding_window(HOUR), limit);
                *admitted += u64::from(apply(&store, charge, now).admitted);
            }
        }
        // The first hit of a client looks like one of an invented key, and may be forgotten with those.
        assert!(admitted.iter().all(|&admitted| admitted <= limit + 1), "{clients} clients");
        assert!(store.bytes() <= bytes, "{} bytes", store.bytes());
    }
}
