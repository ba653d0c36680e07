//! Work on threads that run only while nothing else wants their core, so that no answer is late for it.
//!
//! Being nice is not enough for that. Since Linux 6.6 a thread that runs keeps its core until its slice ends, which may be some
//! milliseconds, however nice it is and whatever wakes up meanwhile («run to parity» of the scheduler, EEVDF): compiling
//! 100,000 rules on a worker's core made one answer in a hundred ten times as late. A thread of `SCHED_IDLE` gives its core away
//! at once. But on a core that others want all the time it gets some thousandth of it, and without privileges a thread cannot go
//! back from there; so where such threads get too little, work is begun anew on an ordinary one.
//!
//! Such a thread may hold no lock that others wait for: they would wait for whoever has the core. (The allocator's it has for moments.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long work may take on such a thread before it is looked after whether such threads get enough: what 100,000 rules take, and
/// more.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many times so long it may take in all.
const LONGEST: u32 = 40;
/// Such threads get enough where one that wants a core for so long has it within five times as long.
const PROBED: Duration = Duration::from_millis(5);

/// How long none is given to such a thread after it took too long: the cores will still be as busy, and whoever waits for a new
/// configuration waits once.
const BUSY_FOR: Duration = Duration::from_secs(60);

/// A place for such a thread, of which there is one at most.
#[derive(Debug, Default)]
pub(super) struct Background {
    is_taken: Arc<AtomicBool>,
    /// When work took too long the last time.
    late: Mutex<Option<Instant>>,
}

impl Background {
    /// What `work` comes to. Where threads in the background get no core, or did not lately, the calling thread does it. What is done
    /// twice then must be as good as done once.
    pub(super) fn compute<T: Send + 'static>(&self, work: impl Fn() -> T + Send + Sync + 'static) -> T {
        self.compute_while(PATIENCE, has_a_core, work)
    }

    /// The same, as long as the background `has_a_core` whenever it was waited for `patience`.
    fn compute_while<T: Send + 'static>(
        &self,
        patience: Duration,
        has_a_core: impl Fn() -> bool,
        work: impl Fn() -> T + Send + Sync + 'static,
    ) -> T {
        if self.late.lock().is_some_and(|late| late.elapsed() < BUSY_FOR) {
            return work();
        }
        let work = Arc::new(work);
        let (done, result) = mpsc::channel();
        let in_background = Arc::clone(&work);
        // Where there is no thread for it nothing is heard either.
        self.spawn(move |place| {
            let computed = in_background();
            // Whoever hears of it may ask for the next thing at once.
            drop(place);
            // Nobody may wait any more.
            let _ = done.send(computed);
        });
        let is_late = |heard: &Result<T, _>| matches!(heard, Err(RecvTimeoutError::Timeout));
        let mut heard = result.recv_timeout(patience);
        for _ in 1..LONGEST {
            if !is_late(&heard) || !has_a_core() {
                break;
            }
            heard = result.recv_timeout(patience);
        }
        if is_late(&heard) {
            *self.late.lock() = Some(Instant::now());
        }
        // What it still comes to is freed by its own thread.
        drop(result);
        // An error at once is that of a panic there; here it has its consequences.
        heard.unwrap_or_else(|_| work())
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
        self.is_taken.load(Ordering::Acquire)
    }

    /// The same with the place, which is free again when `work` drops it.
    fn spawn(&self, work: impl FnOnce(Place) + Send + 'static) -> bool {
        let Some(place) = Place::take(&self.is_taken) else { return false };
        let thread = thread::Builder::new().name("background".to_owned());
        let begun = thread.spawn(move || {
            stand_back();
            work(place);
        });
        begun.is_ok()
    }
}

/// The place of one thread, which is free again when this is dropped.
struct Place(Arc<AtomicBool>);

