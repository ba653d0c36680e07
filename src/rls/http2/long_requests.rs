//! Decides long requests on a thread of their own, so that short ones do not wait behind them.
//!
//! The time of a decision grows with the size of its request: a few microseconds for most, milliseconds for each MiB.
//! Workers give every request of 64 KiB or more to this thread, and go on with the others.

use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tonic::Code;

use crate::clock::Clock;
use crate::limiter::Limiter;
use crate::rls::beyond::{Bound, Undecided};
use crate::rls::service::{Caller, LATE, Mistakes, PANICKED, RateLimitService};
use crate::store::Store;
use crate::telemetry::{Metrics, TaskEnded};
use crate::traces::Span;

/// Bytes from which a request is long.
pub(super) const LONG: usize = 64 << 10;
/// The most bytes of requests that wait. At four milliseconds for each MiB they take longer than Envoy waits.
const MOST_WAITING: usize = 32 << 20;
/// The most bytes of requests of one connection that wait, so that it does not keep out those of others. A single request may
/// have more, up to 16 MiB.
const MOST_OF_ONE: usize = 4 << 20;

/// An answer, with the span of its call; none if the decision panicked or came too late.
type Answer = Option<(Result<Bytes, Undecided>, Span)>;

/// The queue of long requests, of all connections.
#[derive(Clone, Debug)]
pub struct LongRequests {
    queue: mpsc::UnboundedSender<Job>,
    /// Bytes of requests that wait, of all connections.
    waiting: Arc<AtomicUsize>,
}

/// The long requests of one connection.
#[derive(Debug)]
pub(in crate::rls) struct ConnectionQueue {
    long_requests: LongRequests,
    /// Bytes of requests that wait, of this connection.
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Job {
    message: Bytes,
    caller: Caller,
    span: Span,
    answer: oneshot::Sender<Answer>,
    reservation: Reservation,
}

/// A request's bytes in the queue, which are given back on drop.
#[derive(Debug)]
struct Reservation {
    /// Bytes that wait, of its connection and of all connections.
    waiting: [Arc<AtomicUsize>; 2],
    length: usize,
}

impl Reservation {
    /// Reserves `length` bytes, if neither bound is exceeded.
    fn take(waiting: [Arc<AtomicUsize>; 2], length: usize) -> Result<Self, Bound> {
        let [here, by_all] = &waiting;
        // One worker serves the connection, so nothing else changes the first counter meanwhile. A refused request must not
        // count in the second.
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
    /// Starts the thread, which decides by `limiter`. It ends when the last handle is dropped.
    pub fn start<S: Store, C: Clock>(limiter: Arc<Limiter<S, C>>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (queue, mut jobs) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("long-requests".to_owned()).spawn(move || {
            let decide = async {
                // Here, as on workers: a store's session may need the runtime.
                let service = Rc::new(RateLimitService::new(limiter.worker(), Arc::clone(&metrics)));
                while let Some(job) = jobs.recv().await {
                    // A request whose store has to be waited for lets the next ones begin.
                    tokio::task::spawn_local(decide(Rc::clone(&service), job));
                }
            };
            let decided = AssertUnwindSafe(async { LocalSet::new().run_until(decide).await }).catch_unwind();
            if AssertUnwindSafe(runtime.block_on(decided)).is_err() {
                TaskEnded { what: "long requests", is_restarted: false }.emit(&metrics);
            }
        })?;
        Ok(Self { queue, waiting: Arc::default() })
    }

    /// The queue for a new connection.
    pub(in crate::rls) fn of_connection(&self) -> ConnectionQueue {
        ConnectionQueue { long_requests: self.clone(), waiting: Arc::default() }
    }
}

/// Decides on the request of `job`, unless it is late or its call is cancelled, also while it waits.
async fn decide<S: Store, C: Clock>(service: Rc<RateLimitService<S, C>>, mut job: Job) {
    let is_late = job.caller.deadline.is_some_and(|deadline| Instant::now() >= deadline);
    if is_late {
        return job.span.failed(Code::DeadlineExceeded, LATE);
    }
    let decided = {
        let answer = service.answer(&job.message, job.caller, Mistakes::AreTold, &mut job.span);
        let answer = AssertUnwindSafe(answer).catch_unwind();
        tokio::select! {
            biased;
            () = job.answer.closed() => return,
            answer = answer => answer,
        }
    };
    drop(job.reservation);
    if decided.is_err() {
        job.span.failed(Code::Internal, PANICKED);
    }
    let _ = job.answer.send(decided.ok().map(|decided| (decided, job.span)));
}

impl ConnectionQueue {
    /// Decides on `message`, after those that wait before it. None if the decision panicked, or the caller's deadline passed before.
    pub(in crate::rls) async fn answer(&self, message: Bytes, caller: Caller, span: Span) -> Answer {
        let waiting = [Arc::clone(&self.waiting), Arc::clone(&self.long_requests.waiting)];
        let reservation = match Reservation::take(waiting, message.len()) {
            Ok(reservation) => reservation,
            Err(bound) => return Some((Err(bound.into()), span)),
        };
        let (send, answer) = oneshot::channel();
        let _ = self.long_requests.queue.send(Job { message, caller, span, answer: send, reservation });
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
