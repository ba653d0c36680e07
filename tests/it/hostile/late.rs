//! Calls whose client has stopped waiting.

use super::raw::{DATA, END_STREAM, Outcome, Raw, frame, headers};
use super::{Others, POLICY, counted, free, hpack};
use crate::support::Spillway;

const DEADLINE_EXCEEDED: Outcome = Outcome::Status(4);

fn begin(raw: &mut Raw, timeout: &str) -> u32 {
    let stream = raw.stream();
    raw.send(&headers(stream, &hpack::call(&[("grpc-timeout", timeout)])));
    stream
}

#[test]
fn a_call_that_is_late_is_neither_answered_nor_counted() {
    let spillway = Spillway::serving(POLICY);
    let others = Others::of(&spillway);
    let mut raw = Raw::to(&spillway);
    for message_follows in [false, true] {
        for _ in 0..20 {
            let stream = begin(&mut raw, "1n");
            if message_follows {
                // Another call, answered, proves that the beginning has arrived.
                raw.call(&free());
            }
            raw.send(&frame(DATA, END_STREAM, stream, &counted()));
            let outcome = raw.outcome(stream);
            assert!(matches!(outcome, DEADLINE_EXCEEDED | Outcome::Reset(_)), "{outcome:?}");
        }
    }
    assert_eq!(others.counted(), 0);
    raw.call(&counted());
    assert_eq!(others.counted(), 1);
}

#[test]
fn a_call_that_is_not_late_or_says_nothing_that_makes_sense_is_answered() {
    let spillway = Spillway::serving(POLICY);
    let others = Others::of(&spillway);
    let mut raw = Raw::to(&spillway);
    // Long enough for a machine that has much else to do.
    let good = ["20000m", "99999999u", "20S", "20M", "1H", "99999999H"];
    let broken = ["abc", "", "1", "m", "-1n", "+1n", "1 n", "1x", "1nn", "0x1n", "999999999999999999999n"];
    let mut calls = 0;
    for timeout in good.into_iter().chain(broken) {
        let stream = begin(&mut raw, timeout);
        raw.send(&frame(DATA, END_STREAM, stream, &counted()));
        let outcome = raw.outcome(stream);
        assert!(outcome.is_decision(), "`{timeout}`: {outcome:?}");
        calls += 1;
    }
    assert_eq!(others.counted(), calls);
}
