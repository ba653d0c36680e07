//! Published policies, as the sequences that their documentation implies. Times are milliseconds after the first request.

use std::time::Duration;

use crate::algorithm::{Algorithm, Cell, Commit, Mode, Share, billing_period, settle};
use crate::model::{Hits, Outcome, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
/// 2025-02-07T15:12:40Z
const LEADRON_EPOCH: u64 = 1_738_941_160_000;
const EPOCH: u64 = 1_800_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn secs_up(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000).try_into().unwrap()
}

fn charge(algorithm: Algorithm, limit: u64, cell: usize) -> Share {
    Share {
        algorithm,
        limit,
        hits: Hits::ONE,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell,
    }
}

/// One hit against one limit for each time; the last answer.
fn last(algorithm: Algorithm, limit: u64, cell: &mut Cell, millis: impl IntoIterator<Item = u64>) -> Outcome {
    let ask = |millis| algorithm.step(limit, cell, Hits::ONE, Commit::IfAdmitted, at(EPOCH + millis));
    millis.into_iter().map(ask).last().unwrap()
}

/// `[remaining, until the first hit leaves, until whole]`, and the time to retry; times in ms.
fn reported(out: Outcome) -> ([u128; 3], Option<u128>) {
    assert_eq!(out.admitted, out.retry_after.is_none());
    (
        [out.remaining.into(), out.reset_after.as_millis(), out.full_after.as_millis()],
        out.retry_after.map(|wait| wait.as_millis()),
    )
}

#[test]
fn mega_tells_the_first_slot_and_the_full_refill() {
    let algorithm = Algorithm::sliding_window(MINUTE);
    let cell = &mut Cell::default();
    assert_eq!(reported(last(algorithm, 60, cell, [0])), ([59, 60_000, 60_000], None));

    // Sixty hits spread over 12 s; the sixty-first at 30 s.
    assert_eq!(last(algorithm, 60, cell, (1..60).map(|n| n * 12_000 / 59)).remaining, 0);
    assert_eq!(reported(last(algorithm, 60, cell, [30_000])), ([0, 30_000, 42_000], Some(30_000)));
    assert_eq!(reported(last(algorithm, 60, cell, [59_999])), ([0, 1, 12_001], Some(1)));
    assert_eq!(reported(last(algorithm, 60, cell, [60_000])), ([0, 203, 60_000], None));
}

#[test]
fn mega_counts_a_minute_and_an_hour_or_neither() {
    let charges = [
        charge(Algorithm::sliding_window(MINUTE), 60, 0),
        charge(Algorithm::sliding_window(60 * MINUTE), 1_000, 1),
    ];
    let mut cells = [Cell::Empty, Cell::Empty];
    let mut ask = |millis| {
        let outs = settle(Mode::AllOrNothing, &charges, &mut cells, at(EPOCH + millis));
        (outs[0].unwrap(), outs[1].unwrap())
    };
    for n in 1..=1_000_u64 {
        let (minute, hour) = ask((n - 1) * 1_100);
        assert!(minute.admitted && hour.admitted, "{n}");
        assert_eq!(hour.remaining, 1_000 - n);
        assert_eq!(hour.remaining <= minute.remaining, n >= 995, "{n}");
    }
    let (minute, hour) = ask(1_100_000);
    assert_eq!((minute.admitted, minute.remaining), (true, 6));
    assert_eq!(reported(hour), ([0, 2_500_000, 3_598_900], Some(2_500_000)));
}

#[test]
fn mega_keeps_the_hour_when_the_minute_refuses() {
    let charges = [
        charge(Algorithm::sliding_window(MINUTE), 60, 0),
        charge(Algorithm::sliding_window(60 * MINUTE), 1_000, 1),
    ];
    let mut cells = [Cell::Empty, Cell::Empty];
    for n in 0..100_u64 {
        let outs = settle(Mode::AllOrNothing, &charges, &mut cells, at(EPOCH + n * 200));
        let [minute, hour] = [outs[0].unwrap(), outs[1].unwrap()];
        assert_eq!((minute.admitted, hour.admitted), (n < 60, true));
        assert_eq!(hour.remaining, 999_u64.saturating_sub(n).max(940));
    }
}

#[test]
fn campaigns_reset_with_the_oldest_hit() {
    let algorithm = Algorithm::sliding_window(MINUTE);
    let cell = &mut Cell::default();
    assert_eq!(reported(last(algorithm, 20, cell, (0..20).map(|n| n * 1_000))).0[1], 41_000);
    assert_eq!(reported(last(algorithm, 20, cell, [30_000])), ([0, 30_000, 49_000], Some(30_000)));
    assert_eq!(reported(last(algorithm, 20, cell, [60_000])), ([0, 1_000, 60_000], None));
    assert_eq!(reported(last(algorithm, 20, cell, [60_500])), ([0, 500, 59_500], Some(500)));
}

