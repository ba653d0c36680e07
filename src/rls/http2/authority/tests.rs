//! Whole connections through the filter: what it changes, what it leaves, and what it holds back.

use http::uri::Authority;
use proptest::collection::vec;
use proptest::prelude::*;

use super::filter::AuthorityFilter;
use super::frame::{FRAME_HEADER, HEADERS, LONGEST_PAYLOAD, PADDED, PREFACE, PRIORITY};
use super::hpack::Coding;
use super::{InvalidAuthority, huffman};

pub(super) const ISTIO: &str = "outbound|8081||ratelimit.default.svc.cluster.local";
pub(super) const ISTIO_SANITIZED: &str = "outbound+8081++ratelimit.default.svc.cluster.local";

/// An integer with the given bits above its prefix (RFC 7541 §5.1).
fn coded_integer(high: u8, prefix: u32, value: usize) -> Vec<u8> {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return vec![high | u8::try_from(value).unwrap()];
    }
    let mut octets = vec![high | u8::try_from(mask).unwrap()];
    let mut rest = value - mask;
    while rest >= 0x80 {
        octets.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    octets.push(u8::try_from(rest).unwrap());
    octets
}

pub(super) fn string(coding: Coding, text: &[u8]) -> Vec<u8> {
    let (flag, octets) = match coding {
        Coding::Raw => (0, text.to_vec()),
        Coding::Huffman => (0x80, huffman::tests::encode(text)),
    };
    [coded_integer(flag, 7, octets.len()), octets].concat()
}

pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A literal `:authority` with incremental indexing, its name from the static table.
pub(super) fn authority(coding: Coding, value: &[u8]) -> Vec<u8> {
    [vec![0x41], string(coding, value)].concat()
}

/// HEADERS that end both block and stream, for a `POST` over `http`.
pub(super) fn request(stream: u8, path: &str, authority: &[u8]) -> Vec<u8> {
    let path = [vec![0x04], string(Coding::Huffman, path.as_bytes())].concat();
    let block = [&[0x83, 0x86], authority, &path].concat();
    frame(HEADERS, 0x5, stream, &block)
}

/// The preface, then `frames`.
pub(super) fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.as_slice(), &frame(4, 0, 0, &[]), &frames.concat()].concat()
}

/// What passes the filter if `bytes` come in pieces of these sizes, over and over.
fn sanitized_in_pieces(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, AuthorityFilter) {
    let mut filter = AuthorityFilter::new(InvalidAuthority::Accept);
    let (mut pending, mut passed) = (Vec::new(), Vec::new());
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        pending.extend_from_slice(piece);
        rest = later;
        let count = filter.sanitize(&mut pending, |_| ());
        passed.extend(pending.drain(..count));
        assert!(pending.len() < FRAME_HEADER + LONGEST_PAYLOAD);
    }
    passed.append(&mut pending);
    (passed, filter)
}

fn sanitized(bytes: &[u8]) -> Vec<u8> {
    sanitized_in_pieces(bytes, &[usize::MAX]).0
}

const CODINGS: [Coding; 2] = [Coding::Raw, Coding::Huffman];

#[test]
fn a_pipe_in_the_authority_becomes_a_plus() {
    for coding in CODINGS {
        let bytes = connection(&[request(1, "/a", &authority(coding, ISTIO.as_bytes()))]);
        let expected = connection(&[request(1, "/a", &authority(coding, ISTIO_SANITIZED.as_bytes()))]);
        let (passed, filter) = sanitized_in_pieces(&bytes, &[usize::MAX]);
        assert_eq!(passed, expected, "{coding:?}");
        assert_eq!(filter.sanitized(), 1);
        assert_eq!(filter.last_original(), Some(ISTIO));
    }
}

#[test]
fn as_little_as_possible_is_replaced() {
    for (original, expected) in [
        ("rate limit/v1?x", "rate-limit-v1!x"),
        ("user:secret@host|1:80", "user:secret@host+1:80"),
        ("[fe80::1%25eth0]:80|", "[fe80::1%25eth0]:80+"),
        ("a:b:c", "axbxc"),
        ("[::1", "~xx1"),
        ("user@", "user~"),
        ("host%41", "host-41"),
        ("a|b:c:d", "a+bxcxd"),
    ] {
        for coding in CODINGS {
            assert_eq!(
                sanitized(&connection(&[request(1, "/a", &authority(coding, original.as_bytes()))])),
                connection(&[request(1, "/a", &authority(coding, expected.as_bytes()))]),
                "{original} {coding:?}"
            );
        }
    }
}

