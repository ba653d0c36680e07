//! Reading the configuration anew for whoever asks. Those that ask while it is read share the next reading: a large policy takes seconds.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::Mutex;

/// The readings that were asked for, and what became of the last one that ended.
#[derive(Debug)]
pub(super) struct Reloads<T = Reloaded> {
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
    /// What became of a reading that began after this was called: of `read`, or of what another request began meanwhile.
    pub(super) async fn next<E>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let (number, Some(reloaded)) = &*last
            && *number > begun
        {
            return Ok(reloaded.clone());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let reloaded = read.await?;
        *last = (number, Some(reloaded.clone()));
        Ok(reloaded)
    }
}

/// What became of one reading.
#[derive(Clone, Debug)]
pub(super) struct Reloaded {
    /// The generation that was in force before.
    pub(super) before: u64,
    pub(super) status: StatusCode,
    pub(super) told: Value,
    /// For the audit.
    pub(super) after: String,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_that_ask_while_it_is_read_share_the_next_reading() {
        let (reloads, may_end, begun) = (Reloads::default(), Semaphore::new(0), AtomicU64::new(0));
        let ask = || {
            reloads.next(async {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                may_end.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(number)
            })
        };
        let end = async {
            // All have asked by now.
            may_end.add_permits(20);
        };
        let (first, others, ()) =
            tokio::join!(ask(), futures_util::future::join_all(std::iter::repeat_with(ask).take(19)), end);
        assert_eq!(first, Ok(1));
        assert_eq!(
            others,
            [Ok(2); 19],
            "what was read before they asked may be older than what they changed"
        );
        assert_eq!(ask().await, Ok(3));
    }

    #[tokio::test]
    async fn a_reading_that_is_given_up_or_fails_is_shared_with_nobody() {
        let reloads = Reloads::default();
        let never = reloads.next(std::future::pending::<Result<u8, &str>>());
        assert!(tokio::time::timeout(std::time::Duration::ZERO, never).await.is_err());
        assert_eq!(reloads.next(async { Err("broken") }).await, Err("broken"));
        assert_eq!(reloads.next(async { Ok::<_, &str>(3) }).await, Ok(3));
    }
}
