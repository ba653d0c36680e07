//! What the file says after the process or the power is gone.

mod backend;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use self::backend::Disk;
use super::new::New;
use super::*;
use crate::algorithm::Algorithm;
use crate::model::Outcome;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn open(disk: &Disk) -> DiskStore {
    DiskStore::of(File::with_backend(disk.clone()).unwrap(), MemoryStore::default(), 10_000).unwrap()
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
fn of_several_first_starts_in_one_directory_one_has_the_store() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let directory = directory.path().to_owned();
                thread::spawn(move || File::open(&directory))
            })
            .collect();
        let opened: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        let secrets: Vec<_> = opened.iter().flatten().map(File::secret).collect();
        assert_eq!(secrets.len(), 1, "{opened:?}");
        for refused in opened.iter().filter_map(|opened| opened.as_ref().err()) {
            assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
        }
        drop(opened);
        assert_eq!(File::open(directory.path()).unwrap().secret(), secrets[0]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}

#[test]
fn a_start_that_comes_late_replaces_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counters.redb");
    let (file, new) = New::begin(&path).unwrap().unwrap();
    assert!(matches!(New::begin(&path), Err(OpenError::InUse { .. })), "it is being made");
    new.publish().unwrap();
    drop(file);
    assert!(New::begin(&path).unwrap().is_none(), "it has been made since this one found none");
    assert!(!directory.path().join("counters.new").exists());

    let other = directory.path().join("other.redb");
    let (_file, new) = New::begin(&other).unwrap().unwrap();
    std::fs::write(&other, "a backup that was put there meanwhile").unwrap();
    assert_eq!(new.publish().unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn a_copy_that_is_not_finished_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let begun = || Offline::create(directory.path(), [1; 16]).unwrap();
    begun().put(&[(CellKey { high: 1, low: 1 }, Cell::Empty)]).unwrap();
    // It was dropped. What a process leaves that is killed is begun anew.
    std::fs::write(directory.path().join("counters.new"), "half a store").unwrap();
    let error = Offline::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("cannot be opened"), "{error}");
    begun().close().unwrap();
    assert_eq!(Offline::open(directory.path()).unwrap().secret(), [1; 16]);
    let error = Offline::create(directory.path(), [2; 16]).unwrap_err();
    assert!(error.to_string().contains("already, and it is left as it is"), "{error}");
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
fn a_counter_goes_on_when_its_limit_is_durable_no_more_and_back() {
    let limit = 50_000;
    let of = |durability| monthly(1, limit, durability);
    let disk = Disk::default();
    let store = open(&disk);
    for (durability, expected) in [
        (Durability::None, 1),
        (Durability::Reserve, 2),
        (Durability::None, 3),
        (Durability::None, 4),
        (Durability::Exact, 5),
    ] {
        assert_eq!(hit(&store, of(durability)).unwrap().used, expected, "{durability:?}");
    }
    let again = open(&disk.after_power_loss(|| false));
    assert!(used(&again, of(Durability::Exact)) >= 5);
    store.close().unwrap();
    // What is not durable begins anew after a start. Of the two counts the higher one goes on.
    for hits in [2, 9] {
        let store = open(&disk);
        for _ in 0..hits {
            hit(&store, of(Durability::None)).unwrap();
        }
        assert_eq!(used(&store, of(Durability::Reserve)), hits.max(5));
        store.close().unwrap();
    }
}

#[test]
fn a_disk_that_has_failed_stops_no_limit_that_is_durable_no_more() {
    let disk = Disk::default();
    let store = open(&disk);
    assert_eq!(hit(&store, monthly(1, 50_000, Durability::Exact)).unwrap().used, 1);
    disk.fill();
    hit(&store, monthly(1, 50_000, Durability::Exact)).unwrap_err();
    assert_eq!(hit(&store, monthly(1, 50_000, Durability::None)).unwrap().used, 2);
}

#[test]
fn who_gave_up_waiting_is_forgotten_before_the_disk_has_answered() {
    let mut kept = Kept::loading();
    for _ in 0..10_000 {
        let (ready, waits) = oneshot::channel();
        drop(waits);
        kept.wake_when_loaded(ready);
    }
    assert!(kept.heap_bytes() < 1_000, "{}", kept.heap_bytes());
}

