//! More frames than any client has a reason to send.

use super::process::peak;
use super::raw::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, HEADERS, LONGEST, PING, PRIORITY, RST_STREAM, Raw,
    WINDOW_UPDATE, begun, frame, settings, whole,
};
use super::{Others, POLICY, free, hpack};
use crate::support::Spillway;

/// How many frames, or pairs of them, a flood has.
const FLOOD: u32 = 20_000;

/// Sends a flood, of which nothing that comes back is read, while others make their calls; tells why the connection
/// ended, if it did before all of the flood was taken.
fn flooded(spillway: &Spillway, flood: impl Fn(u32) -> Vec<u8> + Sync) -> Option<String> {
    let others = Others::of(spillway);
    others.are_answered(spillway);
    let before = peak(spillway);
    let mut raw = Raw::to(spillway);
    let end = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            for first in (0..FLOOD).step_by(500) {
                let bytes: Vec<u8> = (first..first + 500).flat_map(&flood).collect();
                if !raw.send(&bytes) {
                    break;
                }
            }
            raw.is_alive();
            raw.end
        });
        others.are_answered(spillway);
        attacker.join().unwrap()
    });
    others.are_answered(spillway);
    let more = peak(spillway).saturating_sub(before);
    assert!(more < 16 << 10, "{more} KiB for what is not read back");
    end
}

/// What makes the `n`th frame, or pair, of one.
type Flood<'a> = &'a (dyn Fn(u32) -> Vec<u8> + Sync);

/// The `n`th stream of a client.
fn nth(n: u32) -> u32 {
    2 * n + 1
}

#[test]
fn a_client_that_takes_its_calls_back_is_cut_off() {
    let taken_back = |n| frame(RST_STREAM, 0, nth(n), &CANCEL.to_be_bytes());
    let message = free();
    let begun: Flood<'_> = &|n| [begun(nth(n)), taken_back(n)].concat();
    let sent: Flood<'_> = &|n| [whole(nth(n), &message), taken_back(n)].concat();
    for (what, flood) in [("just begun", begun), ("all sent", sent)] {
        let mut spillway = Spillway::serving(POLICY);
        let end = flooded(&spillway, flood);
        assert!(end.is_some(), "{FLOOD} calls that were {what}, all cancelled, were all taken");
        let line = spillway.log_line("connection ended");
        assert!(line.contains("cancels its calls"), "{what}: {line}");
    }
}

#[test]
fn a_client_that_has_as_many_calls_answered_as_it_takes_back_is_left_alone() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    for _ in 0..30 {
        // All that come at once are cancelled at once, as Envoy does when it has waited long enough for many calls.
        let (mut back, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let stream = raw.stream();
            bytes.extend(begun(stream));
            back.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        }
        let answered: Vec<_> = (0..50).map(|_| raw.stream()).collect();
        bytes.extend(back);
        bytes.extend(answered.iter().flat_map(|stream| whole(*stream, &free())));
        raw.send(&bytes);
        for stream in answered {
            let outcome = raw.outcome(stream);
            assert!(outcome.is_decision(), "{outcome:?}");
        }
    }
    assert!(raw.is_alive(), "{:?}", raw.end);
}

#[test]
fn an_envoy_all_of_whose_calls_time_out_keeps_its_connection() {
    let spillway = Spillway::serving(POLICY);
    let mut raw = Raw::to(&spillway);
    for _ in 0..20 {
        let calls: Vec<_> = (0..1_000).map(|_| raw.stream()).collect();
        let begun = calls.iter().flat_map(|stream| begun(*stream));
        let back = calls.iter().flat_map(|stream| frame(RST_STREAM, 0, *stream, &CANCEL.to_be_bytes()));
        raw.send(&begun.chain(back).collect::<Vec<_>>());
    }
    assert!(raw.is_alive(), "{:?}", raw.end);
    raw.call(&free());
}

#[test]
fn a_client_that_makes_the_server_take_its_calls_back_is_cut_off() {
    let spillway = Spillway::serving(POLICY);
    // A window that grows by nothing is an error, for which a stream is reset.
    let end = flooded(&spillway, |n| {
        [begun(nth(n)), frame(WINDOW_UPDATE, 0, nth(n), &0_u32.to_be_bytes())].concat()
    });
    assert!(end.is_some(), "{FLOOD} broken calls were all taken");
}

#[test]
fn a_client_that_sends_frames_which_belong_to_no_call_is_cut_off() {
    let floods: [(&str, Flood<'_>); 6] = [
        ("PING", &|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
        ("SETTINGS", &|_| settings(&[])),
        // The first one begins the call.
        ("empty DATA", &|n| if n == 0 { begun(nth(0)) } else { frame(DATA, 0, nth(0), &[]) }),
        ("PRIORITY", &|n| frame(PRIORITY, 0, nth(n), &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", &|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("an unknown type", &|n| frame(0xfa, 0, 0, &n.to_be_bytes())),
    ];
    let mut ended = Vec::new();
    let mut taken = Vec::new();
    for (what, flood) in floods {
        let spillway = Spillway::serving(POLICY);
        match flooded(&spillway, flood) {
            Some(_) => ended.push((what, spillway)),
            None => taken.push(what),
        }
    }
    assert!(taken.is_empty(), "{FLOOD} frames of each of {taken:?} were all taken");
    for (what, mut spillway) in ended {
        // Of empty DATA h2 itself takes a hundred and ends the connection at the next, long before anybody else would.
        if what != "empty DATA" {
            let line = spillway.log_line("connection ended");
            assert!(line.contains("control frames"), "{what}: {line}");
        }
    }
}

#[test]
fn a_client_that_pings_beside_its_calls_is_left_alone() {
    let spillway = Spillway::serving(POLICY);
    // Few for any client; and many, but less than ten for each call.
    for (calls, pings) in [(1, 50), (200, 7)] {
        let mut raw = Raw::to(&spillway);
        for _ in 0..calls {
            raw.send(&frame(PING, 0, 0, &[0; 8]).repeat(pings));
            raw.call(&free());
        }
        assert!(raw.is_alive(), "{:?}", raw.end);
    }
}

#[test]
fn headers_without_an_end_end_the_connection() {
    const FRAMES: usize = 4096;
    // The longest frames there may be, and the shortest.
    for length in [LONGEST, 0] {
        let spillway = Spillway::serving(POLICY);
        let others = Others::of(&spillway);
        let mut raw = Raw::to(&spillway);
        let mut block = hpack::call(&[]);
        // A header whose value is longer than all that follows: nothing of it can be put away until it is whole.
        block.extend_from_slice(b"\0\x01x\x7f\x80\x80\x80\x7f");
        raw.send(&frame(HEADERS, 0, 1, &block));
        let more = frame(CONTINUATION, 0, 1, &vec![b'v'; length]);
        let sent = (0..FRAMES).take_while(|_| raw.send(&more)).count();
        raw.send(&frame(CONTINUATION, END_HEADERS, 1, &[]));
        assert!(!raw.is_alive(), "{sent} frames of {length} bytes were all taken");
        others.are_answered(&spillway);
    }
}
