//! What every store promises. To have one tested: a `conformance!` line for it.

mod grpc;
mod laws;
mod limiter;
mod plain;
mod without_store;

use std::time::Duration;

use spillway::store::{AnyStore, MemoryStore};

use crate::support::stores::{Failing, Fails, Piecemeal, Slow};

/// Each law for one store, as a test of its own.
macro_rules! conformance {
    ($store:ident: $make:expr) => {
        mod $store {
            #[allow(unused_imports, reason = "not every store is made of all of it")]
            use super::*;

            conformance!(@ $make;
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
    (@ $make:expr; $($law:ident),* $(,)?) => {
        $(
            #[test]
            fn $law() {
                crate::store::laws::$law(|| $make);
            }
        )*
    };
}

conformance!(memory: MemoryStore::default());
conformance!(any: AnyStore::from(MemoryStore::default()));
conformance!(slow: Slow::by(Duration::from_millis(3)));
conformance!(failing: Failing::in_turn(&[
    None, Some(Fails::Before), None, None, Some(Fails::After), None, Some(Fails::ByHanging),
]));

#[test]
#[should_panic(expected = "given up after 1 polls: [1, 0, 0]")]
fn a_store_that_charges_bit_by_bit_is_found_out_when_it_is_given_up() {
    laws::given_up_while_it_waits_all_or_nothing_was_charged(Piecemeal::default);
}

#[test]
#[should_panic(expected = "Test failed")]
fn a_store_that_charges_bit_by_bit_is_found_out_by_its_answers() {
    laws::its_answers_are_those_of_the_algorithms(Piecemeal::default);
}
