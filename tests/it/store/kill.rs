//! A process that is killed while it answers, again and again, and what its counters are afterwards.
//!
//! It is killed five times; as many times as `SPILLWAY_TEST_KILLS` says, where that is set.

#![expect(clippy::disallowed_methods, reason = "a test tells itself what to do by the environment")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Outcome, Timestamp};
use spillway::store::{DiskStore, MemoryStore, Session};
use tokio::time::Instant;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// Names the store's directory to the process that is to be killed.
const DIRECTORY: &str = "SPILLWAY_TEST_KILLED";

/// Its counters, and how many hits of each may be wasted.
fn counters() -> [(Charge, u64); 4] {
    let charge = |number, algorithm, limit, durability| {
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
    };
    let month = Algorithm::period(START, START.plus(MONTH));
    [
        (charge(0, month, 50_000, Durability::Reserve), 50),
        (charge(1, month, 5_000, Durability::Exact), 0),
        (charge(2, Algorithm::sliding_window(MONTH), 1_000, Durability::Reserve), 1),
        // Few are left when the first process ends.
        (charge(3, month, 300, Durability::Reserve), 1),
    ]
}

fn open(directory: &Path) -> DiskStore {
    DiskStore::open(directory, MemoryStore::default(), 1_000).unwrap()
}

fn run<T>(steps: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(steps)
}

async fn ask(store: &DiskStore, charge: Charge) -> Outcome {
    let charges = [charge];
    if let Some(outcomes) = store.apply_now(Mode::Each, &charges, START) {
        return outcomes[0].unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let outcomes = store.apply(Mode::Each, &charges, START, deadline).await.unwrap();
    outcomes[0].unwrap()
}

/// Told in one piece each: `?` and a counter's number before it is asked, `!` and the number when a hit was admitted.
fn tell(what: u8, counter: usize) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&[what, b'0' + u8::try_from(counter).unwrap()]).unwrap();
    // What is kept back would be lost with the process.
    stdout.flush().unwrap();
}

/// The process that is killed. As one of the tests it does nothing.
#[test]
fn asks_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = open(Path::new(&directory));
    let counters = counters();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                run(join_all((0..8).map(|caller| {
                    let (store, counters) = (&store, &counters);
                    async move {
                        for turn in caller..1_000_000 {
                            let counter = turn % counters.len();
                            tell(b'?', counter);
                            if ask(store, counters[counter].0).await.admitted {
                                tell(b'!', counter);
                            }
                        }
                    }
                })))
            });
        }
    });
}

#[test]
fn killed_at_any_moment_it_has_all_that_it_answered_and_admits_no_more_than_the_limit() {
    let kills = std::env::var("SPILLWAY_TEST_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (mut used, mut admitted) = ([0_u64; 4], [0_u64; 4]);
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::kill::asks_until_it_is_killed", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = Vec::new();
        let mut stdout = child.stdout.take().unwrap();
        // How much it has told is as good a moment as any, and needs no clock.
        let enough = 400 + (kill * 7_919) % 6_000;
        let mut part = [0; 4_096];
        while told.len() < enough {
            let read = stdout.read(&mut part).unwrap();
            assert!(read > 0, "it ended by itself: {}", String::from_utf8_lossy(&told));
            told.extend_from_slice(&part[..read]);
        }
        child.kill().unwrap();
        stdout.read_to_end(&mut told).unwrap();
        child.wait().unwrap();

        let store = open(directory.path());
        for (counter, (charge, chunk)) in counters().into_iter().enumerate() {
            let number = b'0' + u8::try_from(counter).unwrap();
            let count = |what| told.windows(2).filter(|pair| **pair == [what, number]).count() as u64;
            let (asked, answered) = (count(b'?'), count(b'!'));
            let look = Charge { share: Share { hits: Hits::Look, ..charge.share }, ..charge };
            let now = run(ask(&store, look)).used;
            let (least, most) = (used[counter] + answered, used[counter] + asked + chunk);
            assert!(
                (least..=most.min(charge.share.limit)).contains(&now),
                "kill {kill}, counter {counter}: {now} are counted, {least} to {most} could be"
            );
            used[counter] = now;
            admitted[counter] += answered;
            assert!(admitted[counter] <= charge.share.limit);
        }
        store.close().unwrap();
    }
    assert!(admitted.iter().all(|admitted| *admitted > 0), "{admitted:?}");
}
