use std::time::Duration;

use proptest::prelude::*;

use super::plain::Plain;
use super::{Block, Log};
use crate::model::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const START: u64 = 1_800_000_000_000_000_000;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// Gaps as of a client that comes at random, as often an hour in the mean: a generator with a fixed seed.
fn random_gaps(an_hour: u64) -> impl Iterator<Item = u64> {
    let mut random = 1_u64;
    std::iter::repeat_with(move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 16) % (2 * 3_600_000_000_000 / an_hour)
    })
}

/// The most bytes a hit of a log that gets hits with such gaps and forgets those of more than an hour ago: all
/// together, the box included. Logs of fewer than `from` hits do not count.
fn most_bytes_a_hit(gaps: impl Iterator<Item = u64>, from: u64) -> f64 {
    let (mut log, mut now, mut most) = (Log::default(), START, 0.0_f64);
    for gap in gaps {
        now += gap;
        let then = Timestamp::from_nanos(now);
        log.forget_dead(log.live(HOUR, then));
        log.push(then, 1, HOUR);
        if log.total() >= from {
            #[allow(clippy::cast_precision_loss, reason = "both are small")]
            let each = (size_of::<Log>() + log.heap_bytes()) as f64 / log.total() as f64;
            most = most.max(each);
        }
    }
    most
}

#[test]
fn six_hundred_hits_an_hour_take_less_than_six_bytes_each() {
    let even = std::iter::repeat_n(3_600_000_000_000 / 600, 3_000);
    for (what, most) in [
        ("evenly spread", most_bytes_a_hit(even, 600)),
        ("at random", most_bytes_a_hit(random_gaps(620).take(6_000), 590)),
    ] {
        assert!(0.0 < most && most <= 6.0, "{what}: {most}");
    }
}

#[test]
fn a_log_takes_no_more_than_two_words_an_entry_would() {
    // Two deques and two words.
    assert_eq!(size_of::<Log>(), 80);
    assert_eq!(Log::default().heap_bytes(), 0);
    let gaps = [1, 1 << 20, 1 << 34, 1 << 41, 1 << 50, 1 << 58];
    for (gap, hits) in gaps.into_iter().flat_map(|gap| [1, 2, 1 << 20, u64::MAX / 8].map(|hits| (gap, hits)))
    {
        let (mut log, mut plain) = (Log::default(), Plain::default());
        for n in 0..4 {
            log.push(Timestamp::from_nanos(n * gap), hits, MINUTE);
            plain.push(Timestamp::from_nanos(n * gap), hits, MINUTE);
            let (new, old) = (log.heap_bytes(), plain.heap_bytes());
            assert!(new <= old, "{} of {hits} hits, {gap} ns apart: {new} > {old}", n + 1);
        }
    }
}

#[test]
fn a_single_hit_takes_no_heap() {
    let mut log = Log::default();
    for n in 0..1_000 {
        let now = at(1_800_000_000 + 61 * n);
        log.forget_dead(log.live(MINUTE, now));
        log.push(now, 1, MINUTE);
        assert_eq!((log.total(), log.heap_bytes()), (1, 0));
    }
}

#[test]
fn a_log_that_never_runs_empty_grows_no_longer_entries() {
    let mut log = Log::default();
    let mut after_an_hour = 0;
    for n in 0..20 * 24 * 30 {
        let now = at(1_800_000_000 + 180 * n);
        log.forget_dead(log.live(HOUR, now));
        log.push(now, 1, HOUR);
        if n == 20 {
            after_an_hour = log.heap_bytes();
        }
    }
    assert_eq!((log.total(), log.heap_bytes()), (20, after_an_hour));
}

#[test]
fn room_is_given_back_when_hits_leave() {
    for leave in [|log: &mut Log| log.drop_oldest(4_990), |log: &mut Log| log.take_newest(4_990, MINUTE)] {
        let mut log = Log::default();
        (0..5_000).for_each(|n| log.push(at(n), 1, MINUTE));
        leave(&mut log);
        assert_eq!(log.total(), 10);
        assert!(log.heap_bytes() <= 128, "{}", log.heap_bytes());
        log.take_newest(10, MINUTE);
        assert_eq!(log.heap_bytes(), 0);
    }
}

#[test]
fn a_thousand_hits_at_once_are_one_entry() {
    let mut log = Log::default();
    log.push(at(1), 1, MINUTE);
    log.push(at(2), 1_000, MINUTE);
    log.push(at(2), 1, MINUTE);
    log.push(at(3), 1, MINUTE);
    assert_eq!(log.total(), 1_003);
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
    assert_eq!((log.total(), log.entries().count(), log.until), (3, 2, at(80)));

    log.take_newest(2, MINUTE);
    assert_eq!((log.total(), log.until), (1, at(70)));
    log.take_newest(9, MINUTE);
    assert!(log.is_empty());
    assert_eq!((log.total(), log.until), (0, at(0)));
}

