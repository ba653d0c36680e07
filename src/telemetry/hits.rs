//! Hits of a rule, by what becomes of them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count with one writer and any number of readers.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.store(self.get().wrapping_add(number), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// From which part of a limit on a rule is near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearLimit {
    parts_per_million: u32,
}

/// All of a limit.
const MILLION: u32 = 1_000_000;

impl Default for NearLimit {
    /// Four fifths, as in envoyproxy/ratelimit.
    fn default() -> Self {
        Self { parts_per_million: MILLION / 5 * 4 }
    }
}

impl NearLimit {
    /// From `ratio` of a limit on, to the millionth; `None` of what is not from 0 to 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to a million")]
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        let is_part = (0.0..=1.0).contains(&ratio);
        is_part.then(|| Self { parts_per_million: (ratio * f64::from(MILLION)).round() as u32 })
    }

    /// Whether more than that part of `limit` is `used`.
    pub fn has_reached(self, used: u64, limit: u64) -> bool {
        u128::from(used) * u128::from(MILLION) > u128::from(limit) * u128::from(self.parts_per_million)
    }
}

/// What one request asks of one rule, and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleHit {
    /// The hits that are charged; a look and a refund are none.
    pub hits: u64,
    /// Whether the rule is over one of its limits.
    pub over: bool,
    /// Whether more of one of its limits is used than [`NearLimit`] says, and it is not over.
    pub near: bool,
    /// Whether it is only watched.
    pub shadow: bool,
}

/// Hits of one rule, by what became of them: the statistics of envoyproxy/ratelimit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTotals {
    /// All.
    pub total: u64,
    /// Those that were over a limit.
    pub over: u64,
    /// Those within the limits that left little of one; see [`NearLimit`].
    pub near: u64,
    /// Those within the limits.
    pub within: u64,
    /// Those that were over a limit which is only watched.
    pub shadow: u64,
}

#[derive(Debug, Default)]
pub(super) struct RuleCounts {
    pub(super) total: Count,
    pub(super) over: Count,
    pub(super) near: Count,
    pub(super) within: Count,
    pub(super) shadow: Count,
}

impl RuleCounts {
    pub(super) fn totals(&self) -> RuleTotals {
        RuleTotals {
            total: self.total.get(),
            over: self.over.get(),
            near: self.near.get(),
            within: self.within.get(),
            shadow: self.shadow.get(),
        }
    }
}

impl RuleHit {
    /// What it adds to the counts.
    pub(super) fn totals(self) -> RuleTotals {
        let within = if self.over { 0 } else { self.hits };
        RuleTotals {
            total: self.hits,
            over: self.hits - within,
            near: if self.near { within } else { 0 },
            within,
            shadow: if self.shadow { self.hits - within } else { 0 },
        }
    }
}

impl RuleTotals {
    pub(super) fn add(&mut self, more: Self) {
        self.total = self.total.wrapping_add(more.total);
        self.over = self.over.wrapping_add(more.over);
        self.near = self.near.wrapping_add(more.near);
        self.within = self.within.wrapping_add(more.within);
        self.shadow = self.shadow.wrapping_add(more.shadow);
    }
}

#[cfg(test)]
mod tests {
    use super::NearLimit;

    #[test]
    fn a_rule_is_near_its_limit_when_more_than_the_ratio_is_used() {
        let near = NearLimit::default();
        assert_eq!(
            [(8, 10), (9, 10), (4, 5), (5, 5)].map(|(used, limit)| near.has_reached(used, limit)),
            [false, true, false, true]
        );
        let half = NearLimit::from_ratio(0.5).unwrap();
        assert_eq!([(5, 10), (6, 10)].map(|(used, limit)| half.has_reached(used, limit)), [false, true]);
        assert!(NearLimit::from_ratio(1.0).is_some_and(|near| !near.has_reached(u64::MAX, u64::MAX)));
        assert_eq!([-0.1, 1.1, f64::NAN].map(NearLimit::from_ratio), [None; 3]);
    }
}
