//! Chooses the worker that serves a new connection: the one with the least load.
//!
//! Envoy keeps its connections, and some make many more calls than others. If workers took turns, one of them could get all
//! busy connections. The load of a new connection is unknown, so it counts as an average one until the next sample.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::rls::Activity;

/// The least time between two samples of the calls.
const SAMPLE: Duration = Duration::from_secs(1);

/// The load of each worker.
#[derive(Debug)]
pub(super) struct Dispatch {
    loads: Vec<Load>,
    sampled: Instant,
}

#[derive(Debug, Default)]
struct Load {
    connections: Vec<Connection>,
    /// Calls between the last two samples.
    calls: u64,
    /// Connections since the last sample.
    new: u64,
}

#[derive(Debug)]
struct Connection {
    activity: Weak<Activity>,
    /// Its calls up to the last sample.
    calls: u64,
}

impl Dispatch {
    /// Dispatch among this many workers, without any load.
    pub(super) fn among(workers: usize, now: Instant) -> Self {
        Self { loads: (0..workers).map(|_| Load::default()).collect(), sampled: now }
    }

    /// The worker for a connection that is accepted at `now`: the one with the fewest calls, and among equals the one with
    /// the fewest connections. None if there is no worker.
    pub(super) fn choose(&mut self, now: Instant) -> Option<usize> {
        if now.duration_since(self.sampled) >= SAMPLE {
            self.loads.iter_mut().for_each(Load::sample);
            self.sampled = now;
        }
        let calls: u64 = self.loads.iter().map(|load| load.calls).sum();
        let known: u64 = self.loads.iter().map(|load| load.open() - load.new).sum();
        let mean = calls / known.max(1);
        let weight = |load: &Load| (load.calls + load.new * mean, load.open());
        (0..self.loads.len()).min_by_key(|&at| weight(&self.loads[at]))
    }

    /// Counts a connection that the worker `at` took.
    pub(super) fn dispatched(&mut self, at: usize, activity: &Arc<Activity>) {
        let load = &mut self.loads[at];
        load.connections.push(Connection { activity: Arc::downgrade(activity), calls: 0 });
        load.new += 1;
    }

    /// Removes the worker `at`, which has ended. The last worker takes its index.
    pub(super) fn forget(&mut self, at: usize) {
        self.loads.swap_remove(at);
    }
}

impl Load {
    fn sample(&mut self) {
        self.calls = 0;
        self.connections.retain_mut(|connection| {
            let Some(activity) = connection.activity.upgrade() else { return false };
            let before = std::mem::replace(&mut connection.calls, activity.calls());
            self.calls += connection.calls.saturating_sub(before);
            true
        });
        self.new = 0;
    }

    /// The number of connections, with those that ended since the last sample.
    fn open(&self) -> u64 {
        self.connections.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls of each of two workers, for connections that come `apart` and make `rates` calls a second.
    fn dispatched_calls(rates: &[u64], apart: Duration) -> [u64; 2] {
        let start = Instant::now();
        let (mut dispatch, mut open) = (Dispatch::among(2, start), Vec::new());
        let mut calls = [0; 2];
        for (n, &rate) in (0..).zip(rates) {
            let now = start + apart * n;
            let at = dispatch.choose(now).unwrap();
            let activity = Arc::new(Activity::since(now));
            dispatch.dispatched(at, &activity);
            calls[at] += rate;
            open.push((activity, rate));
            for (activity, rate) in &open {
                (0..*rate).for_each(|_| activity.call(now));
            }
        }
        calls
    }

    #[test]
    fn connections_that_come_at_once_are_dispatched_evenly() {
        assert_eq!(dispatched_calls(&[1; 8], Duration::ZERO), [4, 4]);
        assert_eq!(dispatched_calls(&[1; 3], Duration::ZERO), [2, 1]);
    }

    #[test]
    fn a_busy_connection_has_a_thread_to_itself() {
        // If the workers took turns, one would get the first, third, fifth and seventh.
        assert_eq!(dispatched_calls(&[100, 1, 10, 1, 10, 1, 10, 1], SAMPLE), [100, 34]);
        assert_eq!(dispatched_calls(&[100, 1, 100], SAMPLE), [100, 101]);
    }

    #[test]
    fn those_that_end_count_no_more() {
        let start = Instant::now();
        let mut dispatch = Dispatch::among(2, start);
        let mut one = || {
            let activity = Arc::new(Activity::since(start));
            let at = dispatch.choose(start).unwrap();
            dispatch.dispatched(at, &activity);
            (at, activity)
        };
        let (first, second, third) = (one(), one(), one());
        assert_eq!([first.0, second.0, third.0], [0, 1, 0]);
        drop((first, third));
        assert_eq!(dispatch.choose(start + SAMPLE), Some(0));
        dispatch.forget(0);
        assert_eq!(dispatch.choose(start + SAMPLE), Some(0));
        dispatch.forget(0);
        assert_eq!(dispatch.choose(start + SAMPLE), None);
    }
}
