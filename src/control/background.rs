//! Work on threads that run only while nothing else wants their core, so that no answer is late for it.
//!
//! Being nice is not enough for that. Since Linux 6.6 a thread that runs keeps its core until its slice ends, which may be some
//! milliseconds, however nice it is and whatever wakes up meanwhile («run to parity» of the scheduler, EEVDF): compiling
//! 100,000 rules on a worker's core made one answer in a hundred ten times as late. A thread of `SCHED_IDLE` gives its core away
//! at once. But on a core that others want all the time it gets some thousandth of it, and without privileges a thread cannot go
//! back from there; so such work is begun anew on an ordinary thread when it takes too long.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long work may take on such a thread: some times what 100,000 rules take on cores that are half busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A place for such a thread, of which there is one at most.
#[derive(Debug, Default)]
pub(super) struct Background {
    /// Shared with the thread while there is one.
    place: Arc<()>,
}

impl Background {
    /// What `work` comes to. Where a thread in the background has not come to it within `patience`, or is still at work that was too
    /// much for it before, the calling thread does it. What is done twice then must be as good as done once.
    pub(super) fn compute<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Fn() -> T + Send + Sync + 'static,
    ) -> T {
        let work = Arc::new(work);
        let (done, result) = mpsc::channel();
        let in_background = Arc::clone(&work);
        let is_begun = self.spawn(move |place| {
            let computed = in_background();
            // Whoever hears of it may ask for the next thing at once.
            drop(place);
            // Nobody may wait any more.
            let _ = done.send(computed);
        });
        // An error at once is that of a panic there; here it has its consequences.
        let computed = if is_begun { result.recv_timeout(patience).ok() } else { None };
        // What it still comes to is freed by its own thread.
        drop(result);
        computed.unwrap_or_else(|| work())
    }

    /// Has `work` done in the background, whenever that is; `false` if it is not, because there is no thread for it.
    pub(super) fn begin(&self, work: impl FnOnce() + Send + 'static) -> bool {
        self.spawn(move |place| {
            work();
            drop(place);
        })
    }

    /// Whether there is such a thread.
    pub(super) fn is_taken(&self) -> bool {
        Arc::strong_count(&self.place) > 1
    }

    /// The same with the place, which is free again when `work` drops it.
    fn spawn(&self, work: impl FnOnce(Arc<()>) + Send + 'static) -> bool {
        if self.is_taken() {
            return false;
        }
        let place = Arc::clone(&self.place);
        let thread = thread::Builder::new().name("background".to_owned());
        let begun = thread.spawn(move || {
            stand_back();
            work(place);
        });
        begun.is_ok()
    }
}

/// Where that is refused the work is done all the same.
#[cfg(target_os = "linux")]
fn stand_back() {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), thread_priority::ThreadPriority::Min, idle);
}

/// Elsewhere systems have no such threads, or none that this is known of.
#[cfg(not(target_os = "linux"))]
fn stand_back() {}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    #[cfg(target_os = "linux")]
    fn the_work_and_threads_that_it_begins_have_a_core_only_while_nothing_else_wants_it() {
        use thread_priority::unix::{
            NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy,
        };
        let policy = || format!("{:?}", thread_schedule_policy().unwrap());
        let idle = format!("{:?}", ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle));
        let before = policy();
        let policies =
            Background::default().compute(LONG, move || [policy(), thread::spawn(policy).join().unwrap()]);
        assert_eq!(policies, [idle.clone(), idle]);
        assert_eq!(policy(), before);
    }

    #[test]
    fn what_takes_too_long_in_the_background_is_done_by_the_thread_that_asks() {
        let background = Background::default();
        let (go_on, waiting) = mpsc::channel::<()>();
        let waiting = Mutex::new(waiting);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let asking = thread::current().id();
        let answer = background.compute(Duration::from_millis(1), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            if thread::current().id() != asking {
                let _ = waiting.lock().unwrap().recv();
            }
            thread::current().id()
        });
        assert_eq!(answer, asking);
        // While that thread still is at it there is no other.
        assert_eq!(background.compute(LONG, || thread::current().id()), asking);
        assert!(!background.begin(|| ()));
        drop(go_on);
        while Arc::strong_count(&background.place) > 1 {
            thread::yield_now();
        }
        assert!(calls.load(Ordering::SeqCst) <= 2);
        assert_ne!(background.compute(LONG, || thread::current().id()), asking);
    }

    #[test]
    fn one_thing_after_the_other_is_done_in_the_background() {
        let (background, asking) = (Background::default(), thread::current().id());
        for _ in 0..100 {
            assert_ne!(background.compute(LONG, || thread::current().id()), asking);
        }
    }

    #[test]
    fn a_panic_is_that_of_the_thread_that_asks() {
        let asked =
            std::panic::AssertUnwindSafe(|| Background::default().compute(LONG, || panic!("on purpose")));
        let failed: Result<(), _> = std::panic::catch_unwind(asked);
        assert!(failed.is_err());
    }
}
