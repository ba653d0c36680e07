//! A counter as bytes, for stores that keep it outside of this process.
//!
//! | Bytes | Meaning |
//! |---|---|
//! | 1 | the version of this format, [`VERSION`] |
//! | 1 | the kind of cell: 0 empty, 1 window, 2 period, 3 bucket, 4 log |
//! | 1 | what would be lost with it ([`Worth`]); not of an empty cell |
//! | … | the fields of its kind, as varints (LEB128), times in nanoseconds since 1970 |
//!
//! A log is the time it ends, how many entries it has, and for each how much later it is than the one before (the first: than
//! 1970), times two, plus one where a number of hits follows; else it is a single hit.
//!
//! What another version wrote is an error for whoever asks for the counter, and never an empty cell: that would admit what was
//! used up already.

use crate::algorithm::{Cell, Log, Worth};
use crate::model::Timestamp;

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;

const EMPTY: u8 = 0;
const WINDOW: u8 = 1;
const PERIOD: u8 = 2;
const BUCKET: u8 = 3;
const LOG: u8 = 4;

/// Why bytes are no cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version of Spillway wrote them.
    #[error("it is written in version {0} of the format, and this program reads version {VERSION}")]
    Version(u8),
    /// There is no such kind of cell.
    #[error("there is no kind {0} of counters")]
    Kind(u8),
    /// They end too early.
    #[error("it is cut off")]
    CutOff,
    /// They go on after the end.
    #[error("it is followed by {0} bytes that do not belong to it")]
    TooLong(usize),
    /// A field has a value that is never written.
    #[error("its {0} cannot be")]
    Impossible(&'static str),
}

/// Appends `cell` to `bytes`.
pub fn encode(cell: &Cell, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    let mut begin = |kind: u8, worth: Worth| bytes.extend([kind, worth.to_byte()]);
    match cell {
        Cell::Empty => bytes.push(EMPTY),
        Cell::Window { end, used, worth } => {
            begin(WINDOW, *worth);
            write(end.as_nanos(), bytes);
            write(*used, bytes);
        }
        Cell::Period { end, used, length_s, worth } => {
            begin(PERIOD, *worth);
            write(end.as_nanos(), bytes);
            write(*used, bytes);
            write(u64::from(*length_s), bytes);
        }
        Cell::Bucket { tat, seen, worth } => {
            begin(BUCKET, *worth);
            write(tat.as_nanos(), bytes);
            write(seen.as_nanos(), bytes);
        }
        Cell::Log(log, worth) => {
            begin(LOG, *worth);
            write(log.until().as_nanos(), bytes);
            write(log.entries().count() as u64, bytes);
            let mut before = 0;
            for (stamp, hits) in log.entries() {
                let later = stamp.as_nanos() - before;
                before = stamp.as_nanos();
                write_wide(u128::from(later) << 1 | u128::from(hits > 1), bytes);
                if hits > 1 {
                    write(hits, bytes);
                }
            }
        }
    }
}

/// The cell that `bytes` are, all of them.
///
/// # Errors
///
/// When they are none, or another version's.
pub fn decode(mut bytes: &[u8]) -> Result<Cell, DecodeError> {
    let bytes = &mut bytes;
    match byte(bytes)? {
        VERSION => {}
        version => return Err(DecodeError::Version(version)),
    }
    let cell = match byte(bytes)? {
        EMPTY => Cell::Empty,
        WINDOW => {
            let worth = Worth::from_byte(byte(bytes)?);
            Cell::Window { worth, end: time(bytes)?, used: number(bytes)? }
        }
        PERIOD => {
            let worth = Worth::from_byte(byte(bytes)?);
            let (end, used) = (time(bytes)?, number(bytes)?);
            let length_s = number(bytes)?.try_into().map_err(|_| DecodeError::Impossible("length"))?;
            Cell::Period { end, used, length_s, worth }
        }
        BUCKET => {
            let worth = Worth::from_byte(byte(bytes)?);
            Cell::Bucket { worth, tat: time(bytes)?, seen: time(bytes)? }
        }
        LOG => {
            let worth = Worth::from_byte(byte(bytes)?);
            Cell::Log(Box::new(log(bytes)?), worth)
        }
        kind => return Err(DecodeError::Kind(kind)),
    };
    if bytes.is_empty() { Ok(cell) } else { Err(DecodeError::TooLong(bytes.len())) }
}

fn log(bytes: &mut &[u8]) -> Result<Log, DecodeError> {
    let until = time(bytes)?;
    let entries = number(bytes)?;
    let (mut log, mut stamp, mut total) = (Log::default(), 0_u64, 0_u64);
    for at in 0..entries {
        let written = wide(bytes)?;
        let later = u64::try_from(written >> 1).map_err(|_| DecodeError::Impossible("time of a hit"))?;
        let hits = if written & 1 == 1 { number(bytes)? } else { 1 };
        if at > 0 && later == 0 {
            return Err(DecodeError::Impossible("order of hits"));
        }
        stamp = stamp.checked_add(later).ok_or(DecodeError::Impossible("time of a hit"))?;
        total = total.checked_add(hits).ok_or(DecodeError::Impossible("number of hits"))?;
        if hits == 0 {
            return Err(DecodeError::Impossible("number of hits"));
        }
        log.restore(Timestamp::from_nanos(stamp), hits, until);
    }
    if entries == 0 {
        return Err(DecodeError::Impossible("number of hits"));
    }
    Ok(log)
}

fn write(number: u64, bytes: &mut Vec<u8>) {
    write_wide(u128::from(number), bytes);
}