impl Place {
    fn take(is_taken: &Arc<AtomicBool>) -> Option<Self> {
        (!is_taken.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(is_taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whether a thread in the background gets a fifth of a core. Work of some seconds is done in some times as many then; what takes
/// long besides waits for something else, as for files.
fn has_a_core() -> bool {
    let own_time = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).unwrap_or_default()
    };
    let (done, heard) = mpsc::channel();
    let probe = thread::Builder::new().name("probe".to_owned()).spawn(move || {
        stand_back();
        let begun = own_time();
        while own_time().saturating_sub(begun) < PROBED {}
        // Nobody may wait any more.
        let _ = done.send(());
    });
    probe.is_ok() && heard.recv_timeout(5 * PROBED).is_ok()
}

/// Where that is refused the work is done all the same.
#[cfg(target_os = "linux")]
fn stand_back() {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), thread_priority::ThreadPriority::Min, idle);
    // Whoever waits for the core is ahead from here on. A worker that had it just before, as an equal, could else wait for the next tick.
    thread::yield_now();
}

/// Elsewhere systems have no such threads, or none that this is known of.
#[cfg(not(target_os = "linux"))]
fn stand_back() {}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
        let work = move || [policy(), thread::spawn(policy).join().unwrap()];
        let policies = Background::default().compute_while(LONG, || true, work);
        assert_eq!(policies, [idle.clone(), idle]);
        assert_eq!(policy(), before);
    }

    #[test]
    fn what_takes_too_long_in_the_background_is_done_by_the_thread_that_asks_and_so_is_the_next() {
        let background = Background::default();
        let (go_on, waiting) = mpsc::channel::<()>();
        let (end, ended) = mpsc::channel::<()>();
        let waiting = Mutex::new((waiting, Some(end)));
        let asking = thread::current().id();
        let answer = background.compute_while(
            Duration::from_millis(1),
            || false,
            move || {
                if thread::current().id() != asking {
                    let (waiting, end) = &mut *waiting.lock().unwrap();
                    let _ = waiting.recv();
                    *end = None;
                }
                thread::current().id()
            },
        );
        assert_eq!(answer, asking);
        // That thread still is at it, and there is no other.
        assert!(background.is_taken() && !background.begin(|| ()));
        let late = background.late.lock().take();
        assert!(late.is_some());
        let who = || background.compute_while(LONG, || true, || thread::current().id());
        assert_eq!(who(), asking);
        drop(go_on);
        assert_eq!(ended.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        *background.late.lock() = late;
        assert_eq!(who(), asking, "cores are as busy as before");
        *background.late.lock() = Instant::now().checked_sub(BUSY_FOR);
        let begun = Instant::now();
        while background.is_taken() {
            assert!(begun.elapsed() < LONG);
            thread::yield_now();
        }
        assert_ne!(who(), asking);
    }

    #[test]
    fn what_takes_long_goes_on_in_the_background_as_long_as_it_has_a_core_there() {
        let (background, asked) = (Background::default(), Arc::new(AtomicBool::new(false)));
        let (go_on, waiting) = mpsc::channel::<()>();
        let waiting = Mutex::new(waiting);
        let asking = thread::current().id();
        let (go_on, seen) = (Mutex::new(Some(go_on)), Arc::clone(&asked));
        let has_a_core = || {
            // The second time the work goes on.
            if seen.swap(true, Ordering::SeqCst) {
                *go_on.lock().unwrap() = None;
            }
            true
        };
        let who = background.compute_while(Duration::from_millis(500), has_a_core, move || {
            let _ = waiting.lock().unwrap().recv();
            thread::current().id()
        });
        assert!(who != asking && asked.load(Ordering::SeqCst));
    }

    #[test]
    fn one_thing_after_the_other_is_done_in_the_background() {
        let (background, asking) = (Background::default(), thread::current().id());
        for _ in 0..20 {
            assert_ne!(background.compute_while(LONG, || true, || thread::current().id()), asking);
        }
    }

    #[test]
    fn a_panic_is_that_of_the_thread_that_asks() {
        let asked = std::panic::AssertUnwindSafe(|| Background::default().compute(|| panic!("on purpose")));
        let failed: Result<(), _> = std::panic::catch_unwind(asked);
        assert!(failed.is_err());
    }
}
