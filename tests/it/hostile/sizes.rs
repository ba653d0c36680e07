//! Messages, lists of headers and numbers of calls that are too large.

use super::raw::{
    DATA, END_STREAM, MAX_CONCURRENT_STREAMS, Outcome, REFUSED_STREAM, RST_STREAM, Raw, begun, frame,
    headers, whole,
};
use super::{Code, Others, POLICY, framed, free, hpack};
use crate::rls::{descriptor, request};
use crate::support::{Spillway, directory, serve};

const LARGEST: usize = 16 << 20;
const INTERNAL: Outcome = Outcome::Status(13);

/// `OVER_LIMIT`, and no word about any limit: an error would let the request pass.
fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Decision(answer) if answer.overall_code() == Code::OverLimit && answer.statuses.is_empty())
}

fn prefix(length: usize) -> Vec<u8> {
    [&[0][..], &u32::try_from(length).unwrap().to_be_bytes()].concat()
}

/// A message of `length` bytes that is answered, with its prefix.
fn of_length(length: usize) -> Vec<u8> {
    let of = |value: usize| framed(&request(vec![descriptor(&[("free", &"v".repeat(value))])]));
    let around = of(length).len() - length;
    // Shorter lengths within the message are reported in fewer bytes only far below.
    let message = of(length + 5 - around);
    assert_eq!(message.len(), 5 + length);
    message
}

/// A stream of which the server has only the beginning.
fn begin(raw: &mut Raw) -> u32 {
    let stream = raw.stream();
    raw.send(&begun(stream));
    stream
}

fn finish(raw: &mut Raw, stream: u32, rest: &[u8]) -> Outcome {
    raw.send_data(stream, rest);
    raw.send(&frame(DATA, END_STREAM, stream, &[]));
    raw.outcome(stream)
}

#[test]
fn a_message_that_is_too_long_is_refused_as_soon_as_it_says_so() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let open = begin(&mut raw);
    for length in [LARGEST + 1, 1 << 31, 0xffff_ffff] {
        let stream = begin(&mut raw);
        raw.send_data(stream, &prefix(length));
        let outcome = raw.outcome(stream);
        assert!(is_refused(&outcome), "{length}: {outcome:?}");
        // What was under way already, or comes from a client that does not listen.
        raw.send(&frame(DATA, 0, stream, &[0; 1000]));
        raw.call(&free());
    }
    assert!(finish(&mut raw, open, &free()).is_decision());
    Others::of(&spillway).are_answered(&spillway);
}

#[test]
fn the_prefix_of_a_message_may_come_in_pieces() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let (long, good) = (begin(&mut raw), begin(&mut raw));
    for byte in prefix(LARGEST + 1) {
        raw.send_data(long, &[byte]);
        raw.call(&free());
    }
    assert!(is_refused(&raw.outcome(long)));
    for byte in free() {
        raw.send_data(good, &[byte]);
    }
    assert!(finish(&mut raw, good, &[]).is_decision());
}

#[test]
fn a_message_of_the_greatest_length_is_answered() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let stream = begin(&mut raw);
    assert!(finish(&mut raw, stream, &of_length(LARGEST)).is_decision());
}

#[test]
fn a_message_that_is_not_as_long_as_it_says_is_refused() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let open = begin(&mut raw);
    let message = free();
    let (reported, bytes) = message.split_first_chunk::<5>().unwrap();
    let [.., length] = *reported;
    for reported in [0, length - 1, length + 1, 255] {
        let stream = raw.stream();
        raw.send(&whole(stream, &[&[0, 0, 0, 0, reported], bytes].concat()));
        assert_eq!(raw.outcome(stream), INTERNAL, "{reported} for {length}");
    }
    for piece in [&[][..], &[0], &message[..4], &message[..5], &message.repeat(2)] {
        let stream = raw.stream();
        raw.send(&whole(stream, piece));
        assert_eq!(raw.outcome(stream), INTERNAL, "{piece:?}");
    }
    assert!(finish(&mut raw, open, &message).is_decision());
}

#[test]
fn a_message_that_goes_on_and_on_is_refused_before_its_end() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let open = begin(&mut raw);
    let stream = begin(&mut raw);
    raw.send_data(stream, &free());
    raw.send_data(stream, &vec![0; 1 << 16]);
    assert_eq!(raw.outcome(stream), INTERNAL);
    assert!(finish(&mut raw, open, &free()).is_decision());
}

#[test]
fn unfinished_messages_hold_so_much_of_a_connection_and_no_more() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    // Two of them leave 128 KiB of the 32 MiB, however their prefixes are counted.
    let long = of_length(LARGEST - (1 << 16));
    let (most, last) = long.split_at(long.len() - 1);
    let further = of_length(1 << 20);
    for taken_back in [true, false] {
        let held = [begin(&mut raw), begin(&mut raw)];
        for stream in held {
            raw.send_data(stream, most);
        }
        let stream = begin(&mut raw);
        raw.send_data(stream, &further[..1 << 19]);
        assert!(is_refused(&raw.outcome(stream)));
        // For what is small there is room.
        raw.call(&free());
        for stream in held {
            if taken_back {
                raw.send(&frame(RST_STREAM, 0, stream, &super::raw::CANCEL.to_be_bytes()));
            } else {
                assert!(finish(&mut raw, stream, last).is_decision());
            }
        }
        let stream = begin(&mut raw);
        assert!(finish(&mut raw, stream, &further).is_decision(), "what was held is free again");
    }
    Others::of(&spillway).are_answered(&spillway);
}

