//! What it costs to keep counters on a disk: admissions a second, what a request inside its reservation takes beside one in
//! memory, and how long a store of a million counters takes to open.
//!
//! The store is in the system's directory for temporary files; `TMPDIR` names another.

#![expect(clippy::print_stdout, reason = "the result is read by a person")]
#![expect(clippy::disallowed_methods, reason = "measures the wall clock")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{DiskStore, MemoryStore, Session};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const MANY: u64 = 1_000_000;

fn charge(number: u64, limit: u64, durability: Durability) -> Charge {
    let share = Share {
        algorithm: Algorithm::period(START, START.plus(MONTH)),
        limit,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell: 0,
    };
    let low = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Charge { key: CellKey { high: low.rotate_left(32), low }, durability, share }
}

fn open(directory: &Path) -> DiskStore {
    DiskStore::open(directory, MemoryStore::default(), 10_000_000).expect("the store opens")
}

fn run<T>(steps: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(steps)
}

async fn ask(store: &DiskStore, charge: Charge) {
    if store.apply_now(Mode::Each, &[charge], START).is_none() {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        store.apply(Mode::Each, &[charge], START, deadline).await.expect("the store answers");
    }
}

/// How long each of many syncs of a page takes.
fn sync(directory: &Path) -> Vec<Duration> {
    let mut file = fs::File::create(directory.join("sync")).expect("a file is made");
    let mut one = || {
        let begun = Instant::now();
        file.write_all(&[7; 4_096]).and_then(|()| file.sync_data()).expect("it is written");
        begun.elapsed()
    };
    (0..200).map(|_| one()).collect()
}

fn rate(directory: &Path, limit: u64, durability: Durability) {
    let store = open(directory);
    let (threads, callers, hits) = (2, 128, 400);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let store = &store;
            scope.spawn(move || {
                run(join_all((0..callers).map(|caller| async move {
                    for hit in 0..hits {
                        ask(
                            store,
                            charge((thread * 577 + caller * 31 + hit * 17) % 1_000, limit, durability),
                        )
                        .await;
                    }
                })))
            });
        }
    });
    let all = f64::from(u32::try_from(threads * callers * hits).unwrap_or(u32::MAX));
    println!(
        "{durability:?}, 1,000 counters of {limit}: {:.0} admissions/s",
        all / begun.elapsed().as_secs_f64()
    );
    store.close().expect("the store closes");
}

fn part(sorted: &[Duration], percent: usize) -> Duration {
    sorted[sorted.len() * percent / 100]
}

fn one_by_one(directory: &Path, durability: Durability) -> Vec<Duration> {
    let store = open(directory);
    run(async {
        for number in 0..1_000 {
            ask(&store, charge(number, 10_000_000, durability)).await;
        }
        let mut took = Vec::new();
        for hit in 0..20_000 {
            let charge = [charge(hit % 1_000, 10_000_000, durability)];
            let begun = Instant::now();
            let answered = store.apply_now(Mode::Each, &charge, START).is_some();
            if answered {
                took.push(begun.elapsed());
            }
        }
        took.sort_unstable();
        took
    })
}

fn main() {
    let new = || tempfile::tempdir().expect("a directory is made");
    let mut syncs = sync(new().path());
    syncs.sort_unstable();
    println!("a sync of 4 KiB: p50 {:?}, p99 {:?}", part(&syncs, 50), part(&syncs, 99));
    for (limit, durability) in
        [(100_000, Durability::Reserve), (1_000, Durability::Reserve), (100_000, Durability::Exact)]
    {
        rate(new().path(), limit, durability);
    }
    for durability in [Durability::None, Durability::Reserve] {
        let took = one_by_one(new().path(), durability);
        println!("{durability:?}, one request: p50 {:?}, p99 {:?}", part(&took, 50), part(&took, 99));
    }
    let directory = new();
    let store = open(directory.path());
    for first in (0..MANY).step_by(10_000) {
        run(join_all(
            (first..first + 10_000).map(|number| ask(&store, charge(number, 1_000, Durability::Reserve))),
        ));
    }
    store.close().expect("the store closes");
    let begun = Instant::now();
    let store = open(directory.path());
    let opened = begun.elapsed();
    run(ask(&store, charge(4_711, 1_000, Durability::Reserve)));
    println!("{MANY} counters: open in {opened:?}, the first answer after {:?}", begun.elapsed());
}
