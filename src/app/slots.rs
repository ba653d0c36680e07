//! Bounds the connections of a port, and chooses which ones are closed for new ones.
//!
//! File descriptors are few, and any client that reaches a port can open connections and send nothing. So a full port closes
//! the idlest connections: first those that never made a call, oldest first, then those whose last call is longest ago. A
//! new connection is refused only when every other one is in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::rls::Activity;

/// A full port closes one in this many connections at once. If it closed one at a time, each new connection would search all
/// of them.
const PART: usize = 64;
/// The most time that a new connection waits until another one is closed.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// The connections of one port.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    /// How long after its last call a connection is in use.
    in_use: Duration,
    /// One for each place. Whoever waits for one gets it in turn.
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    open: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
    /// Where the number of open ones is written.
    gauge: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    activity: Arc<Activity>,
    /// Notified when the connection has to end; none after that.
    end: Option<Arc<Notify>>,
}

impl Slots {
    /// Of a port that has at most `most` connections, which are in use for a time after their last calls; `gauge` is kept at how many
    /// are open.
    pub(super) fn new(most: usize, in_use: Duration, gauge: Arc<AtomicU64>) -> Arc<Self> {
        let most = most.max(1);
        Arc::new(Self {
            most,
            in_use,
            places: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            gauge,
        })
    }

    /// A place for a new connection. Idle ones are closed for it if the port is full. None if all are in use.
    pub(super) async fn admit(self: &Arc<Self>) -> Option<Slot> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(self.take(place, Instant::now()));
        }
        if !self.make_room(Instant::now()) {
            return None;
        }
        let _waits = Waits::begin(&self.waiting);
        let place = timeout(CLOSES_WITHIN, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()?;
        // Room was made for some of those that wait. They come in turn, and each sees to the next ones.
        if self.waiting.load(Ordering::Relaxed) > 1 {
            self.make_room(Instant::now());
        }
        Some(self.take(place, Instant::now()))
    }

    fn take(self: &Arc<Self>, place: OwnedSemaphorePermit, now: Instant) -> Slot {
        let mut open = self.open();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (activity, end) = (Arc::new(Activity::since(now)), Arc::new(Notify::new()));
        open.insert(id, Open { since: now, activity: Arc::clone(&activity), end: Some(Arc::clone(&end)) });
        self.gauge.store(open.len() as u64, Ordering::Relaxed);
        Slot { slots: Arc::clone(self), id, activity, end, _place: place }
    }

    /// Tells the idlest connections to end. Returns whether any ends now.
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
                (last.is_none_or(|last| now.duration_since(last) >= self.in_use))
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
        // A panic cannot leave a map of plain values half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    /// The calls of the connection.
    pub(super) activity: Arc<Activity>,
    end: Arc<Notify>,
    /// Given back after the slot has left the others.
    _place: OwnedSemaphorePermit,
}

/// One of those that wait, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Resolves when the connection has to end for another one.
    pub(super) async fn wanted(&self) {
        self.end.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.remove(&self.id);
        self.slots.gauge.store(open.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const IN_USE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn the_idlest_make_room_and_those_in_use_stay() {
        let slots = Slots::new(3, IN_USE, Arc::default());
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
        let slots = Slots::new(1, IN_USE, Arc::default());
        let _stays = slots.admit().await.unwrap();
        let asked = Instant::now();
        assert!(slots.admit().await.is_none());
        assert_eq!(asked.elapsed().as_secs(), CLOSES_WITHIN.as_secs());
    }

    /// Connections that never make a call and end as soon as they are wanted elsewhere.
    #[tokio::test(start_paused = true)]
    async fn many_that_wait_get_places_in_turn_and_none_is_forgotten() {
        let slots = Slots::new(64, IN_USE, Arc::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = tokio::task::JoinSet::new();
        for number in 0..5_000 {
            let (slots, order) = (Arc::clone(&slots), Arc::clone(&order));
            all.spawn(async move {
                let slot = slots.admit().await.unwrap();
                order.lock().unwrap().push(number);
                let _ = timeout(Duration::from_secs(10), slot.wanted()).await;
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
        let order = order.lock().unwrap();
        assert!(order.iter().eq(&(0..5_000).collect::<Vec<_>>()), "{order:?}");
    }
}
