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

use super::beyond::{Bound, Undecided};
use super::service::RateLimitService;
use crate::clock::Clock;
use crate::store::Store;
use crate::telemetry::{Metrics, TaskEnded};

/// From how many bytes on a request is long.
pub(super) const LONG: usize = 64 << 10;
/// What may wait, in bytes: at four milliseconds a mebibyte more than Envoy waits.
const MOST_WAITING: usize = 16 << 20;

/// An answer; none when deciding panicked.
type Answer = Option<Result<Bytes, Undecided>>;

/// Where long requests are decided.
#[derive(Clone, Debug)]
pub struct Heavy {
    queue: mpsc::UnboundedSender<Job>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Job {
    message: Bytes,
    deadline: Option<Instant>,
    answer: oneshot::Sender<Answer>,
    room: Room,
}

/// What a request takes of the room for those that wait.
#[derive(Debug)]
struct Room {
    waiting: Arc<AtomicUsize>,
    length: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.length, Ordering::Relaxed);
    }
}

impl Heavy {
    /// Starts the thread, which asks `service`. It ends with the last handle.
    pub fn start<S: Store, C: Clock>(
        service: RateLimitService<S, C>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (queue, mut jobs) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("long-requests".to_owned()).spawn(move || {
            let decide = async {
                while let Some(job) = jobs.recv().await {
                    // Nobody waits for it any more.
                    let late = job.deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    if !late && !job.answer.is_closed() {
                        let answer = AssertUnwindSafe(service.answer(&job.message)).catch_unwind().await;
                        let _ = job.answer.send(answer.ok());
                    }
                    drop(job.room);
                }
            };
            if AssertUnwindSafe(runtime.block_on(AssertUnwindSafe(decide).catch_unwind())).is_err() {
                TaskEnded { what: "long requests" }.emit(&metrics);
            }
        })?;
        Ok(Self { queue, waiting: Arc::default() })
    }

    /// Decides on `message` when its turn comes; none when that panicked, or its `deadline` passed.
    pub(super) async fn answer(&self, message: Bytes, deadline: Option<Instant>) -> Answer {
        let length = message.len();
        let before = self.waiting.fetch_add(length, Ordering::Relaxed);
        let room = Room { waiting: Arc::clone(&self.waiting), length };
        if before > 0 && before + length > MOST_WAITING {
            return Some(Err(Bound::LongOnesWaiting.into()));
        }
        let (send, answer) = oneshot::channel();
        let _ = self.queue.send(Job { message, deadline, answer: send, room });
        answer.await.ok().flatten()
    }
}
