//! The Huffman code of HPACK (RFC 7541 §5.2 and Appendix B).
//!
//! The code is canonical: in the order of code length, then of value, each code is the one before plus one, with zeros
//! appended where the length grows. So the lengths determine the code. The caller relies on the lengths too: a coded string
//! keeps its length if each character is replaced by one with a code of the same length.

/// Code length of each octet and, last, of the end of string.
#[rustfmt::skip]
pub(super) const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const SYMBOLS: usize = 257;
pub(super) const LONGEST: usize = 30;

struct Code {
    /// The code of each symbol, in its low bits.
    of: [u32; SYMBOLS],
    /// The symbols in the order of their codes.
    ordered: [u16; SYMBOLS],
    /// For each length: the code after the last one of that length, and its place in `ordered`.
    past: [(u32, usize); LONGEST + 1],
}

static CODE: Code = {
    let mut code = Code { of: [0; SYMBOLS], ordered: [0; SYMBOLS], past: [(0, 0); LONGEST + 1] };
    let mut next = 0;
    let mut place = 0;
    let mut length = 1;
    while length <= LONGEST {
        next <<= 1;
        let mut symbol: u16 = 0;
        while (symbol as usize) < SYMBOLS {
            if LENGTHS[symbol as usize] as usize == length {
                code.of[symbol as usize] = next;
                code.ordered[place] = symbol;
                next += 1;
                place += 1;
            }
            symbol += 1;
        }
        code.past[length] = (next, place);
        length += 1;
    }
    code
};

/// Decodes a whole string. None if it is invalid by RFC 7541 §5.2: it has a coded end of string, or its padding has eight bits
/// or more, or a zero.
pub(super) fn decode(encoded: &[u8], decoded: &mut Vec<u8>) -> Option<()> {
    decoded.clear();
    let mut code = 0;
    let mut length = 0;
    for byte in encoded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            length += 1;
            let (past, place) = *CODE.past.get(length)?;
            if code < past {
                let back = usize::try_from(past - code).ok()?;
                decoded.push(u8::try_from(CODE.ordered[place - back]).ok()?);
                code = 0;
                length = 0;
            }
        }
    }
    (length < 8 && code == (1 << length) - 1).then_some(())
}

/// Fills `encoded` with the code of `symbols` and then with ones, the padding.
pub(super) fn encode_over(symbols: &[u8], encoded: &mut [u8]) {
    let mut symbols = symbols.iter().map(|&symbol| usize::from(symbol));
    let mut bits: u64 = 0;
    let mut waiting = 0;
    for byte in encoded {
        while waiting < 8 {
            let (code, length) = match symbols.next() {
                Some(symbol) => (CODE.of[symbol], LENGTHS[symbol]),
                None => (0xff, 8),
            };
            bits = bits << length | u64::from(code);
            waiting += length;
        }
        waiting -= 8;
        *byte = (bits >> waiting).to_le_bytes()[0];
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The code of a whole string.
    pub(in crate::rls::http2::authority) fn encode(symbols: &[u8]) -> Vec<u8> {
        let bits: usize = symbols.iter().map(|&symbol| usize::from(LENGTHS[usize::from(symbol)])).sum();
        let mut encoded = vec![0; bits.div_ceil(8)];
        encode_over(symbols, &mut encoded);
        encoded
    }

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_code_is_complete() {
        let kraft: u64 = LENGTHS.iter().map(|&length| 1 << (30 - length)).sum();
        assert_eq!(kraft, 1 << 30);
    }

    #[test]
    fn the_codes_are_those_of_appendix_b() {
        for (symbol, code, length) in [
            (0, 0x1ff8, 13),
            (9, 0x00ff_ffea, 24),
            (10, 0x3fff_fffc, 30),
            (22, 0x3fff_fffe, 30),
            (usize::from(b' '), 0x14, 6),
            (usize::from(b'+'), 0x7fb, 11),
            (usize::from(b'0'), 0x0, 5),
            (usize::from(b':'), 0x5c, 7),
            (usize::from(b'Z'), 0xfd, 8),
            (usize::from(b'z'), 0x7b, 7),
            (usize::from(b'|'), 0x7fc, 11),
            (127, 0x0fff_fffc, 28),
            (128, 0xf_ffe6, 20),
            (195, 0x7_fff1, 19),
            (199, 0x01ff_ffec, 25),
            (203, 0x07ff_ffde, 27),
            (249, 0x0fff_fffe, 28),
            (255, 0x03ff_ffee, 26),
            (256, 0x3fff_ffff, 30),
        ] {
            assert_eq!((CODE.of[symbol], LENGTHS[symbol]), (code, length), "symbol {symbol}");
        }
    }

    #[test]
    fn the_strings_of_appendix_c_are_coded_as_given_there() {
        for (text, digits) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("302", "6402"),
            ("private", "aec3771a4b"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
            ("307", "640eff"),
            ("gzip", "9bd9ab"),
            (
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587\
                 316065c003ed4ee5b1063d5007",
            ),
        ] {
            let encoded = hex(digits);
            assert_eq!(encode(text.as_bytes()), encoded, "{text}");
            let mut decoded = Vec::new();
            assert_eq!(decode(&encoded, &mut decoded), Some(()), "{text}");
            assert_eq!(decoded, text.as_bytes());
        }
    }

    #[test]
    fn every_octet_survives_being_coded() {
        let octets: Vec<u8> = (0..=u8::MAX).collect();
        let mut decoded = Vec::new();
        assert_eq!(decode(&encode(&octets), &mut decoded), Some(()));
        assert_eq!(decoded, octets);
    }

    #[test]
    fn bad_padding_and_a_coded_end_of_string_are_refused() {
        for (what, encoded) in [
            ("a byte of padding", vec![0x1f, 0xff]),
            ("padding of zeros", vec![0x18]),
            ("an end of string", vec![0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(decode(&encoded, &mut Vec::new()), None, "{what}");
        }
    }
}
