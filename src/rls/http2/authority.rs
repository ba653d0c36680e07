//! Lets in the calls whose `:authority` is not a URI authority.
//!
//! Envoy sends the name of the cluster it calls as `:authority`, and Istio names clusters
//! `outbound|8081||ratelimit.default.svc.cluster.local`. A `|` has no place in a URI (RFC 3986
//! §3.2), so h2 resets such a stream before any handler hears of it, and Envoy, which by default
//! lets traffic through when its rate limit server fails, limits nothing at all.
//!
//! [`SanitizedStream`] sits between the socket and h2 and overwrites the offending characters of such
//! an authority while it is still HPACK (RFC 7541). Nothing ever changes its length, which is what
//! keeps this small:
//!
//! * a character is replaced by one whose Huffman code is equally long, so the frame stays as
//!   long as its header says;
//! * a field has as many characters as before, so it takes up the same room in the dynamic table
//!   (RFC 7541 §4.1): the client's table and h2's evict in step, no table is kept here, and a later
//!   request that refers to the entry by its index finds the sanitized value.
//!
//! No limit depends on the authority, so nothing is lost by altering it. Some are left as they
//! are, and h2 deals with them as it always did: one that is empty; one that is Huffman coded and
//! has a character with no stand-in of its code length (`{`, `<`, `\`, `^`, `#` and the like); one
//! outside the HEADERS frame, in a CONTINUATION; and one whose *name* is given by an index into the
//! dynamic table. Encoders prefer the static table, which has `:authority` in its first place.

mod characters;
mod huffman;
mod stream;

use std::ops::Range;

use characters::{acceptable, sanitize};

pub(super) use stream::SanitizedStream;

/// What a client sends first on an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length, type, flags and stream of a frame (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;

/// The longest payload a server accepts that has not announced another limit (RFC 9113 §4.2).
/// A longer frame is not pending back: h2 refuses it anyway.
const LONGEST_PAYLOAD: usize = 16_384;

/// Type and flags of HEADERS, the frame a request starts with (RFC 9113 §6.2).
pub(super) const HEADERS: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What the header of a frame says (RFC 9113 §4.1), but for its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: usize,
    /// Zero of frames that belong to the connection.
    pub(super) stream: u32,
}

/// Where in the client's byte stream the next byte stands.
#[derive(Debug, Clone, Copy)]
enum Position {
    /// In the preface, of which this much has been seen.
    Preface(usize),
    /// At the first byte of a frame.
    Boundary,
    /// In a frame of no interest which has this much left.
    Within(usize),
    /// In something that is not HTTP/2 and is never looked at again.
    Foreign,
}

/// Finds and sanitizes authorities in the bytes of one connection; does no I/O itself.
#[derive(Debug)]
pub(super) struct AuthorityFilter {
    position: Position,
    sanitized: u64,
    last_original: Option<String>,
    /// The value under inspection, decoded; kept for its allocation.
    decoded: Vec<u8>,
}

