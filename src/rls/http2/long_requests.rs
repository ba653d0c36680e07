//! A thread for long requests, so that short ones need not wait behind them.
//!
//! A decision takes as long as its request: microseconds as a rule, and milliseconds for each mebibyte. The threads that
//! serve connections give everything over 64 KiB to this one, and go on with the others meanwhile.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::rls::beyond::{Bound, Undecided};
use crate::rls::service::RateLimitService;
use crate::store::Store;
use crate::telemetry::{Metrics, TaskEnded};

/// From how many bytes on a request is long.
pub(super) const LONG: usize = 64 << 10;
/// What may wait, in bytes: at four milliseconds a mebibyte more than Envoy waits.
const MOST_WAITING: usize = 32 << 20;
/// What of that may be of one connection, unless it is a single request, which may have 16 MiB: so no connection keeps others'
/// requests out, and it takes two with the largest there are.
const MOST_OF_ONE: usize = 4 << 20;

/// An answer; none when deciding panicked.
type Answer = Option<Result<Bytes, Undecided>>;

/// Where long requests are decided.
#[derive(Clone, Debug)]
pub struct LongRequests {
    queue: mpsc::UnboundedSender<Job>,
    /// Bytes that wait, of all connections.
    waiting: Arc<AtomicUsize>,
}

/// Where the long requests of one connection are decided.
#[derive(Debug)]
pub(super) struct ConnectionQueue {
    long_requests: LongRequests,
    /// Bytes that wait, of this connection.
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Job {
    message: Bytes,
    deadline: Option<Instant>,
    answer: oneshot::Sender<Answer>,
    reservation: Reservation,
}

/// What a request takes of the room for those that wait.
#[derive(Debug)]
struct Reservation {
    /// Of its connection, and of all.
    waiting: [Arc<AtomicUsize>; 2],
    length: usize,
}

impl Reservation {
    /// Takes `length` bytes, if there are as many.
    fn take(waiting: [Arc<AtomicUsize>; 2], length: usize) -> Result<Self, Bound> {
        let [here, by_all] = &waiting;
        // Only its own connection, which one thread serves, changes the first; what is refused must not count for others.
        let before = here.load(Ordering::Relaxed);
        if before > 0 && before + length > MOST_OF_ONE {
            return Err(Bound::LongOnesWaitingHere);
        }
        let fits =
            |before: usize| (before == 0 || before + length <= MOST_WAITING).then_some(before + length);
        if by_all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(Bound::LongOnesWaiting);
        }
        here.fetch_add(length, Ordering::Relaxed);
        Ok(Self { waiting, length })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for waiting in &self.waiting {
            waiting.fetch_sub(self.length, Ordering::Relaxed);
        }
    }
}

impl LongRequests {
    /// Starts the thread, which asks `limiter`. It ends with the last handle.
    pub fn start<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (queue, mut jobs) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("long-requests".to_owned()).spawn(move || {
            let service = RateLimitService::new(limiter.worker(), Arc::clone(&metrics));
            let decide = async {
                while let Some(job) = jobs.recv().await {
                    // Nobody waits for it any more.
                    let late = job.deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if !late && !job.answer.is_closed() {
                        let answer =
                            AssertUnwindSafe(service.answer(&job.message, job.deadline)).catch_unwind().await;
                        let _ = job.answer.send(answer.ok());
                    }
                    drop(job.reservation);
                }
            };
            if AssertUnwindSafe(runtime.block_on(AssertUnwindSafe(decide).catch_unwind())).is_err() {
                TaskEnded { what: "long requests" }.emit(&metrics);
            }
        })?;
        Ok(Self { queue, waiting: Arc::default() })
    }

    /// For the requests of one more connection.
    pub(super) fn of_connection(&self) -> ConnectionQueue {
        ConnectionQueue { long_requests: self.clone(), waiting: Arc::default() }
    }
}

impl ConnectionQueue {
    /// Decides on `message` when its turn comes; none when that panicked, or its `deadline` passed.
    pub(super) async fn answer(&self, message: Bytes, deadline: Option<Instant>) -> Answer {
        let waiting = [Arc::clone(&self.waiting), Arc::clone(&self.long_requests.waiting)];
        let reservation = match Reservation::take(waiting, message.len()) {
            Ok(reservation) => reservation,
            Err(bound) => return Some(Err(bound.into())),
        };
        let (send, answer) = oneshot::channel();
        let _ = self.long_requests.queue.send(Job { message, deadline, answer: send, reservation });
        answer.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_connection_that_has_filled_its_share_keeps_no_other_out() {
        let all = Arc::new(AtomicUsize::new(0));
        let connections: [Arc<AtomicUsize>; 10] = Default::default();
        let take = |connection: usize, length| {
            Reservation::take([Arc::clone(&connections[connection]), Arc::clone(&all)], length)
        };
        let full: Vec<_> = (0..4).map(|_| take(0, MIB).unwrap()).collect();
        assert_eq!(take(0, MIB).unwrap_err(), Bound::LongOnesWaitingHere);
        let large = take(1, 16 * MIB).expect("one request, however large");
        assert_eq!(take(1, 1).unwrap_err(), Bound::LongOnesWaitingHere);
        let others: Vec<_> = (2..5).map(|n| take(n, 4 * MIB).unwrap()).collect();
        assert_eq!(take(5, MIB).unwrap_err(), Bound::LongOnesWaiting);
        drop((full, large, others));
        assert_eq!(all.load(Ordering::Relaxed), 0, "what is over, or was refused, is given back");
        take(0, 4 * MIB).unwrap();
    }
}
