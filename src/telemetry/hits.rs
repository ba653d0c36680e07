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

/// What one request asks of one rule, and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleHit {
    /// The hits that are charged; a look and a refund are none.
    pub hits: u64,
    /// Whether the rule is over one of its limits.
    pub over: bool,
    /// Whether what is used is more than four fifths of one of its limits, and it is not over.
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
    /// Those within the limits that left less than a fifth of one.
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
