//! Token buckets, counted as GCRA does: one time instead of a level and the time it was read at.
//!
//! The time kept is when the bucket will be full. What is missing until then, in nanoseconds, is its *depth*; a hit
//! deepens it by the time that one hit takes to refill. Products of two 64-bit numbers are taken in 128 bits, and nothing
//! is ever a fraction.

use std::fmt;
use std::time::Duration;

use super::bytes::{self, Malformed};
use super::{Algorithm, Cell, Commit, Counting, Grant, Row, State, Worth, judge, tolerance};
use crate::model::{Hits, Outcome, Timestamp};

/// A bucket that refills at `limit` hits per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// The time in which `limit` hits refill.
    pub window: Duration,
    /// The most hits that pass at once; by default, as many as the limit.
    pub burst: Option<u64>,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket will be full: GCRA's theoretical arrival time.
    pub tat: Timestamp,
    /// The time of the hit that was counted last.
    pub seen: Timestamp,
}

impl Algorithm {
    /// A token bucket of `burst` hits.
    pub const fn token_bucket(window: Duration, burst: u64) -> Self {
        Self::TokenBucket(TokenBucket { window, burst: Some(burst) })
    }
}

impl Counting for TokenBucket {
    const ROW: Row = Row {
        name: "token_bucket",
        meaning: "a bucket of `burst` hits that fills at N hits a window, little by little. Up to `burst` pass at once, and up \
                  to `burst` + N within the window's length",
        words: &["burst"],
        has_periods: false,
        make: |written| {
            Algorithm::TokenBucket(TokenBucket { window: written.window, burst: written.number("burst") })
        },
    };

    #[cfg(test)]
    const SAMPLES: &'static [super::tests::Sample] = tests::SAMPLES;

    fn step(self, limit: u64, cell: &mut Cell, hits: Hits, commit: Commit, now: Timestamp) -> Outcome {
        step(Rate::new(limit, self.window, self.burst.unwrap_or(limit)), cell, hits, commit, now)
    }

    fn capacity(self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.burst.unwrap_or(limit) }
    }

    /// Whoever is granted less than what the policy says saves up less, too.
    fn granted(self, Grant { limit, written, .. }: Grant) -> Self {
        let (Some(burst), Some(written)) = (self.burst, written.filter(|written| limit < *written)) else {
            return self;
        };
        let share = u128::from(burst) * u128::from(limit) / u128::from(written);
        let share = u64::try_from(share).unwrap_or(burst).max(u64::from(burst > 0 && limit > 0));
        Self { burst: Some(share), ..self }
    }

    fn window(self) -> Option<Duration> {
        Some(self.window)
    }

    fn tag(self) -> &'static str {
        "bucket"
    }

    fn describe(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(", little by little")?;
        self.burst.map_or(Ok(()), |burst| write!(f, ", up to {burst} at once"))
    }
}

impl State for Bucket {
    fn until(&self) -> Timestamp {
        self.tat
    }

    fn covers(&self, other: &Self) -> bool {
        self.tat >= other.tat
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes::write_time(self.tat, bytes);
        bytes::write_time(self.seen, bytes);
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(Self { tat: bytes::time(bytes)?, seen: bytes::time(bytes)? })
    }
}

/// A bucket's numbers.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// The time in which the limit refills.
    window: Duration,
    /// Hits that refill in the window.
    limit: u64,
    /// The most hits that pass at once; none under a limit of 0.
    burst: u64,
    /// The time in which one hit refills, at least 1 ns. It is rounded up, or more than the limit would refill.
    per_hit: u64,
}

impl Rate {
    fn new(limit: u64, window: Duration, burst: u64) -> Self {
        let per_hit = window.as_nanos().div_ceil(limit.max(1).into()).max(1);
        Self {
            window,
            limit,
            burst: if limit == 0 { 0 } else { burst },
            per_hit: u64::try_from(per_hit).unwrap_or(u64::MAX),
        }
    }

    /// How much deeper `hits` make a bucket.
    fn depth_of(self, hits: u64) -> u128 {
        u128::from(hits) * u128::from(self.per_hit)
    }

    /// The deepest that a bucket can be at `now`: empty, or what a `Timestamp` can hold.
    fn deepest(self, now: Timestamp) -> u128 {
        self.depth_of(self.burst).min((u64::MAX - now.as_nanos()).into())
    }