#[test]
fn a_valid_or_empty_authority_is_left_alone() {
    for value in [
        "",
        "ratelimit",
        "ratelimit:8081",
        "127.0.0.1:8081",
        "[::1]:8081",
        "user:a%20b@host:80",
        "a+b!$&'()*,;=~_",
    ] {
        for coding in CODINGS {
            let bytes = connection(&[request(1, "/a", &authority(coding, value.as_bytes()))]);
            let (passed, filter) = sanitized_in_pieces(&bytes, &[usize::MAX]);
            assert_eq!(passed, bytes, "{value} {coding:?}");
            assert_eq!((filter.sanitized(), filter.last_original()), (0, None));
        }
    }
}

#[test]
fn a_character_without_a_substitute_is_replaced_only_when_raw() {
    for value in [b"a{b}|".as_slice(), b"a\\b", b"caf\xc3\xa9", b"\xff\x01"] {
        let raw = connection(&[request(1, "/a", &authority(Coding::Raw, value))]);
        assert_ne!(sanitized(&raw), raw, "{value:?}");
        let coded = connection(&[request(1, "/a", &authority(Coding::Huffman, value))]);
        assert_eq!(sanitized(&coded), coded, "{value:?}");
    }
}

#[test]
fn an_authority_is_found_however_its_literal_is_written() {
    let named = |first: u8, coding| {
        let name = string(coding, b":authority");
        [vec![first], name].concat()
    };
    for (form, head) in [
        ("incremental indexing", vec![0x41]),
        ("without indexing", vec![0x01]),
        ("never indexed", vec![0x11]),
        ("a raw name", named(0x40, Coding::Raw)),
        ("a coded name", named(0x40, Coding::Huffman)),
        ("a raw name, not indexed", named(0x00, Coding::Raw)),
        ("a coded name, never indexed", named(0x10, Coding::Huffman)),
    ] {
        let with = |value: &str| {
            let field = [head.clone(), string(Coding::Huffman, value.as_bytes())].concat();
            // Before it, one of each representation with the numbers that just fit the prefix,
            // just do not, and would name the authority if the prefix were a bit shorter.
            let other = string(Coding::Raw, &[b'|'; 300]);
            let literal = |high, prefix, index| [coded_integer(high, prefix, index), other.clone()].concat();
            let block = [
                coded_integer(0x20, 5, 4096),
                coded_integer(0x20, 5, 15),
                literal(0x40, 6, 31),
                literal(0x40, 6, 33),
                literal(0x40, 6, 200),
                literal(0x00, 4, 15),
                literal(0x10, 4, 9),
                coded_integer(0x80, 7, 128),
                coded_integer(0x80, 7, 63),
                field,
            ]
            .concat();
            connection(&[frame(HEADERS, 0x4, 1, &block)])
        };
        assert_eq!(sanitized(&with(ISTIO)), with(ISTIO_SANITIZED), "{form}");
    }
}

#[test]
fn padding_and_priority_are_stepped_over() {
    for (flags, before, after) in [
        (PADDED, vec![3], vec![0; 3]),
        (PRIORITY, vec![0, 0, 0, 0, 16], vec![]),
        (PADDED | PRIORITY, vec![2, 0, 0, 0, 0, 16], vec![0; 2]),
    ] {
        let with = |value: &str| {
            let field = authority(Coding::Huffman, value.as_bytes());
            let payload = [before.clone(), field, after.clone()].concat();
            connection(&[frame(HEADERS, 0x4 | flags, 1, &payload)])
        };
        assert_eq!(sanitized(&with(ISTIO)), with(ISTIO_SANITIZED), "{flags:#x}");
    }
}

#[test]
fn nothing_else_is_touched() {
    let field = authority(Coding::Raw, ISTIO.as_bytes());
    let other = [vec![0x42], string(Coding::Raw, ISTIO.as_bytes())].concat();
    let cut = &field[..field.len() - 1];
    let long = [field.clone(), vec![0x80; LONGEST_PAYLOAD]].concat();
    for (what, bytes) in [
        ("another field", connection(&[frame(HEADERS, 4, 1, &other)])),
        ("DATA", connection(&[frame(0, 0, 1, &field)])),
        ("CONTINUATION", connection(&[frame(9, 4, 1, &field)])),
        ("a literal cut short", connection(&[frame(HEADERS, 0, 1, cut)])),
        ("a frame too long", connection(&[frame(HEADERS, 4, 1, &long)])),
        ("too much padding", connection(&[frame(HEADERS, PADDED, 1, &[9, 1])])),
        ("HTTP/1.1", [b"POST / HTTP/1.1\r\n", field.as_slice()].concat()),
    ] {
        let (passed, filter) = sanitized_in_pieces(&bytes, &[usize::MAX]);
        assert_eq!(passed, bytes, "{what}");
        assert_eq!(filter.sanitized(), 0, "{what}");
    }
}

