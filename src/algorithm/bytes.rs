//! Numbers as bytes, for cells that a store keeps outside of this process: varints (LEB128), times in nanoseconds since 1970.

use crate::model::Timestamp;

/// Why bytes are no cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is no such kind of cell.
    #[error("there is no kind {0} of counters")]
    Kind(u8),
    /// The bytes end too early.
    #[error("it is cut off")]
    CutOff,
    /// A field has a value that is never written.
    #[error("its {0} cannot be")]
    Impossible(&'static str),
}

/// Appends a number.
pub(super) fn write(number: u64, bytes: &mut Vec<u8>) {
    write_wide(u128::from(number), bytes);
}

/// Appends a time.
pub(super) fn write_time(time: Timestamp, bytes: &mut Vec<u8>) {
    write(time.as_nanos(), bytes);
}

/// Appends a number of at most 65 bits.
pub(super) fn write_wide(mut number: u128, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

/// Takes one byte.
pub(super) fn byte(bytes: &mut &[u8]) -> Result<u8, Malformed> {
    let (&first, rest) = bytes.split_first().ok_or(Malformed::CutOff)?;
    *bytes = rest;
    Ok(first)
}

/// Takes a number of at most 65 bits.
pub(super) fn wide(bytes: &mut &[u8]) -> Result<u128, Malformed> {
    let mut number = 0;
    for at in 0..10 {
        let next = byte(bytes)?;
        number |= u128::from(next & 0x7f) << (7 * at);
        if next & 0x80 == 0 {
            // Each number is written in one way only.
            return if next == 0 && at > 0 { Err(Malformed::Impossible("number")) } else { Ok(number) };
        }
    }
    Err(Malformed::Impossible("number"))
}

/// Takes a number.
pub(super) fn number(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    wide(bytes)?.try_into().map_err(|_| Malformed::Impossible("number"))
}

/// Takes a time.
pub(super) fn time(bytes: &mut &[u8]) -> Result<Timestamp, Malformed> {
    number(bytes).map(Timestamp::from_nanos)
}