#[test]
fn the_clock_stepping_back_leaves_the_order() {
    let mut log = Log::default();
    log.push(at(9), 1, MINUTE);
    log.push(at(5), 1, MINUTE);
    assert_eq!((log.entries().count(), log.total(), log.until), (1, 2, at(69)));
}

#[test]
fn logs_of_the_same_hits_are_equal_however_they_came_about() {
    let (mut long, mut short) = (Log::default(), Log::default());
    (0..1_000).for_each(|n| long.push(at(n), 1, MINUTE));
    long.forget_dead(long.live(MINUTE, at(1_000)));
    (941..1_000).for_each(|n| short.push(at(n), 1, MINUTE));
    assert_eq!(long, short);
    short.push(at(999), 1, MINUTE);
    assert_ne!(long, short);
}

/// What is done to a log and its model. Times are in nanoseconds, those of `Push` after the time before.
#[derive(Clone, Debug)]
enum Do {
    Push {
        gap: u64,
        hits: u64,
    },
    /// Hits by a clock that stepped back.
    PushEarlier {
        gap: u64,
        hits: u64,
    },
    /// Entries of as many hits, so far apart.
    Burst {
        times: u16,
        gap: u64,
        hits: u64,
    },
    Forget {
        window: u64,
        later: u64,
    },
    /// So many in 256 of all hits.
    TakeNewest(u64),
    DropOldest(u64),
    /// All hits later than the one at so many in 256 of all, and the time with it.
    Cut(u64),
}

/// From 0 ns to years.
fn any_gap() -> impl Strategy<Value = u64> {
    (0..58_u32)
        .prop_flat_map(|bits| prop_oneof![3 => 0..=1_u64 << bits, 1 => Just(1_u64 << bits), 1 => Just(0)])
}

fn any_hits() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => Just(1_u64),
        3 => 1..5_u64,
        1 => 250..260_u64,
        1 => (0..57_u32).prop_map(|bits| 1 << bits),
        1 => Just(0),
    ]
}

fn any_part() -> impl Strategy<Value = u64> {
    prop_oneof![2 => 0..3_u64, 4 => 0..=256_u64, 1 => 254..=256_u64]
}

fn anything() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (any_gap(), any_hits()).prop_map(|(gap, hits)| Do::Push { gap, hits }),
        1 => (any_gap(), any_hits()).prop_map(|(gap, hits)| Do::PushEarlier { gap, hits }),
        5 => (0..400_u16, any_gap(), any_hits())
            .prop_map(|(times, gap, hits)| Do::Burst { times, gap: gap >> 8, hits: hits >> 9 }),
        5 => (0..400_u16, 0..44_u32).prop_map(|(times, bits)| Do::Burst { times, gap: 1 << bits, hits: 1 }),
        3 => (any_gap(), any_gap()).prop_map(|(window, later)| Do::Forget { window, later: later >> 4 }),
        2 => any_part().prop_map(Do::TakeNewest),
        2 => any_part().prop_map(Do::DropOldest),
        1 => any_part().prop_map(Do::Cut),
    ]
}

/// A log and its model, to which the same is done.
#[derive(Debug, Default)]
struct Both {
    log: Log,
    plain: Plain,
    now: u64,
}

impl Both {
    fn push(&mut self, now: u64, hits: u64, window: Duration) {
        // The model adds up without a bound.
        let hits = hits.min(u64::MAX - self.log.total());
        self.log.push(Timestamp::from_nanos(now), hits, window);
        self.plain.push(Timestamp::from_nanos(now), hits, window);
    }

    fn hits(&self, part: u64) -> u64 {
        let total = self.log.total();
        if part < 3 { part } else { (total / 256 * part).saturating_add(total % 256 * part / 256) }
    }

    /// The time of a hit at such a part of the history.
    fn time(&self, part: u64) -> u64 {
        let all = self.plain.live(Duration::MAX, Timestamp::EPOCH);
        self.plain.nth(all, self.hits(part)).map_or(self.now, Timestamp::as_nanos)
    }

    fn apply(&mut self, what: &Do, window: Duration) {
        match *what {
            Do::Push { gap, hits } => {
                self.now = self.now.saturating_add(gap);
                self.push(self.now, hits, window);
            }
            Do::PushEarlier { gap, hits } => self.push(self.now.saturating_sub(gap), hits, window),
            Do::Burst { times, gap, hits } => {
                for _ in 0..times {
                    self.now = self.now.saturating_add(gap);
                    self.push(self.now, hits, window);
                }
            }
            Do::Forget { window, later } => {
                self.now = self.now.saturating_add(later);
                let (window, now) = (Duration::from_nanos(window), Timestamp::from_nanos(self.now));
                self.log.forget_dead(self.log.live(window, now));
                self.plain.forget_dead(self.plain.live(window, now));
            }
            Do::TakeNewest(part) => {
                let hits = self.hits(part);
                self.log.take_newest(hits, window);
                self.plain.take_newest(hits, window);
            }
            Do::DropOldest(part) => {
                let hits = self.hits(part);
                self.log.drop_oldest(hits);
                self.plain.drop_oldest(hits);
            }
            Do::Cut(part) => {
                self.now = self.time(part);
                self.log.cut(Timestamp::from_nanos(self.now), window);
                self.plain.cut(Timestamp::from_nanos(self.now), window);
            }
        }
    }

