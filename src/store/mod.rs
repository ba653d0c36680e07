//! Where counters are kept. A store decides nothing: it lends cells to the algorithms and keeps what comes back.
//!
//! To add a store: implement [`Store`] and [`Session`], give [`AnyStore`] a line for it, and list it in `tests/it/store`, whose suite every store passes.

mod any;
pub mod codec;
pub mod disk;
mod error;
mod lease;
mod memory;
pub mod records;
mod redis;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::time::Instant;

pub use self::redis::{CountedBy, RedisOptions, RedisSession, RedisStore, TlsOptions, WrongUrl, shown_url};
pub use any::{AnySession, AnyStore};
pub use disk::DiskStore;
pub use error::StoreError;
pub use lease::{LeasedSession, LeasedStore};
pub use memory::MemoryStore;
pub use records::{MemoryRecords, Record, RecordKind, Records};

use crate::algorithm::{Charge, Mode, Outcomes};
use crate::model::Timestamp;

/// Keeps counters between requests.
pub trait Store: Send + Sync + 'static {
    /// What one worker asks it through.
    type Session: Session;

    /// A session, for the worker whose thread this is called on.
    fn session(&self) -> Self::Session;

    /// How much is kept.
    fn statistics(&self) -> Statistics;

    /// Where it keeps what is known of subjects, if that outlives the process.
    fn records(&self) -> Option<Arc<dyn Records>> {
        None
    }

    /// Why it keeps nothing at the moment, if it has failed. It tries again by itself, and this is so until that works.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Frees the counters that decide nothing any more at `now`, a part of them with each item that is taken, so that requests
    /// go on meanwhile. A store whose counters end by themselves has nothing to do.
    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        let _ = now;
        std::iter::empty()
    }
}

/// One worker's way to the counters. It stays on the worker's thread, so it may hold a connection of its own.
pub trait Session: fmt::Debug + 'static {
    /// Whether and when [`apply_now`](Self::apply_now) answers, as far as the type tells.
    const ANSWERS: Answers;

    /// Whether and when [`apply_now`](Self::apply_now) of this session answers.
    fn answers(&self) -> Answers {
        Self::ANSWERS
    }

    /// Makes the charges of one request if that needs no waiting; else `None`, and nothing has happened.
    ///
    /// See [`apply`](Self::apply) for what they mean.
    #[expect(unused_variables, reason = "the names are for those that never wait")]
    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        None
    }

    /// Whether no other process counts in these counters.
    fn is_alone(&self) -> bool {
        false
    }

    /// Makes the charges of one request by what this process knows of their counters, where the store could not be waited for, or not
    /// be written: they count as all others do, but nothing says that they outlive the process. `None`, and nothing has happened, where
    /// the store [shares](Self::is_alone) its counters with other processes.
    fn apply_alone(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        let _ = (mode, charges, now);
        None
    }

    /// Makes the charges of one request as `mode` has them go together, and tells an outcome for each, in order.
    ///
    /// A store gets the whole request at once: one trip, and one place to make it atomic. Nobody waits for the outcomes any
    /// more once `deadline` has passed; a store that hands charges on hands the deadline on with them.
    ///
    /// # Errors
    ///
    /// After an error, and where the future is dropped before it is ready, all of the request's charges were made, or
    /// none.
    fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> impl Future<Output = Result<Outcomes, StoreError>>;

    /// Makes the charges of one request as [`apply`](Self::apply) does. Where it turns out that none of them was made, `unmade` is called,
    /// also after the future was dropped; where that is never known it is dropped.
    ///
    /// # Errors
    ///
    /// As those of [`apply`](Self::apply).
    fn apply_or(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
        unmade: impl FnOnce() + Send + 'static,
    ) -> impl Future<Output = Result<Outcomes, StoreError>> {
        async move {
            let made = self.apply(mode, charges, now, deadline).await;
            if made.as_ref().is_err_and(StoreError::has_charged_nothing) {
                unmade();
            }
            made
        }
    }

    /// Makes `refunds`, each of which gives back all that its counter has, for an operator: also what other processes have taken of it
    /// ahead of time ([`LeasedStore`]), which they must not give back once more.
    ///
    /// # Errors
    ///
    /// As those of [`apply`](Self::apply).
    fn reset(
        &self,
        refunds: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> impl Future<Output = Result<Outcomes, StoreError>> {
        self.apply(Mode::Each, refunds, now, deadline)
    }
}

/// When the outcomes of a request's charges are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// At once, always.
    Now,
    /// At once as a rule; sometimes the store has to be waited for.
    MostlyNow,
    /// Never at once: there is a network in between, say.
    Later,
}

/// How much a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Counters.
    pub counters: u64,
    /// Bytes that they take in this process.
    pub bytes: u64,
    /// Counters that made room for others while they still counted, since the start.
    pub evicted: u64,
    /// Counters that were freed after their windows had ended, since the start.
    pub expired: u64,
}