#[test]
fn leaperone_tells_one_instant_for_reset_and_retry() {
    let algorithm = Algorithm::anchored(MINUTE);
    let cell = &mut Cell::default();
    assert!(last(algorithm, 5, cell, [0; 5]).admitted);
    assert_eq!(reported(last(algorithm, 5, cell, [20_000])), ([0, 40_000, 40_000], Some(40_000)));
    assert!(!last(algorithm, 5, cell, [59_999]).admitted);
    // A tier raised while the window is open keeps what was used.
    assert_eq!(last(algorithm, 20, &mut cell.clone(), [59_999]).used, 6);
    assert_eq!(reported(last(algorithm, 5, cell, [60_000])), ([4, 60_000, 60_000], None));
}

#[test]
fn leaperones_key_does_not_use_up_the_account_when_it_refuses() {
    let algorithm = Algorithm::anchored(MINUTE);
    let mut cells = vec![Cell::Empty; 3];
    let mut ask = |key: usize, custom: u64| {
        let charges = [charge(algorithm, 40, 0), charge(algorithm, custom, key)];
        settle(Mode::AllOrNothing, &charges, &mut cells, at(EPOCH)).iter().all(|out| out.unwrap().admitted)
    };
    assert_eq!((0..11).filter(|_| ask(1, 10)).count(), 10);
    assert_eq!((0..31).filter(|_| ask(2, 40)).count(), 30);
}

#[test]
fn leadpings_window_starts_with_its_first_request() {
    let algorithm = Algorithm::anchored(MINUTE);
    let cell = &mut Cell::default();
    assert!(last(algorithm, 300, cell, (0..300).map(|n| n * 100)).admitted);
    assert_eq!(reported(last(algorithm, 300, cell, [43_000])), ([0, 17_000, 17_000], Some(17_000)));
    assert_eq!(reported(last(algorithm, 300, cell, [60_000])), ([299, 60_000, 60_000], None));
}

/// An address and a tenant: 1,000 in 900 s, then a plan's quota per billing period, which counts what it refuses.
struct Leadron {
    cells: [Cell; 2],
}

impl Leadron {
    fn ask(&mut self, now: Timestamp, quota: u64, hits: Hits) -> (Outcome, Option<Outcome>) {
        let anchor = Timestamp::from_secs(1_738_315_800); // 2025-01-31T09:30:00Z
        let (start, end) = billing_period(anchor, &jiff::tz::TimeZone::UTC, now);
        let gateway = charge(Algorithm::anchored(15 * MINUTE), 1_000, 0);
        let quota =
            Share { count_denied: true, stage: 1, hits, ..charge(Algorithm::period(start, end), quota, 1) };
        let outs = settle(Mode::InOrder, &[gateway, quota], &mut self.cells, now);
        (outs[0].unwrap(), outs[1])
    }
}

#[test]
fn leadrons_gateway_refuses_before_the_quota_is_asked() {
    let mut leadron = Leadron { cells: [Cell::Empty, Cell::Empty] };
    let mut ask = |millis| leadron.ask(at(LEADRON_EPOCH + millis), 50_000, Hits::ONE);
    let (gateway, quota) = ask(0);
    assert_eq!((gateway.remaining, gateway.reset_after), (999, 15 * MINUTE));
    assert_eq!(quota.unwrap().used, 1);
    for n in 2..=1_000_u64 {
        assert_eq!(ask(n).0.remaining, 1_000 - n);
    }
    for (millis, retry) in [(58_000, 842), (899_999, 1)] {
        let (gateway, quota) = ask(millis);
        assert_eq!((gateway.admitted, gateway.remaining, quota), (false, 0, None));
        assert_eq!(gateway.retry_after.map(secs_up), Some(retry));
    }
    let (gateway, quota) = ask(900_000);
    assert_eq!((gateway.remaining, gateway.reset_after), (999, 15 * MINUTE));
    assert_eq!(quota.unwrap().used, 1_001);
}

#[test]
fn leadrons_quota_counts_what_it_refuses_until_the_subscription_renews() {
    let mut leadron = Leadron { cells: [Cell::Empty, Cell::Empty] };
    let now = at(LEADRON_EPOCH);
    leadron.ask(now, 50_000, Hits::charge(49_999));
    for (used, quota, admitted) in
        [(50_000, 50_000, true), (50_001, 50_000, false), (50_002, 50_000, false), (50_003, 200_000, true)]
    {
        let (gateway, out) = leadron.ask(now, quota, Hits::ONE);
        let out = out.unwrap();
        assert_eq!((out.used, out.remaining, out.admitted), (used, quota.saturating_sub(used), admitted));
        assert_eq!(gateway.used, used - 49_998);
    }
    // 2025-02-28T09:30:00Z
    let renews = 1_740_735_000_000;
    let used = |leadron: &mut Leadron, millis| {
        let out = leadron.ask(at(millis), 50_000, Hits::ONE).1.unwrap();
        (out.used, out.admitted)
    };
    assert_eq!(used(&mut leadron, renews - 1), (50_004, false));
    assert_eq!(used(&mut leadron, renews), (1, true));
}
