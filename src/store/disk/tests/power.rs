//! Whatever a loss of power leaves of a file.

use super::*;

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