    /// Compares all that can be asked of a log.
    fn agree(&self, window: Duration, now: u64) -> Result<(), TestCaseError> {
        let (log, plain, now) = (&self.log, &self.plain, Timestamp::from_nanos(now));
        let (live, plainly) = (log.live(window, now), plain.live(window, now));
        prop_assert_eq!(live.used, plainly.used);
        prop_assert_eq!(log.newest(live), plain.newest(plainly));
        let used = live.used;
        let some =
            [0, 1, 2, used / 3, used / 2, used.saturating_sub(2), used.saturating_sub(1), used, u64::MAX];
        for nth in some {
            prop_assert_eq!(log.nth(live, nth), plain.nth(plainly, nth), "{} of {}", nth, used);
        }
        Ok(())
    }

    /// What holds of every log.
    fn is_sound(&self) -> Result<(), TestCaseError> {
        let log = &self.log;
        prop_assert!(log.entries().eq(self.plain.iter()));
        prop_assert_eq!(log.all().used, self.plain.live(Duration::MAX, Timestamp::EPOCH).used);
        prop_assert_eq!(log.until(), self.plain.until());
        prop_assert_eq!(log.is_empty(), self.plain.is_empty());
        prop_assert_eq!(log.last(), self.plain.last());
        prop_assert!(!log.older.iter().any(Block::is_empty));
        prop_assert_eq!(log.is_empty(), log.newest.is_empty());
        prop_assert!(log.newest.end() <= log.bytes.len());
        let blocks: Vec<_> = log.older.iter().chain([&log.newest]).collect();
        for pair in blocks.windows(2) {
            prop_assert_eq!(pair[0].end(), pair[1].start);
            prop_assert!(pair[0].newest(&log.bytes).is_some_and(|newest| pair[1].is_after(newest)));
        }
        let len = log.len();
        prop_assert!(log.bytes.len() <= len + len / 8 + 48, "{} for {}", log.bytes.len(), len);
        prop_assert!(!log.is_empty() || log.heap_bytes() == 0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn it_says_what_the_plain_form_says(
        start in prop_oneof![Just(0), Just(START), Just(u64::MAX - (1 << 50))],
        steps in prop::collection::vec((anything(), any_gap()), 1..40),
        looks in prop::collection::vec((any_gap(), any_gap(), any_part()), 3),
    ) {
        let mut both = Both { now: start, ..Both::default() };
        for (step, window) in steps {
            both.apply(&step, Duration::from_nanos(window));
            both.is_sound()?;
            for (window, later, part) in &looks {
                let window = Duration::from_nanos(*window);
                both.agree(window, both.now.saturating_add(*later))?;
                // A hit leaves in the very nanosecond in which it is as old as the window.
                let leaves = Timestamp::from_nanos(both.time(*part)).plus(window).as_nanos();
                both.agree(window, leaves)?;
                both.agree(window, leaves.saturating_sub(1))?;
            }
            both.agree(Duration::MAX, both.now)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a busy client leaves: each hit forgets what is older than the window.
    #[test]
    fn it_says_what_the_plain_form_says_of_a_busy_client(
        window in (8..50_u32).prop_map(|bits| 1_u64 << bits),
        in_it in 1..900_u64,
        gaps in prop::collection::vec((0..=256_u64, any_hits()), 1..2_000),
    ) {
        let mut both = Both { now: START, ..Both::default() };
        let length = Duration::from_nanos(window);
        for (n, (gap, hits)) in gaps.into_iter().enumerate() {
            let later = gap * (window / in_it) / 128;
            both.apply(&Do::Forget { window, later }, length);
            both.apply(&Do::Push { gap: 0, hits: if n % 7 == 0 { hits } else { 1 } }, length);
            if n % 32 == 0 {
                both.is_sound()?;
                both.agree(length, both.now)?;
            }
        }
        both.is_sound()?;
        both.agree(length, both.now)?;
    }
}

#[test]
fn a_part_of_an_entry_is_taken_back_wherever_it_stands_in_its_block() {
    let minute = Duration::from_secs(60);
    let mut log = Log::default();
    for n in 0..1_000 {
        log.push(Timestamp::from_secs(n), 3, minute);
        log.take_newest(1, minute);
        assert_eq!(log.entries().map(|(_, hits)| hits).sum::<u64>(), log.total(), "{n}");
    }
    assert_eq!(log.total(), 2_000);
}
