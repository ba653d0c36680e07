//! A clock that was wrong for a moment.

use std::sync::Arc;
use std::time::Duration;

use spillway::clock::ManualClock;
use spillway::config::{self, Options};
use spillway::engine::Scratch;
use spillway::limiter::Limiter;
use spillway::model::{Descriptor, Entry, Hits, Request, Timestamp};
use spillway::store::MemoryStore;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// Each algorithm, two hits each, and the longest that one of its windows can last.
const LIMITS: [(&str, Duration); 6] = [
    ("unit: hour, requests_per_unit: 2", Duration::from_secs(3_600)),
    ("per: 90m, requests_per_unit: 2", Duration::from_secs(5_400)),
    ("per: 90m, requests_per_unit: 2, anchor: first_hit", Duration::from_secs(5_400)),
    ("per: 1h, requests_per_unit: 2, algorithm: sliding_window", Duration::from_secs(3_600)),
    ("per: 1h, requests_per_unit: 2, algorithm: token_bucket, burst: 2", Duration::from_secs(3_600)),
    ("per: calendar_month, requests_per_unit: 2", MONTH),
];

#[test]
fn calls_made_while_the_clock_was_a_year_ahead_lock_nobody_out_for_longer_than_a_window() {
    for (limit, window) in LIMITS {
        let policy = format!("domain: d\ndescriptors: [{{key: k, rate_limit: {{{limit}}}}}]");
        let loaded = config::load_text("p.yaml", &policy, Options::default());
        let loaded = loaded.unwrap_or_else(|wrong| panic!("{}", config::render(&wrong, false)));
        let clock = ManualClock::at(NOW.plus(YEAR));
        let limiter = Arc::new(Limiter::new(loaded.policy, MemoryStore::default(), clock));
        let passes = || {
            let entries = [Entry { key: b"k", value: b"v" }].into_iter().collect();
            let descriptors = [Descriptor { entries, hits: Hits::ONE, limit: None }].into_iter().collect();
            let request = Request { domain: b"d", descriptors };
            let policy = limiter.engine.policy();
            !limiter.worker().decide_now(Scratch::default(), &policy, &request).unwrap().over_limit
        };
        assert!(passes() && passes() && !passes(), "{limit}");
        limiter.clock.set(NOW);
        assert!(!passes(), "{limit}: what was counted still counts");
        limiter.clock.advance(window);
        assert!(passes(), "{limit}: refused for longer than a window");
    }
}
