//! Resets by an operator, while processes hold leases of what is reset.

use std::time::Duration;

use spillway::algorithm::{Algorithm, Charge, Mode, Share};
use spillway::model::{Hits, Timestamp};
use spillway::store::{MemoryStore, Session, Store};
use tokio::time::Instant;

use super::laws::{START, Time, charge, run};
use super::leases::{Leased, apply, counted, hit};
use super::redis::counting_by_the_caller;
use crate::support::valkey::Valkey;

/// Hits that another process holds are given back by a reset. Given back by their holder once more, they would be those that were admitted
/// afterwards.
#[test]
fn what_a_reset_gave_back_is_not_given_back_again() {
    const LIMIT: u64 = 8_000;
    run(Time::Paused, async {
        for ends in [false, true] {
            let shared = MemoryStore::default();
            let processes = [(); 2].map(|()| Leased::new(shared.clone(), 2));
            let [one, other] = processes.each_ref().map(Store::session);
            for _ in 0..2_600 {
                assert!(hit(&other, LIMIT, START).await.unwrap().0);
            }
            assert!(processes[1].unspent() > 0);
            let of = charge(1, LIMIT);
            let with = |hits| Charge { share: Share { hits, ..of.share }, ..of };
            let used = counted(&shared, START);
            let until = Instant::now();
            one.reset(&[with(Hits::refund(used))], START, until).await.unwrap();
            assert_eq!(counted(&shared, START), 0);
            let mut passed = 0;
            while hit(&one, LIMIT, START).await.unwrap().0 {
                passed += 1;
            }
            assert_eq!(passed, LIMIT);
            if ends {
                processes[1].give_back(START, until).await.unwrap();
            } else {
                apply(&other, Mode::Each, &[with(Hits::Look)], START).await;
            }
            assert_eq!((counted(&shared, START), processes[1].unspent()), (LIMIT, 0));
            let later = START.plus(Duration::from_millis(100));
            assert!(!hit(&one, LIMIT, later).await.unwrap().0 && !hit(&other, LIMIT, later).await.unwrap().0);
        }
    });
}

/// What is leased after a reset is not lost by looks at the counter.
#[test]
fn after_a_reset_all_of_the_limit_is_there_whoever_looks() {
    run(Time::Paused, async {
        let shared = MemoryStore::default();
        let processes = [(); 2].map(|()| Leased::new(shared.clone(), 2));
        let [one, other] = processes.each_ref().map(Store::session);
        for _ in 0..200 {
            assert!(hit(&other, 1_000, START).await.unwrap().0);
        }
        let of = charge(1, 1_000);
        let with = |hits| Charge { share: Share { hits, ..of.share }, ..of };
        let used = counted(&shared, START);
        one.reset(&[with(Hits::refund(used))], START, Instant::now()).await.unwrap();
        let mut passed = 0;
        for call in 0..2_000 {
            apply(&other, Mode::Each, &[with(Hits::Look)], START).await;
            // What was refused is asked for again after a while.
            let now = START.plus(Duration::from_millis(call));
            passed += u64::from(hit(&other, 1_000, now).await.unwrap().0);
        }
        assert_eq!(passed, 1_000);
    });
}

/// Where windows lie, as the policy of that minute says.
type WindowOf = fn(u64) -> Algorithm;

const HOUR: Duration = Duration::from_secs(3_600);

fn minute(minute: u64) -> Timestamp {
    START.plus(Duration::from_secs(60 * minute))
}

/// A period of an hour, whose anchor is edited in the 40th minute, so that the first one ends after 50 minutes.
fn edited_period(of: u64) -> Algorithm {
    match of {
        0..40 => Algorithm::period(START, minute(60)),
        40..50 => Algorithm::period(START.minus(HOUR / 6), minute(50)),
        _ => Algorithm::period(minute(50), minute(110)),
    }
}

/// Whether a lease that is taken in the minute `taken` is given back in the minute `back`, where an operator resets the counter by another
/// process in the minutes `resets`.
async fn is_given_back<S: Store + Clone>(
    shared: &S,
    of: Charge,
    window: WindowOf,
    resets: &[u64],
    [taken, back]: [u64; 2],
) -> bool {
    let processes = [(); 2].map(|()| Leased::new(shared.clone(), 2));
    let ([one, other], shared) = (processes.each_ref().map(Store::session), shared.session());
    let until = || Instant::now() + Duration::from_secs(1);
    let with = |at, hits| [Charge { share: Share { hits, algorithm: window(at), ..of.share }, ..of }];
    let used = async |at| {
        shared.apply(Mode::Each, &with(at, Hits::Look), minute(at), until()).await.unwrap()[0].unwrap().used
    };
    shared.apply(Mode::Each, &with(0, Hits::ONE), START, until()).await.unwrap();
    for at in 0..=back {
        if at == taken {
            for _ in 0..50 {
                let asked = with(at, Hits::ONE);
                if other.apply_now(Mode::Each, &asked, minute(at)).is_none() {
                    other.apply(Mode::Each, &asked, minute(at), until()).await.unwrap();
                }
            }
        }
        if resets.contains(&at) {
            let refund = with(at, Hits::refund(used(at).await));
            one.reset(&refund, minute(at), until()).await.unwrap();
            // Others' hits, which are not to be given away.
            shared.apply(Mode::Each, &with(at, Hits::charge(200)), minute(at), until()).await.unwrap();
        }
    }
    let (before, leased) = (used(back).await, processes[1].unspent());
    assert!(leased > 0);
    other.apply(Mode::Each, &with(back, Hits::Look), minute(back), until()).await.unwrap();
    let given = before - used(back).await;
    assert!(given == leased || given == 0, "{given} of {leased} were given back");
    given > 0
}

async fn a_reset_voids_the_leases_of_its_window_alone(shared: impl Store + Clone) {
    let (by_the_clock, from_the_first_hit): (WindowOf, WindowOf) =
        (|_| Algorithm::aligned(HOUR), |_| Algorithm::anchored(HOUR));
    for (number, (name, window, resets, [taken, back], expected)) in (0..).zip([
        ("clock", by_the_clock, &[30][..], [20, 50], false),
        ("clock", by_the_clock, &[30], [65, 70], true),
        ("clock", by_the_clock, &[30, 75], [65, 100], false),
        ("first hit", from_the_first_hit, &[30], [20, 50], false),
        ("first hit", from_the_first_hit, &[30], [65, 70], true),
        ("first hit", from_the_first_hit, &[30, 75], [65, 100], false),
        ("period", edited_period, &[30], [20, 35], false),
        ("period", edited_period, &[30], [52, 55], true),
        ("period", edited_period, &[30, 53], [52, 105], false),
    ]) {
        let given = is_given_back(&shared, charge(number, 1_000), window, resets, [taken, back]).await;
        assert_eq!(
            given, expected,
            "{name}: taken in the minute {taken}, back in {back}, reset in {resets:?}"
        );
    }
}

#[test]
fn a_reset_voids_the_leases_of_its_window_alone_in_memory() {
    run(Time::Paused, a_reset_voids_the_leases_of_its_window_alone(MemoryStore::default()));
}

#[test]
fn a_reset_voids_the_leases_of_its_window_alone_in_a_server() {
    let server = Valkey::start(&[]);
    run(Time::Real, a_reset_voids_the_leases_of_its_window_alone(counting_by_the_caller(&server)));
}