impl Default for AuthorityFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl AuthorityFilter {
    /// A filter for a connection of which nothing has been read.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { position: Position::Preface(0), sanitized: 0, last_original: None, decoded: Vec::new() }
    }

    /// Whether the preface has come, and was one.
    fn has_begun(&self) -> bool {
        !matches!(self.position, Position::Preface(_) | Position::Foreign)
    }

    /// How many authorities were sanitized on this connection. A reference to the dynamic table
    /// does not count again.
    #[cfg(test)]
    pub(super) fn sanitized(&self) -> u64 {
        self.sanitized
    }

    /// The authority sanitized last, as the client sent it (lossily decoded).
    #[must_use]
    pub(super) fn last_original(&self) -> Option<&str> {
        self.last_original.as_deref()
    }

    /// Looks through `bytes`, the next of the connection, and sanitizes them in place.
    ///
    /// Returns how many may be passed on now. The rest is an unfinished HEADERS frame (or too
    /// little of a frame to tell) and has to be offered again, followed by what comes next. It is
    /// always shorter than the longest HEADERS frame.
    ///
    /// `see` is shown each frame once, when it is passed on.
    pub(super) fn sanitize(&mut self, bytes: &mut [u8], mut see: impl FnMut(FrameHead)) -> usize {
        let mut at = 0;
        loop {
            let rest = &mut bytes[at..];
            match self.position {
                Position::Foreign => return bytes.len(),
                Position::Preface(seen) => {
                    let expected = &PREFACE[seen..];
                    let taken = expected.len().min(rest.len());
                    if rest[..taken] != expected[..taken] {
                        self.position = Position::Foreign;
                        continue;
                    }
                    at += taken;
                    if taken < expected.len() {
                        self.position = Position::Preface(seen + taken);
                        return at;
                    }
                    self.position = Position::Boundary;
                }
                Position::Within(left) => {
                    let taken = left.min(rest.len());
                    at += taken;
                    if taken < left {
                        self.position = Position::Within(left - taken);
                        return at;
                    }
                    self.position = Position::Boundary;
                }
                Position::Boundary => {
                    let Some(&[high, middle, low, kind, flags, a, b, c, d]) =
                        rest.first_chunk::<FRAME_HEADER>()
                    else {
                        return at;
                    };
                    // The first bit is reserved (RFC 9113 §4.1).
                    let stream = u32::from_be_bytes([a & 0x7f, b, c, d]);
                    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                    let end = FRAME_HEADER + length;
                    let head = FrameHead { kind, flags, length, stream };
                    if kind != HEADERS || length > LONGEST_PAYLOAD {
                        see(head);
                        self.position = Position::Within(end);
                        continue;
                    }
                    let Some(frame) = rest.get_mut(..end) else {
                        return at;
                    };
                    if let Some(block) = field_block(flags, &mut frame[FRAME_HEADER..]) {
                        self.sanitize_block(block);
                    }
                    see(head);
                    at += end;
                }
            }
        }
    }

    /// Walks the field lines of a header block (RFC 7541 §6) up to its end or to the first that
    /// is not whole. Representations other than literals are only stepped over.
    fn sanitize_block(&mut self, block: &mut [u8]) -> Option<()> {
        let mut at = 0;
        while let Some(&first) = block.get(at) {
            let (prefix, literal) = match first.leading_zeros() {
                0 => (7, false),
                1 => (6, true),
                2 => (5, false),
                _ => (4, true),
            };
            let index = integer(block, &mut at, prefix)?;
            if !literal {
                continue;
            }
            let is_authority = if index == 0 {
                let name = Literal::read(block, &mut at)?;
                match name.coding {
                    Coding::Raw => &block[name.span] == b":authority",
                    Coding::Huffman => block[name.span] == AUTHORITY_CODED,
                }
            } else {
                index == AUTHORITY_INDEX
            };
            let value = Literal::read(block, &mut at)?;
            if is_authority {
                self.sanitize_value(value.coding, &mut block[value.span]);
            }
        }
        Some(())
    }

    /// Sanitizes one value, unless it is acceptable, empty, or beyond sanitizing.
    fn sanitize_value(&mut self, coding: Coding, encoded: &mut [u8]) -> Option<()> {
        match coding {
            Coding::Raw => {
                self.decoded.clear();
                self.decoded.extend_from_slice(encoded);
            }
            Coding::Huffman => huffman::decode(encoded, &mut self.decoded)?,
        }
        if self.decoded.is_empty() || acceptable(&self.decoded) {
            return None;
        }
        let original = String::from_utf8_lossy(&self.decoded).into_owned();
        sanitize(&mut self.decoded, coding)?;
        match coding {
            Coding::Raw => encoded.copy_from_slice(&self.decoded),
            Coding::Huffman => huffman::encode_over(&self.decoded, encoded),
        }
        self.sanitized += 1;
        self.last_original = Some(original);
        Some(())
    }
}

/// The part of a HEADERS payload that is header block: without padding and priority.
fn field_block(flags: u8, payload: &mut [u8]) -> Option<&mut [u8]> {
    let mut start = 0;
    let mut end = payload.len();
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*payload.first()?))?;
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    payload.get_mut(start..end)
}

/// The place of `:authority` in the static table (RFC 7541 Appendix A).
const AUTHORITY_INDEX: usize = 1;

/// `:authority`, Huffman coded.
const AUTHORITY_CODED: [u8; 8] = [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// How the octets of a string literal stand for its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Raw,
    Huffman,
}

/// A string literal (RFC 7541 §5.2) that is wholly within its block.
struct Literal {
    coding: Coding,
    span: Range<usize>,
}

impl Literal {
    fn read(block: &[u8], at: &mut usize) -> Option<Self> {
        let coding = match block.get(*at)? & 0x80 {
            0 => Coding::Raw,
            _ => Coding::Huffman,
        };
        let length = integer(block, at, 7)?;
        let span = *at..at.checked_add(length)?;
        block.get(span.clone())?;
        *at = span.end;
        Some(Self { coding, span })
    }
}

/// Reads an integer whose first octet gives it the low `prefix` bits (RFC 7541 §5.1). Those of
/// more than five octets are refused, as h2 does.
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let octet = *block.get(*at)?;
        *at += 1;
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

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
        let mut filter = AuthorityFilter::new();
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
    fn a_character_without_a_stand_in_is_replaced_only_when_raw() {
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
                let literal =
                    |high, prefix, index| [coded_integer(high, prefix, index), other.clone()].concat();
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
            let mut filter = AuthorityFilter::new();
            assert_eq!(filter.sanitize(&mut bytes[..shown], |_| ()), shown - pending);
        }
    }

    #[test]
    fn a_connection_is_foreign_from_its_first_wrong_byte_on() {
        let mut filter = AuthorityFilter::new();
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
        fn a_second_look_finds_nothing_left_to_mend(
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
}
