use std::time::Duration;

use proptest::prelude::*;

use super::plain::Plain;
use super::{Block, Log};
use crate::model::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// All that a log takes for each of its hits.
fn bytes_a_hit(log: &Log) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "both are small")]
    let each = (size_of::<Log>() + log.heap_bytes()) as f64 / log.total as f64;
    each
}

#[test]
fn six_hundred_hits_an_hour_take_less_than_six_bytes_each() {
    let hour = 60 * MINUTE;
    // Gaps as of a client that comes at random, 6 s apart in the mean, for three hours.
    let mut random = 1_u64;
    let mut now = 1_800_000_000_000_000_000;
    let mut log = Log::default();
    let mut most = 0.0_f64;
    for n in 0..1_800 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        now += random % 12_000_000_000;
        let now = Timestamp::from_nanos(now);
        log.forget_dead(log.live(hour, now));
        log.push(now, 1, hour);
        if n >= 600 {
            most = most.max(bytes_a_hit(&log));
        }
    }
    assert!(log.total > 500, "{}", log.total);
    assert!(most <= 6.0, "{most}");
}

#[test]
fn few_hits_take_no_more_than_a_word_each_would() {
    for hits in 1..=4 {
        let mut log = Log::default();
        (0..hits).for_each(|n| log.push(at(1_800_000_000 + n * 21_600), 1, MINUTE));
        // Two deques, the total and the end, and four words.
        assert!(size_of::<Log>() + log.heap_bytes() <= 80 + 4 * 8 + 16, "{hits}: {}", log.heap_bytes());
    }
    assert_eq!(Log::default().heap_bytes(), 0);
}

#[test]
fn a_thousand_hits_at_once_are_one_entry() {
    let mut log = Log::default();
    log.push(at(1), 1, MINUTE);
    log.push(at(2), 1_000, MINUTE);
    log.push(at(2), 1, MINUTE);
    log.push(at(3), 1, MINUTE);
    assert_eq!(log.total, 1_003);
    assert!(log.entries().eq([(at(1), 1), (at(2), 1_001), (at(3), 1)]));
}

#[test]
fn hits_are_found_removed_and_forgotten_in_order() {
    let mut log = Log::default();
    for (secs, hits) in [(0, 1), (10, 2), (20, 3)] {
        log.push(at(secs), hits, MINUTE);
    }
    let live = log.live(MINUTE, at(60));
    let stamps: Vec<_> = (0..=live.used).map(|nth| log.nth(live, nth)).collect();
    assert_eq!(stamps, [Some(10), Some(10), Some(20), Some(20), Some(20), None].map(|secs| secs.map(at)));

    log.forget_dead(live);
    log.take_newest(1, MINUTE);
    log.drop_oldest(1);
    assert_eq!((log.total, log.entries().count(), log.until), (3, 2, at(80)));

    log.take_newest(2, MINUTE);
    assert_eq!((log.total, log.until), (1, at(70)));
    log.take_newest(9, MINUTE);
    assert!(log.is_empty());
    assert_eq!((log.total, log.until), (0, at(0)));
}

#[test]
fn a_part_of_an_entry_is_taken_back_wherever_it_stands_in_its_block() {
    let mut log = Log::default();
    for n in 0..1_000 {
        log.push(at(n), 3, MINUTE);
        log.take_newest(1, MINUTE);
        assert_eq!(log.entries().map(|(_, hits)| hits).sum::<u64>(), log.total, "{n}");
    }
    assert_eq!(log.total, 2_000);
}

#[test]
fn the_clock_stepping_back_leaves_the_order() {
    let mut log = Log::default();
    log.push(at(9), 1, MINUTE);
    log.push(at(5), 1, MINUTE);
    assert_eq!((log.entries().count(), log.total, log.until), (1, 2, at(69)));
}

