//! How many connections a port has at a time, and which one makes room for a new one.
//!
//! File descriptors are few, and whoever can reach a port can open connections and say nothing. So a full port lets those
//! go that do the least: first those that never made a call, the oldest of them first, then those whose last call was
//! longest ago. Only when every connection is in use is a new one refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::rls::Activity;

/// A connection whose last call was more recent than this is in use.
const IN_USE: Duration = Duration::from_secs(5);
/// Which part of a full port makes room at once: one by one, each new connection would look through all of them.
const PART: usize = 64;
/// How long those that make room may take to close.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// The connections of one port.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    released: Notify,
    /// Where the number of open ones is written.
    gauge: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    activity: Arc<Activity>,
    /// Tells the connection to end; none once it was told.
    end: Option<Arc<Notify>>,
}

impl Slots {
    /// Of a port that has at most `most` connections; `gauge` is kept at how many are open.
    pub(super) fn new(most: usize, gauge: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            released: Notify::new(),
            gauge,
        })
    }

    /// A place for a connection, for which idle ones are closed if need be; none when all are in use.
    pub(super) async fn admit(self: &Arc<Self>) -> Option<Slot> {
        loop {
            // Before looking, or one that is released in between would be missed.
            let released = self.released.notified();
            if let Some(slot) = self.take(Instant::now()) {
                return Some(slot);
            }
            if !self.make_room(Instant::now()) || timeout(CLOSES_WITHIN, released).await.is_err() {
                return None;
            }
        }
    }

    fn take(self: &Arc<Self>, now: Instant) -> Option<Slot> {
        let mut open = self.open();
        if open.len() >= self.most {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (activity, end) = (Arc::new(Activity::since(now)), Arc::new(Notify::new()));
        open.insert(id, Open { since: now, activity: Arc::clone(&activity), end: Some(Arc::clone(&end)) });
        self.gauge.store(open.len() as u64, Ordering::Relaxed);
        Some(Slot { slots: Arc::clone(self), id, activity, end })
    }

    /// Tells the idlest connections to end; says whether any is about to.
    fn make_room(&self, now: Instant) -> bool {
        let mut open = self.open();
        let ending = open.values().filter(|connection| connection.end.is_none()).count();
        if ending > 0 {
            return true;
        }
        let mut idle: Vec<_> = open
            .iter()
            .filter_map(|(&id, connection)| {
                let last = connection.activity.last_call();
                (last.is_none_or(|last| now.duration_since(last) >= IN_USE))
                    .then(|| (last.unwrap_or(connection.since), last.is_some(), id))
            })
            .collect();
        let some = self.most.div_ceil(PART);
        idle.sort_unstable_by_key(|&(idle_since, called, _)| (called, idle_since));
        for (.., id) in idle.iter().take(some) {
            if let Some(end) = open.get_mut(id).and_then(|connection| connection.end.take()) {
                end.notify_one();
            }
        }
        !idle.is_empty()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        // A map of plain values is whole whatever a thread that held it died of.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    /// What the connection tells of itself.
    pub(super) activity: Arc<Activity>,
    end: Arc<Notify>,
}

impl Slot {
    /// Resolves when the connection has to make room for another.
    pub(super) async fn wanted(&self) {
        self.end.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.remove(&self.id);
        self.slots.gauge.store(open.len() as u64, Ordering::Relaxed);
        drop(open);
        self.slots.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_idlest_make_room_and_those_in_use_stay() {
        let slots = Slots::new(3, Arc::default());
        let (never, longest, busy) =
            (slots.admit().await.unwrap(), slots.admit().await.unwrap(), slots.admit().await.unwrap());
        longest.activity.call(Instant::now());
        tokio::time::advance(IN_USE).await;
        busy.activity.call(Instant::now());

        // One that never made a call goes before one that made its last long ago.
        let admitted = {
            let admit = slots.admit();
            tokio::pin!(admit);
            assert!(admit.as_mut().now_or_never().is_none());
            assert!(never.wanted().now_or_never().is_some());
            drop(never);
            admit.await.unwrap()
        };
        admitted.activity.call(Instant::now());
        let admit = slots.admit();
        tokio::pin!(admit);
        assert!(admit.as_mut().now_or_never().is_none());
        assert!(longest.wanted().now_or_never().is_some());
        drop(longest);
        let last = admit.await.unwrap();
        last.activity.call(Instant::now());

        // All are in use now.
        assert!(slots.admit().await.is_none());
        assert!(busy.wanted().now_or_never().is_none());
        drop(busy);
        assert!(slots.admit().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_end_is_waited_for_a_second_and_no_longer() {
        let slots = Slots::new(1, Arc::default());
        let _stays = slots.admit().await.unwrap();
        let asked = Instant::now();
        assert!(slots.admit().await.is_none());
        assert_eq!(asked.elapsed().as_secs(), CLOSES_WITHIN.as_secs());
    }
}