#[test]
fn only_an_unfinished_headers_frame_is_held_back() {
    let whole = connection(&[frame(0, 0, 1, &[0; 100])]);
    let headers = request(1, "/a", &authority(Coding::Raw, ISTIO.as_bytes()));
    for (shown, pending) in [(whole.len() - 60, 0), (whole.len() + 4, 4), (whole.len() + 30, 30)] {
        let mut bytes = [whole.clone(), headers.clone()].concat();
        let mut filter = AuthorityFilter::new(InvalidAuthority::Accept);
        assert_eq!(filter.sanitize(&mut bytes[..shown], |_| ()), shown - pending);
    }
}

#[test]
fn a_connection_is_foreign_from_its_first_wrong_byte_on() {
    let mut filter = AuthorityFilter::new(InvalidAuthority::Accept);
    assert_eq!(filter.sanitize(&mut b"P".to_vec(), |_| ()), 1);
    assert_eq!(filter.sanitize(&mut b"OST".to_vec(), |_| ()), 3);
    let mut later = connection(&[request(1, "/", &authority(Coding::Raw, b"a|b"))]);
    let before = later.clone();
    assert_eq!(filter.sanitize(&mut later, |_| ()), before.len());
    assert_eq!(later, before);
}

fn any_coding() -> impl Strategy<Value = Coding> {
    prop_oneof![Just(Coding::Raw), Just(Coding::Huffman)]
}

proptest! {
    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(
        values in vec((any_coding(), "[a-z0-9.|:/@%{é-]{0,60}"), 1..5),
        sizes in vec(1_usize..80, 1..20),
    ) {
        let frames: Vec<_> = values
            .iter()
            .flat_map(|(coding, value)| {
                let field = authority(*coding, value.as_bytes());
                [request(1, "/a", &field), frame(0, 1, 1, value.as_bytes())]
            })
            .collect();
        let bytes = connection(&frames);
        let (at_once, filter) = sanitized_in_pieces(&bytes, &[usize::MAX]);
        for sizes in [sizes.as_slice(), &[1]] {
            let (in_pieces, other) = sanitized_in_pieces(&bytes, sizes);
            prop_assert_eq!(&in_pieces, &at_once);
            prop_assert_eq!(other.sanitized(), filter.sanitized());
            prop_assert_eq!(other.last_original(), filter.last_original());
        }
    }

    #[test]
    fn a_second_pass_finds_nothing_left_to_sanitize(
        coding in any_coding(),
        value in "[a-z0-9.|:/@% \\[\\]-]{1,60}",
    ) {
        let bytes = connection(&[request(1, "/a", &authority(coding, value.as_bytes()))]);
        let (once, filter) = sanitized_in_pieces(&bytes, &[usize::MAX]);
        prop_assert_eq!(filter.sanitized() == 0, value.parse::<Authority>().is_ok());
        let (twice, filter) = sanitized_in_pieces(&once, &[usize::MAX]);
        prop_assert_eq!(once, twice);
        prop_assert_eq!(filter.sanitized(), 0);
    }

    #[test]
    fn garbage_passes_in_full_and_without_a_panic(
        payloads in vec((0..12_u8, any::<u8>(), vec(any::<u8>(), 0..200)), 0..6),
        tail in vec(any::<u8>(), 0..200),
        sizes in vec(1_usize..80, 1..8),
    ) {
        let frames: Vec<_> = payloads
            .iter()
            .map(|(kind, flags, payload)| frame(kind % 3, *flags, 1, payload))
            .chain([tail])
            .collect();
        let bytes = connection(&frames);
        let (passed, _) = sanitized_in_pieces(&bytes, &sizes);
        prop_assert_eq!(passed.len(), bytes.len());
        let (passed, _) = sanitized_in_pieces(&bytes[24..], &sizes);
        prop_assert_eq!(passed, &bytes[24..]);
    }
}