#[test]
fn durable_counters_take_their_part_of_the_memory_for_counters() {
    let (disk, most_bytes) = (Disk::default(), 4 << 20);
    let memory = MemoryStore::holding(1_000_000, most_bytes);
    let store = DiskStore::of(File::with_backend(disk).unwrap(), memory.clone(), 1_000_000).unwrap();
    let log = |number| charge(number, Algorithm::sliding_window(MONTH), 1_000_000, Durability::Reserve);
    for number in 0..40 {
        hit(&store, log(number)).unwrap();
    }
    let few = store.statistics().bytes;
    run(async {
        for at in 0..500 {
            for number in 0..40 {
                let now = START.plus(Duration::from_millis(at * 1_000_003));
                ask(&store, Mode::Each, &[log(number)], now).await.unwrap();
            }
        }
    });
    store.sweep(START).for_each(drop);
    assert!(store.statistics().bytes > 2 * few, "logs count: {few}, {:?}", store.statistics());
    let of = |number: u64, durability| monthly(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1_000, durability);
    for number in 1..150_000 {
        store.apply_now(Mode::Each, &[of(number, Durability::None)], START).unwrap();
    }
    let alone = memory.bytes();
    run(async {
        for number in 200_000..215_000 {
            // More of them may wait to be written than have room.
            let _ = ask(&store, Mode::Each, &[of(number, Durability::Reserve)], START).await;
        }
    });
    let durable = store.statistics().bytes - memory.bytes() as u64;
    assert!(durable <= most_bytes as u64 / 2, "{durable}");
    // Who has more than the others leave gives way with the next sweeps.
    (0..4).for_each(|_| store.sweep(START).for_each(drop));
    let all = store.statistics().bytes;
    assert!(all <= most_bytes as u64, "{all}, of which {durable} are durable, and {alone} were there before");
    assert!(memory.bytes() >= most_bytes / 4, "{}", memory.bytes());
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
    let failure = Store::failure(&store).unwrap().to_string();
    assert!(failure.starts_with("the counter store `backend` has failed: "), "{failure}");
    let answered = (0..200).filter(|_| hit(&store, known).is_ok_and(|outcome| outcome.admitted)).count();
    assert!((1..=64).contains(&answered), "{answered} were reserved");
    assert!(hit(&store, monthly(3, 10, Durability::None)).unwrap().admitted);
    assert!(store.close().is_err());
    // What was answered is there all the same.
    let again = open(&disk.after_power_loss(|| false));
    assert!(used(&again, known) > answered as u64);
}

#[test]
fn a_counter_that_left_memory_is_read_again() {
    let disk = Disk::default();
    let store = DiskStore::of(File::with_backend(disk).unwrap(), MemoryStore::default(), 1).unwrap();
    let of = |number| monthly(number, 5_000, Durability::Reserve);
    let all = SHARDS_OF_ONE * 400;
    for number in (0..all).step_by(usize::try_from(SHARDS_OF_ONE).unwrap()) {
        hit(&store, of(number)).unwrap();
    }
    let (counters, _) = store.0.table.size();
    assert!(counters <= 2 * 64, "{counters} of 400 are in memory");
    for number in (0..all).step_by(usize::try_from(SHARDS_OF_ONE).unwrap()) {
        assert_eq!(used(&store, of(number)), 1, "{number}");
    }
}

/// Numbers that are so far apart are in one shard.
const SHARDS_OF_ONE: u64 = 256;

#[test]
fn what_has_ended_leaves_the_file() {
    let disk = Disk::default();
    let store = open(&disk);
    for number in 0..10 {
        hit(&store, monthly(number, 5_000, Durability::Exact)).unwrap();
    }
    let later = START.plus(MONTH * 2);
    store.sweep(later).for_each(drop);
    store.close().unwrap();
    let file = File::with_backend(disk.clone()).unwrap();
    let first = CellKey { high: 0, low: 0 };
    // The counters were in memory when the first sweep was asked for, perhaps; then the second one removes them.
    let left = file.spent(first, 100, later).unwrap().0.len();
    file.close().unwrap();
    if left > 0 {
        let store = open(&disk);
        store.sweep(later).for_each(drop);
        store.close().unwrap();
    }
    let file = File::with_backend(disk).unwrap();
    assert_eq!(file.spent(first, 100, later).unwrap(), (Vec::new(), None));
}

/// Counts a hit of each counter that is charged.
fn add(counts: &[AtomicU64; 6], charges: &[Charge]) {
    for charge in charges {
        counts[usize::try_from(charge.key.low).unwrap()].fetch_add(1, Ordering::SeqCst);
    }
}

