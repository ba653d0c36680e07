//! What the file says after the process or the power is gone.

mod backend;

use std::future::Future;
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
    DiskStore::of(File::with_backend(disk.clone()).unwrap(), MemoryStore::default(), 10_000, usize::MAX)
        .unwrap()
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
fn a_counter_that_left_memory_is_read_again() {
    let disk = Disk::default();
    let store =
        DiskStore::of(File::with_backend(disk).unwrap(), MemoryStore::default(), 1, usize::MAX).unwrap();
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
        let store = DiskStore::of(file, MemoryStore::default(), 1_000, usize::MAX).unwrap();
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

fn tier_of(id: &str, tier: Option<&str>) -> Record {
    let value = tier.map(|tier| tier.as_bytes().to_vec());
    Record { kind: RecordKind::ReachedTier, scope: "d".to_owned(), id: id.to_owned(), value }
}

/// The records of domain `d`.
fn known(store: &DiskStore) -> Vec<(String, String)> {
    let mut known = Vec::new();
    let records = store.records().unwrap();
    records
        .each(RecordKind::ReachedTier, "d", &mut |id, value| {
            known.push((id.to_owned(), String::from_utf8(value.to_owned()).unwrap()));
        })
        .unwrap();
    known
}

#[test]
fn records_are_on_the_disk_when_they_are_said_to_be() {
    let mut random = 1_u64;
    let disk = Disk::default();
    let store = open(&disk);
    let records = store.records().unwrap();
    assert_eq!(known(&store), [], "a file without the table has none");
    for step in 0..20_u64 {
        hit(&store, monthly(1, 50_000, Durability::Reserve)).unwrap();
        let other = Record { scope: "e".to_owned(), ..tier_of("a", Some("9")) };
        records.apply(vec![tier_of("a", Some(&step.to_string())), tier_of("b", Some("0")), other]).unwrap();
        if step % 2 == 0 {
            records.apply(vec![tier_of("b", None)]).unwrap();
        }
        // Any of what was not synced is there, or is not.
        let after = open(&disk.after_power_loss(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 63 == 0
        }));
        let mut expected = vec![("a".to_owned(), step.to_string())];
        expected.extend((step % 2 == 1).then(|| ("b".to_owned(), "0".to_owned())));
        assert_eq!(known(&after), expected);
    }
    store.close().unwrap();
    let error = records.apply(vec![tier_of("a", None)]).unwrap_err().to_string();
    assert!(error.ends_with("it is closed"), "{error}");
    let error = records.each(RecordKind::ReachedTier, "d", &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.ends_with("it is closed"), "{error}");
    assert_eq!(known(&open(&disk)), [("a".to_owned(), "19".to_owned()), ("b".to_owned(), "0".to_owned())]);
}

#[test]
fn records_of_a_disk_that_is_full_are_refused_and_told_so() {
    let disk = Disk::default();
    let store = open(&disk);
    let records = store.records().unwrap();
    records.apply(vec![tier_of("a", Some("1"))]).unwrap();
    disk.fill();
    for _ in 0..2 {
        let error = records.apply(vec![tier_of("a", Some("2"))]).unwrap_err().to_string();
        assert!(error.contains("has failed: "), "{error}");
    }
    assert_eq!(known(&open(&disk.after_power_loss(|| false))), [("a".to_owned(), "1".to_owned())]);
}

