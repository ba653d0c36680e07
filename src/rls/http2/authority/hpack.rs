//! The fields of a header block (RFC 7541): where the values of `:authority` are.

use std::ops::Range;

/// The index of `:authority` in the static table (RFC 7541 Appendix A).
const AUTHORITY_INDEX: usize = 1;

/// `:authority`, Huffman coded.
pub(super) const AUTHORITY_CODED: [u8; 8] = [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// How the bytes of a string literal encode its characters (RFC 7541 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// One byte for each character.
    Raw,
    /// The Huffman code of RFC 7541 Appendix B.
    Huffman,
}

/// Calls `each` with the value of every `:authority` literal in `block`, up to the end of the block or its first incomplete
/// field. Other representations (RFC 7541 §6) are skipped.
pub(super) fn for_each_authority(block: &mut [u8], mut each: impl FnMut(Coding, &mut [u8])) {
    let mut at = 0;
    while at < block.len() {
        match next_field(block, &mut at) {
            Some(Field::Authority(value)) => each(value.coding, &mut block[value.span]),
            Some(Field::Other) => {}
            None => return,
        }
    }
}

enum Field {
    /// A literal with the name `:authority`.
    Authority(Literal),
    /// Anything else.
    Other,
}

/// The field that begins at `at`, which moves behind it; none if it is incomplete.
fn next_field(block: &[u8], at: &mut usize) -> Option<Field> {
    let (prefix, is_literal) = match block.get(*at)?.leading_zeros() {
        0 => (7, false),
        1 => (6, true),
        2 => (5, false),
        _ => (4, true),
    };
    let index = integer(block, at, prefix)?;
    if !is_literal {
        return Some(Field::Other);
    }
    let is_authority = match index {
        0 => Literal::read(block, at)?.is_authority_name(block),
        index => index == AUTHORITY_INDEX,
    };
    let value = Literal::read(block, at)?;
    Some(if is_authority { Field::Authority(value) } else { Field::Other })
}

/// A string literal (RFC 7541 §5.2) that lies completely within its block.
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

    fn is_authority_name(&self, block: &[u8]) -> bool {
        let name = &block[self.span.clone()];
        match self.coding {
            Coding::Raw => name == b":authority",
            Coding::Huffman => name == AUTHORITY_CODED,
        }
    }
}

/// Reads an integer whose low `prefix` bits are in its first byte (RFC 7541 §5.1). One of more than five bytes is refused,
/// as in h2.
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
