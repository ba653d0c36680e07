//! The algorithms once more, as plainly as they can be said: whole histories, no arithmetic that could be clever.

use std::time::Duration;

use super::{Parameters, Sample};
use crate::algorithm::Commit;
use crate::model::{Hits, Outcome};

/// Everything that was ever counted in one cell, under one algorithm.
#[derive(Default)]
pub(in crate::algorithm) struct Model {
    /// When, and the hits: negative ones were given back.
    pub(in crate::algorithm) counted: Vec<(u64, i64)>,
}

impl Model {
    pub(in crate::algorithm) fn step(
        &mut self,
        sample: &Sample,
        of: Parameters,
        hits: Hits,
        commit: Commit,
        now: u64,
    ) -> Outcome {
        let before = (sample.model)(self, of, now);
        let after_charge = before.used + hits.cost();
        let admitted = match hits {
            Hits::Refund(_) => true,
            _ => after_charge <= before.limit,
        };
        if commit == Commit::Always || (commit == Commit::IfAdmitted && (admitted || hits.cost() == 0)) {
            self.counted.push((
                now,
                match hits {
                    Hits::Look => 0,
                    Hits::Charge(n) => i64::try_from(n.get()).unwrap(),
                    Hits::Refund(n) => -i64::try_from(n.get()).unwrap(),
                },
            ));
        }
        let state = (sample.model)(self, of, now);
        let wait = |nanos: u64| Duration::from_nanos(nanos);
        // The first instant at which as many hits are free as are asked for.
        let fits =
            |free_at: u64| state.limit.saturating_sub((sample.model)(self, of, free_at).used) >= hits.cost();
        let latest = now + 12 * u64::try_from(state.window.as_nanos()).unwrap() + 12;
        let frees = || state.frees.iter().enumerate().filter(|(n, at)| *n == 0 || state.frees[n - 1] != **at);
        let retry = (!admitted && hits.cost() <= state.limit).then(|| {
            frees().map(|(_, at)| *at).chain([latest]).find(|at| {
                let still = (sample.model)(self, of, *at).used;
                *at > now && still <= state.limit && fits(*at)
            })
        });
        let retry_after = retry.flatten().map(|at| wait(at - now));
        let first = wait(state.frees.first().map_or(0, |at| at - now));
        let resets_at_retry = (sample.make)(of, now).resets_at_retry();
        Outcome {
            admitted,
            limit: state.limit,
            quota: of.limit,
            used: state.used,
            attempted: match hits {
                Hits::Refund(n) => before.used.saturating_sub(n.get()),
                _ => after_charge,
            },
            remaining: state.limit.saturating_sub(state.used),
            window: state.window,
            reset_after: if resets_at_retry { retry_after.unwrap_or(first) } else { first },
            full_after: wait(state.frees.last().map_or(0, |at| at - now)),
            retry_after,
        }
    }

    /// What was counted since `start`, never below zero.
    pub(in crate::algorithm) fn fixed(&self, limit: u64, window: u64, start: u64, now: u64) -> State {
        let since = self.counted.iter().filter(|(at, _)| *at >= start && *at <= now);
        let used = since.fold(0_u64, |used, (_, hits)| used.saturating_add_signed(*hits));
        State { limit, used, window: Duration::from_nanos(window), frees: vec![start + window] }
    }

    /// One stamp for each hit; for large limits that of the last instant of its sixtieth of the window.
    pub(in crate::algorithm) fn sliding(&self, limit: u64, window: u64, now: u64) -> State {
        let mut live: Vec<u64> = Vec::new();
        for &(at, hits) in self.counted.iter().filter(|(at, _)| *at <= now) {
            live.retain(|stamp| at < stamp + window);
            let sixtieth = if limit > 1_024 { window.div_ceil(60) } else { 1 };
            for _ in 0..hits {
                live.push((at / sixtieth + 1) * sixtieth - 1);
            }
            for _ in hits..0 {
                live.pop();
            }
            let newest = usize::try_from(2 * limit + 1).unwrap();
            live.drain(..live.len().saturating_sub(newest));
        }
        live.retain(|stamp| now < stamp + window);
        State {
            limit,
            used: live.len().try_into().unwrap(),
            window: Duration::from_nanos(window),
            frees: live.iter().map(|stamp| stamp + window).collect(),
        }
    }

    /// A level that rises by one each nanosecond up to the burst's worth; a hit costs as many as one takes to refill.
    pub(in crate::algorithm) fn bucket(&self, limit: u64, window: u64, burst: u64, now: u64) -> State {
        let (burst, price) = if limit == 0 { (0, 1) } else { (burst, window.div_ceil(limit)) };
        let full = burst * price;
        let (mut level, mut read) = (full, 0);
        for &(at, hits) in self.counted.iter().filter(|(at, _)| *at <= now) {
            level = full.min(level + (at - read));
            level = full.min(level.saturating_add_signed(-hits * i64::try_from(price).unwrap()));
            read = at;
        }
        level = full.min(level + (now - read));
        let used = burst - level / price;
        State {
            limit: burst,
            used,
            window: Duration::from_nanos(window),
            frees: (1..=burst)
                .map(|whole| whole * price)
                .filter(|at| *at > level)
                .map(|at| now + at - level)
                .collect(),
        }
    }
}

/// What a model says at some time.
pub(in crate::algorithm) struct State {
    pub(in crate::algorithm) limit: u64,
    pub(in crate::algorithm) used: u64,
    pub(in crate::algorithm) window: Duration,
    /// When hits become free, in order.
    pub(in crate::algorithm) frees: Vec<u64>,
}