/// Four threads ask without pause, and at some moment the power fails. Of each counter there must be left what was answered
/// before, and no more than what was asked and one chunk; and that is where the next life goes on.
#[test]
fn whenever_the_power_fails_nothing_that_was_answered_is_lost() {
    let sliding = Algorithm::sliding_window(MONTH);
    let kinds: [Charge; 6] = [
        monthly(0, 3_000, Durability::Reserve),
        monthly(1, 30_000, Durability::Reserve),
        monthly(2, 1_000, Durability::Exact),
        charge(3, Algorithm::token_bucket(MONTH, 20_000), 20_000, Durability::Reserve),
        charge(4, sliding, 900, Durability::Reserve),
        charge(5, sliding, 5_000, Durability::Reserve),
    ];
    let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let lives = prop::collection::vec((0..3_000_u64, any::<u64>()), 1..5);
    let checked = runner.run(&lives, |lives| {
        let mut disk = Disk::default();
        let mut begun_with = [0_u64; 6];
        let clock = AtomicU64::new(START.as_nanos());
        for (life, seed) in lives {
            let store = open(&disk);
            let now = || Timestamp::from_nanos(clock.fetch_add(1_000, Ordering::Relaxed));
            let (asked, answered): ([AtomicU64; 6], [AtomicU64; 6]) = Default::default();
            let stop = AtomicU64::new(0);
            let (before, left, after) = thread::scope(|scope| {
                for thread in 0..4 {
                    let (store, kinds, asked, answered) = (&store, &kinds, &asked, &answered);
                    let (stop, now) = (&stop, &now);
                    scope.spawn(move || {
                        run(async {
                            let mut turn = thread;
                            while stop.load(Ordering::Relaxed) == 0 {
                                turn += 1;
                                // Most requests have two charges, which stand or fall together.
                                let of = [turn % 6, (turn / 6) % 6];
                                let charges: Vec<_> =
                                    of[..=usize::from(of[0] != of[1])].iter().map(|&of| kinds[of]).collect();
                                add(asked, &charges);
                                let outcomes = ask(store, Mode::AllOrNothing, &charges, now()).await.unwrap();
                                if outcomes.iter().flatten().all(|outcome| outcome.admitted) {
                                    add(answered, &charges);
                                }
                            }
                        });
                    });
                }
                while asked.iter().map(|asked| asked.load(Ordering::SeqCst)).sum::<u64>() < life {
                    thread::yield_now();
                }
                let read =
                    |counts: &[AtomicU64; 6]| counts.each_ref().map(|count| count.load(Ordering::SeqCst));
                let before = read(&answered);
                let mut bits = seed;
                let left = disk.after_power_loss(|| {
                    bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    bits >> 63 == 1
                });
                let after = read(&asked);
                stop.store(1, Ordering::Relaxed);
                (before, left, after)
            });
            disk = left;
            let store = open(&disk);
            for (of, charge) in kinds.iter().enumerate() {
                let look = Charge { share: Share { hits: Hits::Look, ..charge.share }, ..*charge };
                let used = run(ask(&store, Mode::Each, &[look], now())).unwrap()[0].unwrap().used;
                let chunk =
                    if charge.durability == Durability::Exact { 0 } else { kept::chunk(charge.share.limit) };
                let (least, most) = (begun_with[of] + before[of], begun_with[of] + after[of] + chunk);
                prop_assert!(used >= least.min(charge.share.limit), "{of}: {used} of {least} are left");
                prop_assert!(used <= most.min(charge.share.limit), "{of}: {used} are left of {most}");
                begun_with[of] = used;
            }
            // As it was read, and not as a clean stop would leave it.
            disk = disk.after_power_loss(|| false);
            drop(store);
        }
        Ok(())
    });
    checked.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_damaged_file_is_refused_or_read_as_it_was() {
    let disk = Disk::default();
    let store = open(&disk);
    for number in 0..50 {
        hit(&store, monthly(number, 5_000, Durability::Exact)).unwrap();
    }
    store.close().unwrap();
    for at in (0..disk.size()).step_by(disk.size() / 300) {
        let broken = disk.after_power_loss(|| false);
        broken.flip(at);
        let Ok(file) = File::with_backend(broken) else { continue };
        let store = DiskStore::of(file, MemoryStore::default(), 1_000).unwrap();
        for number in 0..50 {
            let look = monthly(number, 5_000, Durability::Exact);
            let look = Charge { share: Share { hits: Hits::Look, ..look.share }, ..look };
            if let Ok(outcome) = hit(&store, look) {
                assert_eq!(outcome.used, 1, "byte {at}: counter {number} was lost, and nobody was told");
            }
        }
    }
}

#[test]
fn what_is_no_store_is_refused_with_a_sentence_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("counters.redb");
    let open = || DiskStore::open(directory.path(), MemoryStore::default(), 1_000);
    let refused = || open().unwrap_err().to_string().replace(&directory.path().display().to_string(), "DIR");

    for text in ["", "no database", &"x".repeat(200_000)] {
        std::fs::write(&path, text).unwrap();
        let said = refused();
        assert!(
            said.starts_with("the counter store `DIR/counters.redb` is damaged, or is no counter store: "),
            "{said}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::remove_file(&path).unwrap();

    drop(redb::Database::create(&path).unwrap());
    assert!(
        refused().starts_with("`DIR/counters.redb` is a database, but no counter store. "),
        "{}",
        refused()
    );
    std::fs::remove_file(&path).unwrap();

    let store = open().unwrap();
    assert!(refused().starts_with("the counter store `DIR/counters.redb` is open in another process. "));
    store.close().unwrap();

    let newer = redb::Database::open(&path).unwrap();
    let transaction = newer.begin_write().unwrap();
    let about = redb::TableDefinition::<&str, &[u8]>::new("spillway");
    transaction.open_table(about).unwrap().insert("format", [9, 0, 0, 0].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(newer);
    assert!(
        refused().contains("has format 9, and this version of Spillway reads format 1. "),
        "{}",
        refused()
    );
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
