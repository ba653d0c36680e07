//! What the file says after the process or the power is gone.

mod backend;
mod opening;
mod power;
mod records;
mod recovery;
mod room;

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use self::backend::Disk;
use super::*;
use crate::algorithm::Algorithm;
use crate::model::Outcome;
use crate::store::{Record, RecordKind};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn open(disk: &Disk) -> DiskStore {
    open_again(disk, || Err(full()))
}

fn full() -> OpenError {
    OpenError::Io { path: "backend".into(), source: io::ErrorKind::StorageFull.into() }
}

/// The same, with the disk that is opened anew when this one fails.
fn open_again(disk: &Disk, mut again: impl FnMut() -> Result<Disk, OpenError> + Send + 'static) -> DiskStore {
    let reopen = Reopen::at_once(move || File::with_backend(again()?));
    let file = File::with_backend(disk.clone()).unwrap();
    DiskStore::of(file, reopen, MemoryStore::default(), 10_000, usize::MAX).unwrap()
}

fn run<T>(steps: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(steps)
}

fn charge(number: u64, algorithm: Algorithm, limit: u64, durability: Durability) -> Charge {
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
    Charge { key: CellKey { high: number, low: number }, durability, share }
}

fn monthly(number: u64, limit: u64, durability: Durability) -> Charge {
    charge(number, Algorithm::period(START, START.plus(MONTH)), limit, durability)
}

async fn ask(
    store: &DiskStore,
    mode: Mode,
    charges: &[Charge],
    now: Timestamp,
) -> Result<Outcomes, StoreError> {
    match store.apply_now(mode, charges, now) {
        Some(outcomes) => Ok(outcomes),
        None => store.apply(mode, charges, now, Instant::now() + Duration::from_secs(10)).await,
    }
}

fn hit(store: &DiskStore, charge: Charge) -> Result<Outcome, StoreError> {
    run(ask(store, Mode::Each, &[charge], START)).map(|outcomes| outcomes[0].unwrap())
}

fn used(store: &DiskStore, charge: Charge) -> u64 {
    hit(store, Charge { share: Share { hits: Hits::Look, ..charge.share }, ..charge }).unwrap().used
}

#[test]
fn a_clean_stop_keeps_exact_numbers_and_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let open = || DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
    let store = open();
    let secret = store.secret();
    for _ in 0..7 {
        hit(&store, monthly(1, 50_000, Durability::Reserve)).unwrap();
        hit(&store, monthly(2, 50_000, Durability::None)).unwrap();
    }
    store.close().unwrap();
    let error = hit(&store, monthly(1, 50_000, Durability::Reserve)).unwrap_err();
    assert!(error.to_string().ends_with("has failed: it is closed"), "{error}");

    let again = open();
    assert_eq!((again.secret(), secret != [0; 16]), (secret, true));
    assert_eq!(used(&again, monthly(1, 50_000, Durability::Reserve)), 7);
    assert_eq!(used(&again, monthly(2, 50_000, Durability::None)), 0);
}

#[test]
fn after_a_power_loss_a_chunk_at_most_is_lost_and_of_exact_counters_nothing() {
    let disk = Disk::default();
    let store = open(&disk);
    for _ in 0..10 {
        hit(&store, monthly(1, 50_000, Durability::Reserve)).unwrap();
        hit(&store, monthly(2, 50_000, Durability::Exact)).unwrap();
    }
    let again = open(&disk.after_power_loss(|| false));
    let reserved = used(&again, monthly(1, 50_000, Durability::Reserve));
    assert!((10..=60).contains(&reserved), "{reserved}");
    assert_eq!(used(&again, monthly(2, 50_000, Durability::Exact)), 10);
}

#[test]
fn a_reservation_never_exceeds_the_limit() {
    let disk = Disk::default();
    let store = open(&disk);
    for hits in [4_998, 1] {
        let most = monthly(1, 5_000, Durability::Reserve);
        hit(&store, Charge { share: Share { hits: Hits::charge(hits), ..most.share }, ..most }).unwrap();
    }
    let again = open(&disk.after_power_loss(|| false));
    assert_eq!(used(&again, monthly(1, 5_000, Durability::Reserve)), 5_000);
}

#[test]
fn what_has_happened_is_kept_beyond_the_limit() {
    for durability in [Durability::Reserve, Durability::Exact] {
        let disk = Disk::default();
        let store = open(&disk);
        let tokens = monthly(1, 1_000, durability);
        let settled = Share { hits: Hits::charge(1_200), settles: true, ..tokens.share };
        assert!(hit(&store, Charge { share: settled, ..tokens }).unwrap().admitted);
        let again = open(&disk.after_power_loss(|| false));
        assert_eq!(used(&again, tokens), 1_200);
    }
}

#[test]
fn a_refund_reaches_the_disk_with_the_next_clean_stop() {
    let disk = Disk::default();
    let store = open(&disk);
    let of = monthly(1, 1_000, Durability::Exact);
    for hits in [Hits::charge(9), Hits::refund(4)] {
        hit(&store, Charge { share: Share { hits, ..of.share }, ..of }).unwrap();
    }
    store.close().unwrap();
    assert_eq!(used(&open(&disk), of), 5);
}

#[test]
fn a_full_disk_stops_what_is_not_reserved_and_nothing_else() {
    let disk = Disk::default();
    let store = open(&disk);
    let (known, unknown) = (monthly(1, 64_000, Durability::Reserve), monthly(2, 64_000, Durability::Reserve));
    hit(&store, known).unwrap();
    disk.fill();
    let error = hit(&store, unknown).unwrap_err();
    assert!(error.to_string().starts_with("the counter store `backend` has failed: "), "{error}");
    assert!(store.failure().is_some());
    let answered = (0..200).filter(|_| hit(&store, known).is_ok_and(|outcome| outcome.admitted)).count();
    assert!((1..=64).contains(&answered), "{answered} were reserved");
    assert!(hit(&store, monthly(3, 10, Durability::None)).unwrap().admitted);
    assert!(store.close().is_err());
    // What was answered is there all the same.
    let again = open(&disk.after_power_loss(|| false));
    assert!(used(&again, known) > answered as u64);
}

#[test]
fn the_next_window_needs_one_commit() {
    for algorithm in [Algorithm::aligned(MONTH), Algorithm::anchored(MONTH), Algorithm::sliding_window(MONTH)]
    {
        for durability in [Durability::Reserve, Durability::Exact] {
            let store = open(&Disk::default());
            let of = charge(1, algorithm, 5, durability);
            for month in 0..3 {
                let now = START.plus(MONTH * month * 2);
                let outcomes = run(ask(&store, Mode::Each, &[of], now)).unwrap();
                assert_eq!(outcomes[0].unwrap().used, 1, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn charges_that_count_beyond_the_limit_beside_others_of_the_same_counter_are_answered() {
    for durability in [Durability::Reserve, Durability::Exact] {
        let store = open(&Disk::default());
        let of = monthly(1, 5, durability);
        let within = Share { hits: Hits::charge(3), ..of.share };
        let beyond = Share { hits: Hits::charge(40), count_denied: true, stage: 1, ..of.share };
        let charges = [within, beyond].map(|share| Charge { share, ..of });
        let outcomes = run(ask(&store, Mode::Each, &charges, START)).unwrap();
        let told: Vec<_> =
            outcomes.iter().flatten().map(|outcome| (outcome.admitted, outcome.used)).collect();
        assert_eq!(told, [(true, 3), (false, 43)]);
    }
}
