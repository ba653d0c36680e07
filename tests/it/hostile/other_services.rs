//! Health, reflection and methods that nobody knows have the bounds of the one method that is called.

use super::process::peak;
use super::raw::{DATA, END_STREAM, Outcome, Raw, frame, headers};
use super::{Others, POLICY, hpack};
use crate::support::Spillway;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const RESOURCE_EXHAUSTED: Outcome = Outcome::Status(8);

fn begin(raw: &mut Raw, path: &str, more: &[(&str, &str)]) -> u32 {
    let stream = raw.stream();
    raw.send(&headers(stream, &hpack::call_of(path, more)));
    stream
}

#[test]
fn unfinished_messages_to_health_share_the_bound_of_their_connection() {
    let spillway = Spillway::serving(POLICY);
    let others = Others::of(&spillway);
    others.are_answered(&spillway);
    let before = peak(&spillway);
    // Each says that nearly 4 MiB come, and sends two small parts of them.
    let head = [0, 0, 0x3f, 0xff, 0xff];
    let connections: Vec<_> = (0..3)
        .map(|_| {
            let mut raw = Raw::to(&spillway);
            let streams: Vec<_> = (0..10).map(|_| begin(&mut raw, CHECK, &[])).collect();
            for part in [&head[..], &[0; 1024]] {
                for &stream in &streams {
                    raw.send_data(stream, part);
                }
                assert!(raw.is_alive());
            }
            // Eight of them are 32 MiB.
            for &stream in &streams[8..] {
                assert_eq!(raw.outcome(stream), RESOURCE_EXHAUSTED);
            }
            raw
        })
        .collect();
    others.are_answered(&spillway);
    let more = peak(&spillway).saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB for what three clients left unfinished");
    drop(connections);
}

#[test]
fn a_connection_has_a_few_calls_of_other_services_at_a_time() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let streams: Vec<_> = (0..17).map(|_| begin(&mut raw, CHECK, &[])).collect();
    let outcome = raw.outcome(streams[16]);
    assert_eq!(outcome, RESOURCE_EXHAUSTED);
    // Those that end make room.
    for &stream in &streams[..16] {
        raw.send(&frame(DATA, END_STREAM, stream, &[0; 5]));
        raw.outcome(stream);
    }
    let again = begin(&mut raw, CHECK, &[]);
    raw.send(&frame(DATA, END_STREAM, again, &[0; 5]));
    assert_ne!(raw.outcome(again), RESOURCE_EXHAUSTED);
}

#[test]
fn a_call_of_another_service_ends_with_its_deadline_or_at_once() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let late = begin(&mut raw, CHECK, &[("grpc-timeout", "1m")]);
    let outcome = raw.outcome(late);
    assert!(matches!(outcome, Outcome::Reset(_)), "{outcome:?}");
    // UNIMPLEMENTED, though the request never ends.
    let unknown = begin(&mut raw, "/no.such.Service/Method", &[]);
    assert_eq!(raw.outcome(unknown), Outcome::Status(12));
}