#[derive(Clone, Debug)]
enum Do {
    Push {
        gap: i64,
        hits: u64,
    },
    /// As many entries, so far apart.
    Burst {
        times: u8,
        gap: u64,
        hits: u64,
    },
    Forget {
        window: u64,
        later: u64,
    },
    TakeNewest(u64),
    DropOldest(u64),
    Cut {
        earlier: u64,
    },
}

fn any_gap() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300_u64, 0..1_u64 << 34, 0..1_u64 << 42, 0..1_u64 << 56]
}

fn any_hits() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(1_u64), 2 => 1..5_u64, 1 => 250..260_u64, 1 => 0..1_u64 << 40]
}

fn anything() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (any_gap(), any_hits()).prop_map(|(gap, hits)| Do::Push { gap: gap.cast_signed(), hits }),
        1 => (any_gap(), any_hits()).prop_map(|(gap, hits)| Do::Push { gap: -gap.cast_signed(), hits }),
        4 => (any::<u8>(), any_gap(), any_hits()).prop_map(|(times, gap, hits)| Do::Burst { times, gap: gap >> 8, hits }),
        3 => (any_gap(), any_gap()).prop_map(|(window, later)| Do::Forget { window, later }),
        2 => any_hits().prop_map(Do::TakeNewest),
        2 => any_hits().prop_map(Do::DropOldest),
        1 => any_gap().prop_map(|earlier| Do::Cut { earlier }),
    ]
}

proptest! {
    #[test]
    fn it_says_what_the_plain_form_says(steps in prop::collection::vec(anything(), 1..40), looks in any::<[u64; 4]>()) {
        let (mut log, mut plain) = (Log::default(), Plain::default());
        let mut now = 1_u64 << 60;
        for step in steps {
            match step {
                Do::Push { gap, hits } => {
                    now = now.saturating_add_signed(gap);
                    log.push(Timestamp::from_nanos(now), hits, MINUTE);
                    plain.push(Timestamp::from_nanos(now), hits, MINUTE);
                }
                Do::Burst { times, gap, hits } => for _ in 0..times {
                    now = now.saturating_add(gap);
                    log.push(Timestamp::from_nanos(now), hits, MINUTE);
                    plain.push(Timestamp::from_nanos(now), hits, MINUTE);
                },
                Do::Forget { window, later } => {
                    now = now.saturating_add(later);
                    let (window, now) = (Duration::from_nanos(window), Timestamp::from_nanos(now));
                    log.forget_dead(log.live(window, now));
                    plain.forget_dead(plain.live(window, now));
                }
                Do::TakeNewest(hits) => {
                    log.take_newest(hits, MINUTE);
                    plain.take_newest(hits, MINUTE);
                }
                Do::DropOldest(hits) => {
                    log.drop_oldest(hits);
                    plain.drop_oldest(hits);
                }
                Do::Cut { earlier } => {
                    let latest = Timestamp::from_nanos(now.saturating_sub(earlier));
                    log.cut(latest, MINUTE);
                    plain.cut(latest, MINUTE);
                }
            }
            prop_assert_eq!((log.until(), log.is_empty(), log.last()), (plain.until(), plain.is_empty(), plain.last()));
            for look in looks {
                let (window, later) = (Duration::from_nanos(look >> (look % 50)), look % (1 << 40));
                let then = Timestamp::from_nanos(now.saturating_add(later));
                let (live, plainly) = (log.live(window, then), plain.live(window, then));
                prop_assert_eq!(live.used, plainly.used);
                prop_assert_eq!(log.newest(live), plain.newest(plainly));
                for nth in [0, 1, live.used / 2, live.used.saturating_sub(1), live.used, look] {
                    prop_assert_eq!(log.nth(live, nth), plain.nth(plainly, nth), "{} of {}", nth, live.used);
                }
            }
            prop_assert_eq!(log.blocks().map(Block::hits).sum::<u64>(), log.total);
            prop_assert!(log.older.iter().all(|block| !block.is_empty()));
        }
    }
}