#[test]
fn a_call_with_too_many_headers_is_refused_and_no_other() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let open = begin(&mut raw);
    let large = "v".repeat(160_000);
    let many = vec![("x", "v"); 5000];
    for more in [&[("x", large.as_str())][..], &many] {
        let stream = raw.stream();
        raw.send(&headers(stream, &hpack::call(more)));
        match raw.outcome(stream) {
            Outcome::Http(status) => assert_eq!(status, "431"),
            outcome => assert!(matches!(outcome, Outcome::Reset(_)), "{outcome:?}"),
        }
        raw.call(&free());
    }
    assert!(finish(&mut raw, open, &free()).is_decision());
    Others::of(&spillway).are_answered(&spillway);
}

#[test]
fn a_client_may_have_1024_calls_open() {
    const MOST: usize = 1024;
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let open: Vec<_> = (0..MOST).map(|_| begin(&mut raw)).collect();
    let beyond: Vec<_> = (0..50).map(|_| begin(&mut raw)).collect();
    assert!(raw.is_alive(), "{:?}", raw.end);
    assert_eq!(raw.settings.get(&MAX_CONCURRENT_STREAMS), Some(&1024));
    for stream in beyond {
        assert_eq!(raw.outcome(stream), Outcome::Reset(REFUSED_STREAM));
    }
    raw.send(&open.iter().flat_map(|stream| frame(DATA, END_STREAM, *stream, &free())).collect::<Vec<_>>());
    for stream in open {
        let outcome = raw.outcome(stream);
        assert!(outcome.is_decision(), "{outcome:?}");
    }
    raw.call(&free());
    Others::of(&spillway).are_answered(&spillway);
}

#[test]
fn a_request_with_too_many_descriptors_or_entries_is_refused() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    let one = || descriptor(&[("free", "x")]);
    let most = vec![("free", "x"); 1024];
    let more = [&most[..], &[("free", "x")]].concat();
    for (message, refused) in [
        (request((0..1024).map(|_| one()).collect()), false),
        (request((0..1025).map(|_| one()).collect()), true),
        (request(vec![descriptor(&most)]), false),
        (request(vec![one(), descriptor(&more)]), true),
    ] {
        let stream = begin(&mut raw);
        let outcome = finish(&mut raw, stream, &framed(&message));
        assert!(outcome.is_decision());
        assert_eq!(is_refused(&outcome), refused);
    }
    Others::of(&spillway).are_answered(&spillway);
}

#[test]
fn what_is_only_announced_takes_no_room_from_others() {
    let spillway = Spillway::serving(POLICY);
    let mut waiting: Vec<_> = (0..9).map(|_| Raw::to(&spillway)).collect();
    for raw in &mut waiting {
        for _ in 0..2 {
            let stream = begin(raw);
            raw.send_data(stream, &prefix(LARGEST - 5));
            raw.send_data(stream, &[0]);
        }
        assert!(raw.is_alive());
    }
    let mut good = Raw::to(&spillway);
    let stream = begin(&mut good);
    let outcome = finish(&mut good, stream, &of_length(200_000));
    assert!(!is_refused(&outcome) && outcome.is_decision(), "{outcome:?}");
}

#[test]
fn a_deployment_that_only_watches_lets_pass_what_is_beyond_a_bound() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let mut spillway = Spillway::running(serve().arg(config.path()).env("SHADOW_MODE", "true"));
    let mut raw = Raw::to(&spillway);
    let stream = begin(&mut raw);
    raw.send_data(stream, &prefix(LARGEST + 1));
    let outcome = raw.outcome(stream);
    assert!(
        matches!(&outcome, Outcome::Decision(answer) if answer.overall_code() == Code::Ok),
        "{outcome:?}"
    );
    spillway
        .log_line("a request beyond a bound was let pass, as SHADOW_MODE says: a request has at most 16 MiB");
}

#[test]
fn the_beginnings_of_messages_count_when_nothing_follows() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    // Each announces 60,000 bytes, and sends one frame: 32 MiB have room for 559 such.
    let begun: Vec<_> = (0..600)
        .map(|_| {
            let stream = begin(&mut raw);
            raw.send_data(stream, &[prefix(60_000), vec![0; 16_000]].concat());
            stream
        })
        .collect();
    let outcome = raw.outcome(begun[599]);
    assert!(is_refused(&outcome), "{outcome:?}");
    raw.call(&free());
    Others::of(&spillway).are_answered(&spillway);
}
