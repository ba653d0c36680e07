//! Clocks that are set while counters are open.

use std::time::Duration;

use super::Bench;
use crate::clock::Clock;
use crate::model::Timestamp;

const MINUTES: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

/// One hit each, and the window.
const LIMITS: [(&str, u64); 6] = [
    ("unit: hour", 3_600),
    ("per: 15m, anchor: clock", 900),
    ("per: 15m", 900),
    ("per: 15m, algorithm: sliding_window", 900),
    ("per: 15m, algorithm: token_bucket, burst: 1", 900),
    ("per: calendar_day", 86_400),
];

fn bench(limit: &str) -> Bench {
    Bench::new(&format!(
        "domain: d\ndescriptors: [{{key: a, rate_limit: {{name: n, requests_per_unit: 1, {limit}}}, headers: {{W: \
         retry_after_s, R: reset_unix_s}}}}]"
    ))
}

impl Bench {
    fn passes(&self) -> bool {
        self.send(&["a=1"]).starts_with("OK")
    }

    /// Sets the wall clock back or forward.
    fn set_clock(&self, back: bool, by: Duration) {
        let now = self.limiter.clock.now();
        self.limiter.clock.set(if back { now.minus(by) } else { now.plus(by) });
    }

    /// The seconds that a refused call is asked to wait.
    fn reported(&self) -> u64 {
        let headers = self.headers(&[("a", b"1")]);
        headers.iter().find_map(|line| line.strip_prefix("W: ")).unwrap().parse().unwrap()
    }
}

#[test]
fn nobody_is_kept_out_for_longer_than_a_window_wherever_the_clock_is_set() {
    for (limit, window) in LIMITS {
        for (back, by) in [(true, MINUTES), (false, MINUTES), (true, DAY), (false, DAY)] {
            for before in [1, window / 2, window - 1] {
                let bench = bench(limit);
                let window = Duration::from_secs(window);
                assert!(bench.passes());
                bench.limiter.clock.advance(Duration::from_secs(before));
                let mut kept_out = if bench.passes() { Duration::ZERO } else { Duration::from_secs(before) };
                bench.set_clock(back, by);
                // A day of the calendar is as long as the clock makes it.
                let most = if limit.contains("calendar") && back { window + by.min(window) } else { window };
                for _ in 0..200 {
                    bench.limiter.clock.advance(window / 60);
                    kept_out = if bench.passes() { Duration::ZERO } else { kept_out + window / 60 };
                    assert!(kept_out <= most, "{limit}, back: {back}, {by:?} after {before} s: {kept_out:?}");
                }
            }
        }
    }
}

#[test]
fn a_clock_set_back_keeps_nobody_out_for_longer_and_lets_nobody_in_early() {
    for (limit, _) in LIMITS.iter().filter(|(limit, _)| !limit.contains("calendar")) {
        for by in [MINUTES, DAY] {
            let bench = bench(limit);
            assert!(bench.passes());
            let wait = bench.reported();
            bench.set_clock(true, by);
            bench.limiter.clock.advance(Duration::from_nanos(wait * 1_000_000_000 - 1));
            // Windows of the clock also end when the clock that was set says so.
            if !limit.contains("unit") && !limit.contains("clock") {
                assert!(!bench.passes(), "{limit}: early");
            }
            bench.limiter.clock.advance(Duration::from_nanos(1));
            assert!(bench.passes() || limit.contains("clock") || limit.contains("unit"), "{limit}: late");
        }
    }
}

#[test]
fn windows_of_the_clock_are_those_that_the_clock_shows_whatever_it_was_set_to() {
    // START is 00:00:18; an hour's window ends at 01:00.
    let bench = bench("unit: hour");
    assert!(bench.passes());
    let at = |seconds: u64| Timestamp::from_secs(super::START.as_nanos() / 1_000_000_000 - 18 + seconds);
    // Set back from 00:10 to 23:58: the hour ends in two minutes by the clock, long before the one that was begun.
    bench.limiter.clock.set(at(600));
    bench.limiter.clock.set(Timestamp::from_secs(at(0).as_nanos() / 1_000_000_000 - 120));
    assert_eq!(bench.reported(), 120);
    bench.limiter.clock.advance(Duration::from_secs(120));
    assert!(bench.passes());
    // From then on it ends on the hour.
    assert_eq!(bench.reported(), 3_600);
    let told = bench.headers(&[("a", b"1")]);
    let reset = format!("R: {}", at(3_600).as_nanos() / 1_000_000_000);
    assert!(told.contains(&reset), "{told:?} tells the clock's time");
    // Set forward: on the hour still.
    bench.set_clock(false, Duration::from_secs(720));
    assert_eq!(bench.reported(), 3_600 - 720);
}

#[test]
fn a_quota_of_a_period_renews_when_the_calendar_says_so() {
    let bench = bench("per: calendar_day");
    assert!(bench.passes());
    bench.limiter.clock.advance(MINUTES);
    // 00:10:18 becomes 00:00:18: the day is as long as the clock says, and the count is kept.
    bench.set_clock(true, MINUTES);
    assert_eq!(bench.reported(), 86_400 - 18);
    // Into the day before: the count is kept, and ends with that day.
    bench.set_clock(true, MINUTES);
    assert_eq!(bench.reported(), 600 - 18);
    bench.limiter.clock.advance(Duration::from_secs(600 - 18));
    assert!(bench.passes());
    assert_eq!(bench.reported(), 86_400);
}

#[test]
fn a_stopped_process_finds_its_windows_over() {
    for (limit, window) in LIMITS {
        let bench = bench(limit);
        assert!(bench.passes() && !bench.passes(), "{limit}");
        bench.limiter.clock.advance(Duration::from_secs(window));
        assert!(bench.passes(), "{limit}");
        // Where the clock that is never set slept with the machine, it is the wall clock that is followed.
        assert!(!bench.passes(), "{limit}");
        bench.set_clock(false, Duration::from_secs(window));
        assert!(bench.passes(), "{limit}");
    }
}

#[test]
fn headers_tell_the_wall_clocks_time_and_not_that_which_is_counted_by() {
    let bench = bench("per: 15m");
    bench.set_clock(true, DAY);
    let now = bench.limiter.clock.now().as_nanos() / 1_000_000_000;
    assert_eq!(bench.headers(&[("a", b"1")]), [format!("R: {}", now + 900)]);
}
