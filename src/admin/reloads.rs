//! Reading the configuration anew for whoever asks. Those that ask while it is read share the next reading: a large policy takes seconds.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::Mutex;

use super::answer::Problem;

/// The readings that were asked for, and what became of the last one that ended.
#[derive(Debug)]
pub(super) struct Reloads<T = Result<Reloaded, Problem>> {
    /// How many have begun.
    begun: AtomicU64,
    /// The last one that ended, with its number from 1. Held while the configuration is read.
    last: Mutex<(u64, Option<T>)>,
}

impl<T> Default for Reloads<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::default(), last: Mutex::default() }
    }
}

impl<T: Clone> Reloads<T> {
    /// What became of a reading that began after this was called, and whether that is `read`; else it is what another request began
    /// meanwhile.
    pub(super) async fn next(&self, read: impl Future<Output = T>) -> (T, bool) {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let (number, Some(reloaded)) = &*last
            && *number > begun
        {
            return (reloaded.clone(), false);
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let reloaded = read.await;
        *last = (number, Some(reloaded.clone()));
        (reloaded, true)
    }
}

/// What became of one reading.
#[derive(Clone, Debug)]
pub(super) struct Reloaded {
    /// The generation that it took the place of, or that stays in force.
    pub(super) before: u64,
    pub(super) status: StatusCode,
    pub(super) told: Value,
    /// For the audit.
    pub(super) after: String,
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_that_ask_while_it_is_read_share_the_next_reading() {
        let (reloads, may_end, begun) = (Reloads::default(), Semaphore::new(0), AtomicU64::new(0));
        let ask = || {
            reloads.next(async {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                may_end.acquire().await.unwrap().forget();
                number
            })
        };
        // All have asked by then.
        let end = async { may_end.add_permits(20) };
        let (first, others, ()) = tokio::join!(ask(), join_all(repeat_with(ask).take(19)), end);
        assert_eq!(first, (1, true));
        let number = |(number, _): &(u64, bool)| *number;
        assert!(
            others.iter().all(|other| number(other) == 2),
            "what was read before may be older than what they changed"
        );
        assert_eq!(others.iter().filter(|(_, is_own)| *is_own).count(), 1);
        assert_eq!(ask().await, (3, true));
    }

    #[tokio::test]
    async fn a_reading_that_is_given_up_is_begun_anew_by_whoever_waits() {
        let reloads = Reloads::default();
        let never = tokio::time::timeout(Duration::from_millis(1), reloads.next(std::future::pending()));
        let (given_up, next) = tokio::join!(never, reloads.next(async { 2 }));
        assert!(given_up.is_err());
        assert_eq!(next, (2, true));
    }
}
