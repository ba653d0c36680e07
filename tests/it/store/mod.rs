//! What every store promises. To have one tested: a `conformance!` line for it.

mod disk;
mod fleet;
mod full;
mod grpc;
mod kill;
mod laws;
mod leases;
mod limiter;
mod plain;
mod redis;
mod resets;
mod served;
mod tiers;
mod transcripts;
mod without_store;

use std::time::Duration;

use spillway::algorithm::Durability;
use spillway::store::{AnyStore, LeasedStore, MemoryStore};

use self::disk::Disk;
use crate::support::cluster::Cluster;
use crate::support::stores::{Failing, Fails, Piecemeal, Slow};
use crate::support::valkey::Valkey;

/// Each law for one store, as a test of its own; `with` a server that runs meanwhile, in real time.
macro_rules! conformance {
    ($name:ident: $make:expr) => {
        conformance!(@ $name, laws::Time::Paused, (), |&()| $make);
    };
    ($name:ident with $server:expr => $make:expr) => {
        conformance!(@ $name, laws::Time::Real, $server, $make);
    };
    ($name:ident apart with $server:expr => $make:expr) => {
        conformance!(@ $name, laws::Time::Apart, $server, $make);
    };
    (@ $name:ident, $time:expr, $server:expr, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "not every store is made of all of it")]
            use super::*;

            conformance!(@@ $time, $server, $make;
                its_answers_are_those_of_the_algorithms,
                all_sessions_count_together,
                no_more_than_the_limit_passes_under_any_concurrency,
                given_up_while_it_waits_all_or_nothing_was_charged,
                a_refused_request_leaves_no_trace,
                an_error_leaves_all_charges_or_none,
                what_is_swept_decides_nothing,
            );
        }
    };
    (@@ $time:expr, $server:expr, $make:expr; $($law:ident),* $(,)?) => {
        $(
            #[test]
            fn $law() {
                let server = $server;
                laws::$law($time, || ($make)(&server));
            }
        )*
    };
}

conformance!(memory: MemoryStore::default());
conformance!(leased: LeasedStore::new(MemoryStore::default(), 1));
conformance!(leased_slow: LeasedStore::new(Slow::by(Duration::from_millis(3)), 1));
conformance!(any: AnyStore::from(MemoryStore::default()));
conformance!(disk_not_kept: Disk::with(Durability::None));
conformance!(disk_reserve: Disk::with(Durability::Reserve));
conformance!(disk_exact: Disk::with(Durability::Exact));
conformance!(slow: Slow::by(Duration::from_millis(3)));
conformance!(failing: Failing::in_turn(&[
    None, Some(Fails::Before), None, None, Some(Fails::After), None, Some(Fails::ByHanging),
]));
conformance!(valkey with Valkey::start(&[]) => redis::counting_by_the_caller);
conformance!(cluster_one_slot with Cluster::start() => redis::in_one_slot);
conformance!(cluster_many_slots apart with Cluster::start() => redis::in_many_slots);

#[test]
#[should_panic(expected = "given up after 1 polls: [1, 0, 0]")]
fn a_store_that_charges_bit_by_bit_is_found_out_when_it_is_given_up() {
    laws::given_up_while_it_waits_all_or_nothing_was_charged(laws::Time::Paused, Piecemeal::default);
}

#[test]
#[should_panic(expected = "Test failed")]
fn a_store_that_charges_bit_by_bit_is_found_out_by_its_answers() {
    laws::its_answers_are_those_of_the_algorithms(laws::Time::Paused, Piecemeal::default);
}