fn write_wide(mut number: u128, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn byte(bytes: &mut &[u8]) -> Result<u8, DecodeError> {
    let (&first, rest) = bytes.split_first().ok_or(DecodeError::CutOff)?;
    *bytes = rest;
    Ok(first)
}

/// A number of at most 65 bits: the time of a hit, and whether its number follows.
fn wide(bytes: &mut &[u8]) -> Result<u128, DecodeError> {
    let mut number = 0;
    for at in 0..10 {
        let next = byte(bytes)?;
        number |= u128::from(next & 0x7f) << (7 * at);
        if next & 0x80 == 0 {
            // Each number is written in one way only.
            return if next == 0 && at > 0 { Err(DecodeError::Impossible("number")) } else { Ok(number) };
        }
    }
    Err(DecodeError::Impossible("number"))
}

fn number(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    wide(bytes)?.try_into().map_err(|_| DecodeError::Impossible("number"))
}

fn time(bytes: &mut &[u8]) -> Result<Timestamp, DecodeError> {
    number(bytes).map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::{Algorithm, Commit};
    use crate::model::Hits;

    fn bytes(cell: &Cell) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(cell, &mut bytes);
        bytes
    }

    /// Any algorithm, and a history of hits under it.
    fn cell() -> impl Strategy<Value = Cell> {
        let window = Duration::from_secs(60);
        let period = Algorithm::Period { start: Timestamp::EPOCH, end: Timestamp::from_nanos(u64::MAX) };
        let algorithm = prop_oneof![
            Just(Algorithm::aligned(window)),
            Just(Algorithm::Anchored { window }),
            Just(period),
            Just(Algorithm::Sliding { window }),
            Just(Algorithm::Bucket { window, burst: 7 }),
        ];
        let step = (0..30_000_000_000_u64, prop_oneof![Just(1), 1..5_u64, 1..u64::MAX]);
        (algorithm, any::<u32>(), prop::collection::vec(step, 0..200)).prop_map(
            |(algorithm, start, steps)| {
                let (mut cell, mut now) = (Cell::default(), u64::from(start) * 1_000_000_000);
                for (later, hits) in steps {
                    now += later;
                    algorithm.step(
                        1_000,
                        &mut cell,
                        Hits::charge(hits),
                        Commit::Always,
                        Timestamp::from_nanos(now),
                    );
                }
                cell
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(cell in cell()) {
            let bytes = bytes(&cell);
            let read = decode(&bytes).unwrap();
            prop_assert_eq!(&read, &cell);
            prop_assert_eq!(read.worth(), cell.worth());
            prop_assert_eq!(read.until(), cell.until());
        }

        #[test]
        fn what_is_cut_off_or_followed_by_more_is_no_cell(cell in cell(), cut in any::<prop::sample::Index>()) {
            let mut bytes = bytes(&cell);
            let cut = cut.index(bytes.len());
            prop_assert_eq!(decode(&bytes[..cut]), Err(DecodeError::CutOff));
            bytes.push(0);
            prop_assert_eq!(decode(&bytes), Err(DecodeError::TooLong(1)));
        }

        #[test]
        fn no_bytes_panic_and_each_cell_is_written_in_one_way(
            kind in 0..6_u8, rest in prop::collection::vec(any::<u8>(), 0..40)
        ) {
            let written = [&[VERSION, kind], rest.as_slice()].concat();
            if let Ok(cell) = decode(&written) {
                prop_assert_eq!(bytes(&cell), written);
            }
        }
    }

    /// These bytes are in somebody's database: they may change only together with [`VERSION`].
    #[test]
    fn version_1_is_what_it_always_was() {
        let at = Timestamp::from_secs(1);
        let second = [0x80, 0x94, 0xeb, 0xdc, 0x03];
        let window = Cell::Window { end: at, used: 300, worth: Worth::from_byte(7) };
        let period = Cell::Period { end: at, used: 5, length_s: 128, worth: Worth::from_byte(255) };
        let bucket = Cell::Bucket { tat: at, seen: Timestamp::EPOCH, worth: Worth::from_byte(0) };
        let mut log = Log::default();
        log.restore(Timestamp::from_nanos(3), 1, at);
        log.restore(Timestamp::from_nanos(5), 9, at);
        for (cell, expected) in [
            (Cell::Empty, vec![1, 0]),
            (window, [&[1, 1, 7][..], &second, &[0xac, 0x02]].concat()),
            (period, [&[1, 2, 255][..], &second, &[5, 0x80, 0x01]].concat()),
            (bucket, [&[1, 3, 0][..], &second, &[0]].concat()),
            (
                Cell::Log(Box::new(log), Worth::from_byte(1)),
                [&[1, 4, 1][..], &second, &[2, 6, 5, 9]].concat(),
            ),
        ] {
            assert_eq!(bytes(&cell), expected, "{cell:?}");
            assert_eq!(decode(&expected), Ok(cell));
        }
    }

    #[test]
    fn another_version_is_an_error_and_no_empty_cell() {
        assert_eq!(decode(&[2, 0]), Err(DecodeError::Version(2)));
        assert_eq!(decode(&[]), Err(DecodeError::CutOff));
        assert_eq!(
            decode(&[2]).unwrap_err().to_string(),
            "it is written in version 2 of the format, and this program reads version 1"
        );
    }

    #[test]
    fn six_hundred_hits_of_an_hour_take_five_bytes_each() {
        let algorithm = Algorithm::Sliding { window: Duration::from_secs(3_600) };
        let mut cell = Cell::default();
        for hit in 0..600 {
            let now = Timestamp::from_nanos(1_800_000_000_000_000_000 + hit * 6_000_000_007);
            algorithm.step(600, &mut cell, Hits::ONE, Commit::IfAdmitted, now);
        }
        assert!(bytes(&cell).len() < 600 * 5 + 32, "{}", bytes(&cell).len());
    }
}
