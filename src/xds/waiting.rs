//! A set without mistakes that waits for the store.
//!
//! Its control plane is told that it is refused, and may send it only once. So it is kept, and compiled again by itself.

use std::future::pending;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::set::{Digest, Set};
use crate::clock::Clock;
use crate::control::{AwaitedStore, Publisher};
use crate::model::any_part;
use crate::store::Store;

/// How often it is looked whether the store has recovered.
const LOOK: Duration = Duration::from_secs(1);
/// The bound on the time until a set is compiled again for a store that is in order and cannot be read, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What a response of a control plane says, beside its resources.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) digest: Digest,
    pub(super) version: String,
    /// How many resources it has.
    pub(super) resources: usize,
    pub(super) nonce: String,
}

/// A set that waits, with the last response that it came in.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) received: Received,
    /// Whether that came on the stream that is open now.
    pub(super) is_of_stream: bool,
    pub(super) set: Set,
    store: AwaitedStore,
    /// When it is looked next whether the store has recovered.
    look: Instant,
    /// When the set is compiled again even if it has not.
    again: Instant,
    pauses: Backoff,
}

impl Waiting {
    /// A set that was refused `now`, as the store could not be read.
    pub(super) fn new(received: Received, set: Set, store: AwaitedStore, now: Instant) -> Self {
        let mut pauses = Backoff::new(AGAIN);
        let again = now + pauses.next(any_part());
        Self { received, is_of_stream: true, set, store, look: now + LOOK, again, pauses }
    }

    /// The same, after one more attempt `now` that failed for the store.
    pub(super) fn on(mut self, set: Set, now: Instant) -> Self {
        self.again = now + self.pauses.next(any_part());
        Self { set, ..self }
    }
}

/// Resolves when `waiting` is to be compiled again. It loses nothing when it is dropped.
pub(super) async fn due<S: Store, C: Clock>(waiting: Option<&mut Waiting>, publisher: &Publisher<S, C>) {
    let Some(waiting) = waiting else { return pending().await };
    loop {
        tokio::time::sleep_until(waiting.look).await;
        waiting.look = Instant::now() + LOOK;
        if waiting.store.is_back(publisher) || waiting.look > waiting.again {
            return;
        }
    }
}
