//! Which counters are in memory, and which leave it or the file.

use super::*;

#[test]
fn a_counter_that_left_memory_is_read_again() {
    let disk = Disk::default();
    let store = DiskStore::of(
        File::with_backend(disk).unwrap(),
        Reopen::at_once(|| Err(full())),
        MemoryStore::default(),
        1,
        usize::MAX,
    )
    .unwrap();
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

/// What the table asks memory for when a counter comes to it must be all that was ever counted there.
#[test]
fn between_the_question_where_a_counter_is_and_the_count_it_does_not_move() {
    let store = open(&Disk::default());
    let counter = monthly(1, 50_000, Durability::None);
    let (memory, table) = (store.0.memory.clone(), Arc::clone(&store.0.table));
    let used = thread::scope(|scope| {
        // Nobody counts in memory until this ends: a request has asked where its counter is, and waits.
        let asking = memory.lend(&[counter.key], START, |_| {
            let asking = scope.spawn(|| hit(&store, counter).unwrap().used);
            let is_held = (0..10_000_000).any(|_| {
                thread::yield_now();
                table.is_locked(&counter.key)
            });
            assert!(is_held, "the counter could come to the table now, and the hit be lost");
            // Not only for the question.
            assert!((0..1_000).all(|_| {
                thread::yield_now();
                table.is_locked(&counter.key)
            }));
            asking
        });
        asking.join().unwrap()
    });
    assert_eq!(used, 1);
    assert_eq!(hit(&store, monthly(1, 50_000, Durability::Reserve)).unwrap().used, 2);
}

#[test]
fn durable_counters_have_a_bound_in_bytes_and_their_logs_count() {
    // All are in one shard of 256, which may take a part of this.
    const BYTES: usize = 256 * (64 << 10);
    let file = File::with_backend(Disk::default()).unwrap();
    let store =
        DiskStore::of(file, Reopen::at_once(|| Err(full())), MemoryStore::default(), 1_000_000, BYTES)
            .unwrap();
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