    /// Hits that a bucket lacks which is that deep; a part of a hit is lacking.
    fn used(self, depth: u128, now: Timestamp) -> u64 {
        let left = self.deepest(now).saturating_sub(depth) / u128::from(self.per_hit);
        self.burst.saturating_sub(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

/// At most `burst` hits at once, and afterwards one in each `window / limit`.
///
/// In any interval Δ no more than `burst + Δ / per_hit` pass. Where refused hits are counted they empty the bucket and no
/// more: it is never deeper than the burst, which is also where a clock that stepped back and a lowered limit leave it.
fn step(rate: Rate, cell: &mut Cell, hits: Hits, commit: Commit, now: Timestamp) -> Outcome {
    // Threads read the clock before they get here, and one may come after another that read it later. To it, too, the
    // bucket is as it was left: were an emptied bucket cut to what can be missing at an earlier time, it would grant the
    // difference again. What lies further back is a clock that was wrong.
    let behind = match cell {
        Cell::Bucket(Bucket { seen, .. }, _) => seen.since(now),
        _ => Duration::ZERO,
    };
    let behind = if behind <= tolerance(rate.window) { behind } else { Duration::ZERO };
    let now = now.plus(behind);
    let deepest = rate.deepest(now);
    let mut depth = 0;
    if let Cell::Bucket(Bucket { tat, .. }, _) = cell {
        depth = u128::from(tat.as_nanos().saturating_sub(now.as_nanos()));
        if depth > deepest {
            depth = deepest;
            // A limit of 0 has no bucket, and forgets nothing of that of another number.
            if rate.burst > 0 {
                *tat = full_at(now, depth);
            }
        }
    }

    let before = rate.used(depth, now);
    let verdict = judge(rate.burst, before, hits, commit);
    if verdict.applies {
        let deeper = match hits {
            Hits::Look => depth,
            Hits::Charge(n) => depth.saturating_add(rate.depth_of(n.get())).min(deepest),
            Hits::Refund(n) => depth.saturating_sub(rate.depth_of(n.get())),
        };
        // A bucket that is full and stays so need not be kept, nor an old one be touched.
        if deeper != depth {
            *cell = Cell::Bucket(Bucket { tat: full_at(now, deeper), seen: now }, Worth::NOTHING);
            depth = deeper;
        }
    }

    let used = rate.used(depth, now);
    // A request fits once the bucket is no deeper than leaves room for it.
    let fits_after =
        depth.saturating_add(rate.depth_of(hits.cost())).saturating_sub(rate.depth_of(rate.burst));
    let can_pass = hits.cost() <= rate.burst && fits_after > 0;
    // To who asks, it is as long again until the bucket was left.
    let wait = |time: u128| if time == 0 { Duration::ZERO } else { nanos(time).saturating_add(behind) };
    Outcome {
        admitted: verdict.admitted,
        limit: rate.burst,
        quota: rate.limit,
        used,
        attempted: hits.applied_to(before),
        remaining: rate.burst.saturating_sub(used),
        window: rate.window,
        // One hit is partly refilled: what is left of it comes first.
        reset_after: wait(if depth == 0 { 0 } else { (depth - 1) % u128::from(rate.per_hit) + 1 }),
        full_after: wait(depth),
        retry_after: (!verdict.admitted && can_pass).then(|| wait(fits_after)),
    }
}

/// When a bucket of that depth is full.
fn full_at(now: Timestamp, depth: u128) -> Timestamp {
    now.plus(nanos(depth))
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Bucket;
    use crate::algorithm::cell::tests::check_bytes;
    use crate::algorithm::tests::Sample;
    use crate::algorithm::{Algorithm, Cell, Commit, Worth};
    use crate::model::{Hits, Timestamp};

    pub(in crate::algorithm) const SAMPLES: &[Sample] = &[Sample {
        name: "token bucket",
        make: |of, _| Algorithm::token_bucket(of.length(), of.n),
        model: |model, of, now| model.bucket(of.limit, of.window, of.n, now),
        most: |of, within| Some(if of.limit > 0 { of.n + within / of.window.div_ceil(of.limit) } else { 0 }),
        shift: |_| 1,
        holds: |of| of.n,
    }];

    /// Ten per 60 s, four at once: one in each 6 s.
    const BUCKET: Algorithm = Algorithm::token_bucket(Duration::from_secs(60), 4);

    /// Plays `(second, hits, commit)` and writes each answer in words.
    #[track_caller]
    fn check(script: &[(u64, Hits, Commit)], reported: &[&str]) {
        let mut cell = Cell::default();
        let answers: Vec<String> = script
            .iter()
            .map(|&(at, hits, commit)| {
                let out = BUCKET.step(10, &mut cell, hits, commit, Timestamp::from_secs(at));
                let retry =
                    out.retry_after.map(|wait| format!(", retry in {}s", wait.as_secs())).unwrap_or_default();
                format!(
                    "{at}s {}, {}+{}={}, next in {}s, full in {}s{retry}",
                    if out.admitted { "ok" } else { "over" },
                    out.used,
                    out.remaining,
                    out.limit,
                    out.reset_after.as_secs(),
                    out.full_after.as_secs(),
                )
            })
            .collect();
        assert_eq!(answers, reported);
    }

    #[test]
    fn its_bytes_are_what_they_always_were() {
        let bucket = Bucket { tat: Timestamp::from_secs(1), seen: Timestamp::EPOCH };
        let cell = Cell::Bucket(bucket, Worth::from_byte(0));
        check_bytes(&cell, &[3, 0, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0]);
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_in_each_interval() {
        check(
            &[
                (100, Hits::charge(4), Commit::IfAdmitted),
                (101, Hits::ONE, Commit::IfAdmitted),
                (106, Hits::ONE, Commit::IfAdmitted),
                (107, Hits::charge(4), Commit::IfAdmitted),
                (107, Hits::charge(5), Commit::IfAdmitted),
                (125, Hits::Look, Commit::IfAdmitted),
                (130, Hits::Look, Commit::IfAdmitted),
            ],
            &[
                "100s ok, 4+0=4, next in 6s, full in 24s",
                "101s over, 4+0=4, next in 5s, full in 23s, retry in 5s",
                "106s ok, 4+0=4, next in 6s, full in 24s",
                "107s over, 4+0=4, next in 5s, full in 23s, retry in 23s",
                "107s over, 4+0=4, next in 5s, full in 23s",
                "125s ok, 1+3=4, next in 5s, full in 5s",
                "130s ok, 0+4=4, next in 0s, full in 0s",
            ],
        );
    }

    #[test]
    fn a_counted_refusal_empties_the_bucket_and_a_refund_never_overfills_it() {
        check(
            &[
                (0, Hits::charge(2), Commit::Always),
                (0, Hits::charge(3), Commit::Always),
                (6, Hits::refund(1), Commit::IfAdmitted),
                (6, Hits::refund(9), Commit::Never),
                (6, Hits::refund(9), Commit::IfAdmitted),
                (6, Hits::charge(4), Commit::IfAdmitted),
            ],
            &[
                "0s ok, 2+2=4, next in 6s, full in 12s",
                "0s over, 4+0=4, next in 6s, full in 24s, retry in 18s",
                "6s ok, 2+2=4, next in 6s, full in 12s",
                "6s ok, 2+2=4, next in 6s, full in 12s",
                "6s ok, 0+4=4, next in 0s, full in 0s",
                "6s ok, 4+0=4, next in 6s, full in 24s",
            ],
        );
    }

    #[test]
    fn a_clock_that_steps_back_finds_the_bucket_empty_at_worst_and_refilling() {
        check(
            &[
                (900, Hits::charge(1), Commit::IfAdmitted),
                (100, Hits::ONE, Commit::IfAdmitted),
                (106, Hits::ONE, Commit::IfAdmitted),
            ],
            &[
                "900s ok, 1+3=4, next in 6s, full in 6s",
                "100s over, 4+0=4, next in 6s, full in 24s, retry in 6s",
                "106s ok, 4+0=4, next in 6s, full in 24s",
            ],
        );
    }

    #[test]
    fn a_lowered_limit_leaves_the_bucket_empty_at_worst() {
        let mut cell = Cell::default();
        for (window, burst, limit, cost, remaining, retry) in [
            (60, 10, 10, 10, 0, None),
            (60, 2, 60, 1, 0, Some(1)),
            (60, 0, 60, 1, 0, None),
            (60, 2, 0, 1, 0, None),
            // What the limits of 0 found is still there: two seconds, of the six that a hit takes.
            (60, 10, 10, 1, 8, None),
        ] {
            let algorithm = Algorithm::token_bucket(Duration::from_secs(window), burst);
            let out =
                algorithm.step(limit, &mut cell, Hits::charge(cost), Commit::IfAdmitted, Timestamp::EPOCH);
            assert_eq!(
                (out.remaining, out.retry_after),
                (remaining, retry.map(Duration::from_secs)),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn what_no_timestamp_can_tell_is_not_granted() {
        let algorithm = Algorithm::token_bucket(Duration::MAX, u64::MAX);
        let mut cell = Cell::default();
        for (secs, admitted) in [(0, true), (0, false), (1, false)] {
            let out = algorithm.step(1, &mut cell, Hits::ONE, Commit::IfAdmitted, Timestamp::from_secs(secs));
            assert_eq!(out.admitted, admitted);
        }
    }
}
