//! A disk that could not be written, and can again.

use std::sync::Arc;

use super::threads::Task;
use super::*;

/// Whether it `is_so` within 5 seconds.
fn comes(is_so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > Duration::from_secs(5) {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Waits until the store is written again.
fn is_written_again(store: &DiskStore) {
    let begun = Instant::now();
    while store.failure().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not opened anew");
        thread::yield_now();
    }
}

#[test]
fn a_disk_that_has_room_again_is_written_again_and_records_and_counts_go_on() {
    let (disk, tries) = (Disk::default(), Arc::new(AtomicU64::new(0)));
    let (of_again, counted) = (disk.clone(), Arc::clone(&tries));
    let store = open_again(&disk, move || match counted.fetch_add(1, Ordering::SeqCst) {
        // The disk is still full, and so is the next one.
        0..3 => Err(full()),
        _ => Ok(of_again.after_power_loss(|| false)),
    });
    let records = store.records().unwrap();
    let tier = |id: &str| Record {
        kind: RecordKind::ReachedTier,
        scope: "d".to_owned(),
        id: id.to_owned(),
        value: Some(b"1".to_vec()),
    };
    records.apply(vec![tier("a")]).unwrap();
    let exact = monthly(1, 10, Durability::Exact);
    for used in 1..=4 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    disk.fill();
    assert!(hit(&store, exact).is_err());
    is_written_again(&store);
    assert_eq!(tries.load(Ordering::SeqCst), 4);
    // The hit that was answered with an error is not there.
    for used in 5..=10 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    assert!(!hit(&store, exact).unwrap().admitted);
    records.apply(vec![tier("b")]).unwrap();
    let mut known = Vec::new();
    records.each(RecordKind::ReachedTier, "d", &mut |id, _| known.push(id.to_owned())).unwrap();
    assert_eq!(known, ["a", "b"]);
    store.close().unwrap();
}

#[test]
fn what_is_counted_without_the_disk_is_in_the_same_counter() {
    let disk = Disk::default();
    let store = open(&disk);
    let (exact, other) = (monthly(1, 10, Durability::Exact), monthly(2, 10, Durability::Exact));
    let alone = |charge: Charge| store.apply_alone(Mode::Each, &[charge], START).unwrap()[0].unwrap();
    for used in 1..=3 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    let still = disk.still();
    let stands = still.lock();
    for used in 4..=8 {
        // A commit that takes longer than a caller waits.
        let soon = run(async {
            store.apply(Mode::Each, &[exact], START, Instant::now() + Duration::from_millis(1)).await
        });
        assert!(matches!(soon, Err(StoreError::TimedOut { .. })), "{soon:?}");
        assert_eq!(alone(exact).used, used);
    }
    // Nothing is known of this one yet.
    assert_eq!((alone(other).used, alone(other).used), (1, 2));
    drop(stands);
    for used in 9..=10 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    assert!(!hit(&store, exact).unwrap().admitted && !alone(exact).admitted);
    assert_eq!(
        hit(&store, other).unwrap().used,
        1,
        "what the file has of it was not known, and is what counts"
    );
    store.close().unwrap();
    assert_eq!(used(&open(&disk.after_power_loss(|| false)), exact), 10);
}

/// One answer that came too late must not make a counter of the file begin anew, whichever way its windows begin.
#[test]
fn what_is_counted_before_a_counter_is_read_takes_nothing_from_what_the_file_has() {
    for (number, algorithm) in (1..).zip([
        Algorithm::anchored(MONTH),
        Algorithm::aligned(MONTH),
        Algorithm::sliding_window(MONTH),
        Algorithm::token_bucket(MONTH * 1_000, 10),
    ]) {
        let disk = Disk::default();
        let exact = charge(number, algorithm, 10, Durability::Exact);
        let store = open(&disk);
        for _ in 0..9 {
            assert!(hit(&store, exact).unwrap().admitted);
        }
        store.close().unwrap();
        let store = open(&disk.after_power_loss(|| false));
        let alone = store.apply_alone(Mode::Each, &[exact], START.plus(MONTH / 2)).unwrap();
        assert!(alone[0].unwrap().admitted, "from 0, as long as nothing is known");
        assert_eq!(used(&store, exact), 9);
        let admitted = (0..5).filter(|_| hit(&store, exact).unwrap().admitted).count();
        assert_eq!(admitted, 1, "{algorithm:?}");
    }
}

#[test]
fn a_file_that_was_opened_anew_is_swept_again() {
    let (disk, still) = (Disk::default(), Disk::default().still());
    let stands = still.lock();
    let (of_again, waits) = (disk.clone(), Arc::clone(&still));
    let store = open_again(&disk, move || {
        drop(waits.lock());
        Ok(of_again.after_power_loss(|| false))
    });
    hit(&store, monthly(1, 10, Durability::Exact)).unwrap();
    disk.fill();
    assert!(hit(&store, monthly(2, 10, Durability::Exact)).is_err());
    // It is asked for while there is no file.
    let later = START.plus(MONTH * 2);
    store.sweep(later).for_each(drop);
    drop(stands);
    is_written_again(&store);
    // Answered once it is written, by the thread that has opened the file.
    hit(&store, monthly(1, 10, Durability::Exact)).unwrap();
    assert!(!store.0.threads.waits_for_sweep(), "another one can be asked for");
    store.close().unwrap();
}

/// Four threads ask without pause, and the disk fails again and again. Whichever half of a commit it has, no more is ever
/// admitted than the limit.
#[test]
fn whatever_the_disk_has_of_a_failed_commit_nothing_is_granted_twice() {
    let kinds: [Charge; 4] = [
        monthly(0, 3_000, Durability::Reserve),
        monthly(1, 900, Durability::Exact),
        charge(2, Algorithm::sliding_window(MONTH), 900, Durability::Reserve),
        charge(3, Algorithm::token_bucket(MONTH * 1_000, 2_000), 2_000, Durability::Reserve),
    ];
    let mut failures = 0;
    for seed in 1..6_u64 {
        let disk = Arc::new(parking_lot::Mutex::new(Disk::default()));
        let (of_again, mut bits) = (Arc::clone(&disk), seed);
        let store = open_again(&disk.lock().clone(), move || {
            let mut disk = of_again.lock();
            let left = disk.after_power_loss(|| {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bits >> 63 == 1
            });
            *disk = left.clone();
            Ok(left)
        });
        let admitted: [AtomicU64; 4] = Default::default();
        let stop = AtomicU64::new(0);
        thread::scope(|scope| {
            for first in 0..4_usize {
                let (store, kinds, admitted, stop) = (&store, &kinds, &admitted, &stop);
                scope.spawn(move || {
                    for turn in first.. {
                        if stop.load(Ordering::Relaxed) == 1 {
                            break;
                        }
                        let of = turn % kinds.len();
                        if hit(store, kinds[of]).is_ok_and(|outcome| outcome.admitted) {
                            admitted[of].fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            let all = || admitted.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
            // On a busy machine all may be used up while this thread has no turn: then nothing is written any more, and nothing fails.
            for _ in 0..6 {
                let before = all();
                if !comes(|| all() >= before + 100) {
                    break;
                }
                disk.lock().fill();
                if comes(|| store.failure().is_some()) {
                    failures += 1;
                } else {
                    disk.lock().make_room();
                }
                is_written_again(&store);
            }
            stop.store(1, Ordering::Relaxed);
        });
        // Then nobody disturbs it until all is used up.
        for (of, charge) in kinds.iter().enumerate() {
            // The last failure may be noticed only now.
            let is_admitted = || {
                let answer = hit(&store, *charge).or_else(|_| {
                    is_written_again(&store);
                    hit(&store, *charge)
                });
                answer.unwrap().admitted
            };
            while is_admitted() {
                admitted[of].fetch_add(1, Ordering::SeqCst);
            }
            let (admitted, limit) = (admitted[of].load(Ordering::SeqCst), charge.share.limit);
            // What was counted ahead, and what was answered with an error after it was written, is lost each time.
            let lost = 6 * (kept::chunk(limit) + 4);
            assert!((limit - lost..=limit).contains(&admitted), "{of}, {seed}: {admitted} of {limit}");
        }
        store.close().unwrap();
    }
    assert!(failures >= 5, "{failures} of 30: the machine gave this no turn, or a full disk is not noticed");
}

/// redb panics at pages that make no sense, on whichever thread comes to them.
#[test]
fn a_panic_is_survived_as_a_failed_write_is() {
    let disk = Disk::default();
    let of_again = disk.clone();
    let store = open_again(&disk, move || Ok(of_again.after_power_loss(|| false)));
    let exact = monthly(1, 10, Durability::Exact);
    for used in 1..=4 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    disk.make_no_sense();
    let told = hit(&store, exact).unwrap_err().to_string();
    assert!(told.contains("makes no sense"), "{told}");
    is_written_again(&store);
    assert_eq!(hit(&store, exact).unwrap().used, 5);
    store.close().unwrap();
}

#[test]
fn a_failure_to_read_that_is_told_late_is_of_the_file_before() {
    let (disk, tries) = (Disk::default(), Arc::new(AtomicU64::new(0)));
    let told: Arc<std::sync::OnceLock<std::sync::Weak<Inner>>> = Arc::default();
    let (of_again, counted, late) = (disk.clone(), Arc::clone(&tries), Arc::clone(&told));
    let store = open_again(&disk, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let inner = late.get().and_then(std::sync::Weak::upgrade).unwrap();
        assert!(inner.threads.send(Task::Failed("a counter could not be read".to_owned())));
        Ok(of_again.after_power_loss(|| false))
    });
    told.set(Arc::downgrade(&store.0)).unwrap();
    let exact = monthly(1, 10, Durability::Exact);
    hit(&store, exact).unwrap();
    disk.fill();
    assert!(hit(&store, exact).is_err());
    is_written_again(&store);
    for used in 2..=4 {
        assert_eq!(hit(&store, exact).unwrap().used, used);
    }
    assert_eq!(tries.load(Ordering::SeqCst), 1, "it was opened anew once");
    store.close().unwrap();
}

#[test]
fn a_panic_in_whoever_looks_at_records_is_none_of_the_store() {
    let disk = Disk::default();
    let store = open(&disk);
    let records = store.records().unwrap();
    let value = Some(b"1".to_vec());
    let record = Record { kind: RecordKind::Subject, scope: "d".into(), id: "a".into(), value };
    records.apply(vec![record]).unwrap();
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        records.each(RecordKind::Subject, "d", &mut |_, _| panic!("planted"))
    }));
    assert!(looked.is_err() && store.failure().is_none());
    store.close().unwrap();
}

#[test]
fn a_panic_at_records_is_one_of_the_store_and_survived_too() {
    let disk = Disk::default();
    let of_again = disk.clone();
    let store = open_again(&disk, move || Ok(of_again.after_power_loss(|| false)));
    let records = store.records().unwrap();
    let record = |id: u32| Record {
        kind: RecordKind::Subject,
        scope: "shop".to_owned(),
        id: id.to_string(),
        value: Some(vec![7; 4_096]),
    };
    // More than is kept in memory of the file.
    for first in (0..8_000).step_by(1_000) {
        records.apply((first..first + 1_000).map(record).collect()).unwrap();
    }
    disk.make_no_sense();
    let told = records.each(RecordKind::Subject, "shop", &mut |_, _| ()).unwrap_err().to_string();
    assert!(told.contains("makes no sense"), "{told}");
    is_written_again(&store);
    let mut read = 0;
    records.each(RecordKind::Subject, "shop", &mut |_, _| read += 1).unwrap();
    assert_eq!(read, 8_000);
    store.close().unwrap();
}
