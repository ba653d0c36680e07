//! Counters in a real Valkey.

mod access;
mod cluster;
mod failures;
mod histories;
mod moved;
mod periods;
mod secret;
mod sentinel;
mod tls;
mod undone;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spillway::store::{CountedBy, RedisOptions, RedisStore};

use crate::support::cluster::{Cluster, Kept, Slots};
use crate::support::valkey::Valkey;

/// A store of its own in that server, whose hits are counted at the times that the tests say.
pub(super) fn counting_by_the_caller(server: &Valkey) -> RedisStore {
    of_its_own(&server.url())
}

/// The same in a cluster, each counter in the slot of its key.
pub(super) fn in_a_cluster(cluster: &Cluster) -> RedisStore {
    of_its_own(&cluster.url())
}

/// The same in a cluster, all counters in one slot.
pub(super) fn in_one_slot(cluster: &Cluster) -> Kept {
    Kept { store: of_its_own(&cluster.url()), slots: Slots::One }
}

/// The same in a cluster, each counter in another slot.
pub(super) fn in_many_slots(cluster: &Cluster) -> Kept {
    Kept { store: of_its_own(&cluster.url()), slots: Slots::Many }
}

fn of_its_own(url: &str) -> RedisStore {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    let mut options = RedisOptions::read(url).unwrap();
    options.prefix = format!("{number}:");
    options.timeout = Some(Duration::from_secs(5));
    options.clock = CountedBy::Caller;
    RedisStore::with(options).unwrap()
}