#[test]
fn records_of_a_newer_version_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
    store.records().unwrap().apply(vec![tier_of("a", Some("1"))]).unwrap();
    store.close().unwrap();
    let database = redb::Database::open(directory.path().join("counters.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(file::ABOUT)
        .unwrap()
        .insert(file::RECORDS_VERSION, 2_u32.to_le_bytes().as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap_err().to_string();
    let expected = "has records of version 2, and this version of Spillway reads version 1. Start the version that wrote them";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn of_several_that_start_in_an_empty_directory_one_has_the_store() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let open = || DiskStore::open(directory.path(), MemoryStore::default(), 1_000);
        let opened: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (have, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert!(others.iter().all(|error| matches!(error, Err(OpenError::InUse { .. }))), "{others:?}");
        assert_eq!(have.len(), 1);
        let store = have.into_iter().next().unwrap().unwrap();
        hit(&store, monthly(1, 50_000, Durability::Exact)).unwrap();
        store.close().unwrap();
        let again = open().unwrap();
        assert_eq!(
            (used(&again, monthly(1, 50_000, Durability::Exact)), again.secret()),
            (1, store.secret())
        );
        let files = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
        assert_eq!(files.collect::<Vec<_>>(), ["counters.redb"]);
    }
}

#[test]
fn a_copy_that_is_not_finished_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let copy = Offline::create(directory.path(), [1; 16]).unwrap();
    copy.put(&[(CellKey { high: 1, low: 1 }, Cell::Empty)]).unwrap();
    assert!(!directory.path().join("counters.redb").exists());
    drop(copy);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let error = Offline::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn a_counter_that_is_durable_no_more_goes_on_in_memory_and_back() {
    let disk = Disk::default();
    let store = open(&disk);
    for (durability, expected) in
        [(Durability::Reserve, 1), (Durability::None, 2), (Durability::Reserve, 3), (Durability::Exact, 4)]
    {
        assert_eq!(hit(&store, monthly(1, 50_000, durability)).unwrap().used, expected, "{durability:?}");
    }
    // What is not durable is not waited for, even where the disk has failed.
    disk.fill();
    hit(&store, monthly(2, 50_000, Durability::Exact)).unwrap_err();
    assert_eq!(hit(&store, monthly(1, 50_000, Durability::None)).unwrap().used, 5);
    let left = used(&open(&disk.after_power_loss(|| false)), monthly(1, 50_000, Durability::Exact));
    assert!((4..=54).contains(&left), "{left}");
}

#[test]
fn durable_counters_have_a_bound_in_bytes_and_their_logs_count() {
    // All are in one shard of 256, which may take a part of this.
    const BYTES: usize = 256 * (64 << 10);
    let file = File::with_backend(Disk::default()).unwrap();
    let store = DiskStore::of(file, MemoryStore::default(), 1_000_000, BYTES).unwrap();
    let sliding =
        |number: u64| charge(number << 8, Algorithm::sliding_window(MONTH), 600, Durability::Reserve);
    hit(&store, sliding(0)).unwrap();
    let before = store.statistics().bytes;
    for second in 0..600 {
        run(ask(&store, Mode::Each, &[sliding(0)], START.plus(Duration::from_secs(second)))).unwrap();
    }
    // Logs are looked at when counters are swept.
    store.sweep(START).for_each(drop);
    let log = store.statistics().bytes - before;
    assert!(log > 1_000, "a log of 600 hits takes {log} bytes");
    for number in 1..2_000 {
        hit(&store, sliding(number)).unwrap();
    }
    let in_memory = store.statistics().counters;
    assert!(in_memory < 1_000, "{in_memory} counters, {} bytes", store.statistics().bytes);
    assert_eq!(used(&store, sliding(1)), 1, "none is lost");
}

#[test]
fn who_has_given_up_while_the_disk_stands_still_is_forgotten() {
    let mut kept = kept::Kept::loading();
    for _ in 0..100_000 {
        let (ready, waits) = oneshot::channel();
        kept.wake_when_loaded(ready);
        drop(waits);
    }
    assert!(kept.heap_bytes() < 2_000, "{}", kept.heap_bytes());
}

#[test]
fn what_was_counted_in_memory_in_a_later_window_goes_on_when_the_limit_is_durable_again() {
    let disk = Disk::default();
    let of = |month: u32, durability| {
        let start = START.plus(MONTH * month);
        charge(1, Algorithm::period(start, start.plus(MONTH)), 50, durability)
    };
    let at = |store: &DiskStore, month: u32, durability| {
        run(ask(store, Mode::Each, &[of(month, durability)], START.plus(MONTH * month))).unwrap()[0]
            .unwrap()
            .used
    };
    let store = open(&disk);
    for used in 1..=5 {
        assert_eq!(at(&store, 0, Durability::Exact), used);
    }
    store.close().unwrap();
    // The server starts with the limit not durable, and the file still has the month before.
    let store = open(&disk);
    for used in 1..=3 {
        assert_eq!(at(&store, 1, Durability::None), used);
    }
    assert_eq!(at(&store, 1, Durability::Exact), 4);
    store.close().unwrap();
    // Of two counts of the same month the higher one goes on.
    let store = open(&disk);
    assert_eq!(at(&store, 1, Durability::None), 1);
    assert_eq!(at(&store, 1, Durability::Reserve), 5);
}

#[test]
fn a_full_shard_makes_room_for_several_at_once() {
    let table = Table::new(1_000_000, 4 << 20);
    let mut looks = 0;
    let mut shard = table.lock(0);
    let new = |number: u64| (CellKey { high: 0, low: number }, Kept::loading());
    for number in 0..2_000 {
        let before = shard.len();
        table.make_room(&mut shard, START);
        looks += usize::from(shard.len() < before);
        let (key, mut kept) = new(number);
        kept.loaded(Ok(None), Cell::default);
        shard.insert(key, kept);
        table.count(&mut shard);
    }
    assert!((1..=600).contains(&looks), "{looks}");
}
