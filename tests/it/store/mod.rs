//! What every store promises. To have one tested: a `conformance!` line for it.

mod grpc;
mod laws;
mod limiter;
mod plain;

use std::time::Duration;

use spillway::algorithm::{Charge, Mode, Outcomes};
use spillway::model::Timestamp;
use spillway::store::{Answers, MemoryStore, Session, Statistics, Store, StoreError};
use tokio::time::Instant;

use crate::support::stores::{Failing, Fails, Slow};

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
conformance!(slow: Slow::by(Duration::from_millis(3)));
conformance!(failing: Failing::in_turn(&[
    None, Some(Fails::Before), None, None, Some(Fails::After), None, Some(Fails::ByHanging),
]));

/// A store that charges bit by bit, as one would that makes a trip for each counter.
#[derive(Clone, Debug, Default)]
struct Piecemeal(MemoryStore);

impl Store for Piecemeal {
    type Session = Self;

    fn session(&self) -> Self {
        self.clone()
    }

    fn statistics(&self) -> Statistics {
        self.0.statistics()
    }
}

impl Session for Piecemeal {
    const ANSWERS: Answers = Answers::Later;

    fn apply_now(&self, _: Mode, _: &[Charge], _: Timestamp) -> Option<Outcomes> {
        None
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> Result<Outcomes, StoreError> {
        let mut outcomes = Outcomes::new();
        for charge in charges {
            outcomes.extend(self.0.apply_now(mode, &[*charge], now).into_iter().flatten());
            tokio::task::yield_now().await;
        }
        Ok(outcomes)
    }
}

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
