//! The store that the operator chose, as one type: the server is built once, whichever store it is.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{
    Answers, DiskStore, LeasedStore, MemoryStore, Records, RedisStore, Session, Statistics, Store, StoreError,
};
use crate::algorithm::{Charge, Mode, Outcomes};
use crate::model::Timestamp;

/// How long a file may take to be closed at the end. Kubernetes kills the process 30 s after it was asked to end, of which calls in flight
/// may have had eight.
const FILE_CLOSES_WITHIN: Duration = Duration::from_secs(15);

/// [`AnyStore`] and [`AnySession`], with a variant for each store.
macro_rules! stores {
    ($($(#[$meaning:meta])* $variant:ident($store:ty)),* $(,)?) => {
        /// One of the stores.
        #[derive(Debug)]
        pub enum AnyStore {
            $($(#[$meaning])* $variant($store),)*
        }

        /// A session of one of the stores.
        #[derive(Debug)]
        pub enum AnySession {
            $($(#[$meaning])* $variant(<$store as Store>::Session),)*
        }

        $(impl From<$store> for AnyStore {
            fn from(store: $store) -> Self {
                Self::$variant(store)
            }
        })*

        impl Store for AnyStore {
            type Session = AnySession;

            fn session(&self) -> AnySession {
                match self {
                    $(Self::$variant(store) => AnySession::$variant(store.session()),)*
                }
            }

            fn statistics(&self) -> Statistics {
                match self {
                    $(Self::$variant(store) => store.statistics(),)*
                }
            }

            fn records(&self) -> Option<Arc<dyn Records>> {
                match self {
                    $(Self::$variant(store) => store.records(),)*
                }
            }

            fn failure(&self) -> Option<String> {
                match self {
                    $(Self::$variant(store) => store.failure(),)*
                }
            }

            fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
                // Iterators of several types. Sweeps are rare, so an allocation for each is nothing.
                let parts: Box<dyn Iterator<Item = ()> + Send + '_> = match self {
                    $(Self::$variant(store) => Box::new(store.sweep(now)),)*
                };
                parts
            }
        }

        impl Session for AnySession {
            // Which of the stores it is, only `answers` knows.
            const ANSWERS: Answers = Answers::MostlyNow;

            fn answers(&self) -> Answers {
                match self {
                    $(Self::$variant(session) => session.answers(),)*
                }
            }

            fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
                match self {
                    $(Self::$variant(session) => session.apply_now(mode, charges, now),)*
                }
            }

            fn is_alone(&self) -> bool {
                match self {
                    $(Self::$variant(session) => session.is_alone(),)*
                }
            }

            fn apply_alone(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
                match self {
                    $(Self::$variant(session) => session.apply_alone(mode, charges, now),)*
                }
            }

            async fn apply(
                &self,
                mode: Mode,
                charges: &[Charge],
                now: Timestamp,
                deadline: Instant,
            ) -> Result<Outcomes, StoreError> {
                match self {
                    $(Self::$variant(session) => session.apply(mode, charges, now, deadline).await,)*
                }
            }

            async fn reset(
                &self,
                refunds: &[Charge],
                now: Timestamp,
                deadline: Instant,
            ) -> Result<Outcomes, StoreError> {
                match self {
                    $(Self::$variant(session) => session.reset(refunds, now, deadline).await,)*
                }
            }
        }
    };
}

// To add a store: one line.
stores! {
    /// In the memory of this process.
    Memory(MemoryStore),
    /// In a file, as far as they are to survive a crash.
    Disk(DiskStore),
    /// In a Redis or Valkey server.
    Redis(RedisStore),
    /// There, with leases.
    Leased(LeasedStore<RedisStore>),
}

impl AnyStore {
    /// Gives back what was taken ahead of time until `deadline`, and writes what is kept, as a process does that is about to end.
    ///
    /// # Errors
    ///
    /// That of the store.
    pub async fn close(&self, now: Timestamp, deadline: Instant) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) | Self::Redis(_) => Ok(()),
            Self::Disk(store) => close_file(store.clone()).await,
            Self::Leased(store) => store.give_back(now, deadline).await,
        }
    }
}

/// Closes the file of a store, for as long as that may take.
async fn close_file(store: DiskStore) -> Result<(), StoreError> {
    let in_doubt = |store: &DiskStore, reason| StoreError::InDoubt { store: store.name().to_owned(), reason };
    let (done, closed) = oneshot::channel();
    let closing = store.clone();
    // The end of the process waits for no such thread, as it would for those of the runtime.
    let thread = thread::Builder::new().name("disk-close".to_owned()).spawn(move || {
        // Nobody waits any more where the disk stood still.
        let _ = done.send(closing.close());
    });
    thread.map_err(|error| in_doubt(&store, error.to_string()))?;
    match timeout(FILE_CLOSES_WITHIN, closed).await {
        Ok(closed) => closed.unwrap_or_else(|_| Err(in_doubt(&store, "closing it panicked".to_owned()))),
        Err(_) => Err(in_doubt(&store, format!("the disk has stood still for {FILE_CLOSES_WITHIN:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_as_the_store_that_it_is() {
        let store = AnyStore::from(MemoryStore::default());
        assert_eq!(store.session().answers(), Answers::Now, "memory never has to be waited for");
    }
}
