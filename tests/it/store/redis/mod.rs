//! Counters in a real Valkey.

mod failures;
mod histories;
mod periods;
mod secret;
mod sentinel;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spillway::store::{CountedBy, RedisOptions, RedisStore};

use crate::support::valkey::Valkey;

/// A store of its own in that server, whose hits are counted at the times that the tests say.
pub(super) fn counting_by_the_caller(server: &Valkey) -> RedisStore {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    let mut options = RedisOptions::read(&server.url()).unwrap();
    options.prefix = format!("{number}:");
    options.timeout = Duration::from_secs(5);
    options.clock = CountedBy::Caller;
    RedisStore::with(options).unwrap()
}
