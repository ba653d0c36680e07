//! A counter as bytes, for stores that keep it outside of this process.
//!
//! | Bytes | Meaning |
//! |---|---|
//! | 1 | the version of this format, [`VERSION`] |
//! | 1 | the kind of cell: 0 empty, or the kind's number in the table of algorithms |
//! | 1 | what would be lost with it ([`Worth`](crate::algorithm::Worth)); not of an empty cell |
//! | … | the fields of its kind, as varints (LEB128), times in nanoseconds since 1970 |
//!
//! What another version wrote is an error for whoever asks for the counter, and never an empty cell: that would admit what was
//! used up already.

use crate::algorithm::{Cell, Malformed};

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;

/// Why bytes are no cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version of Spillway wrote them.
    #[error("it is written in version {0} of the format, and this program reads version {VERSION}")]
    Version(u8),
    /// They are no cell.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They go on after the end.
    #[error("it is followed by {0} bytes that do not belong to it")]
    TooLong(usize),
}

/// Appends `cell` to `bytes`.
pub fn encode(cell: &Cell, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    cell.write(bytes);
}

/// The cell that `bytes` are, all of them.
///
/// # Errors
///
/// When they are none, or another version's.
pub fn decode(bytes: &[u8]) -> Result<Cell, DecodeError> {
    let mut rest = match bytes.split_first().ok_or(Malformed::CutOff)? {
        (&VERSION, rest) => rest,
        (&version, _) => return Err(DecodeError::Version(version)),
    };
    let cell = Cell::read(&mut rest)?;
    if rest.is_empty() { Ok(cell) } else { Err(DecodeError::TooLong(rest.len())) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::{Algorithm, Commit};
    use crate::model::{Hits, Timestamp};

    fn bytes(cell: &Cell) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(cell, &mut bytes);
        bytes
    }

    /// Any algorithm, and a history of hits under it.
    fn cell() -> impl Strategy<Value = Cell> {
        let window = Duration::from_secs(60);
        let period = Algorithm::period(Timestamp::EPOCH, Timestamp::from_nanos(u64::MAX));
        let algorithm = prop_oneof![
            Just(Algorithm::aligned(window)),
            Just(Algorithm::anchored(window)),
            Just(period),
            Just(Algorithm::sliding_window(window)),
            Just(Algorithm::token_bucket(window, 7)),
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
            prop_assert_eq!(decode(&bytes[..cut]), Err(Malformed::CutOff.into()));
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

    /// The bytes of each kind are tested beside its algorithm.
    #[test]
    fn a_counter_begins_with_the_version() {
        assert_eq!(bytes(&Cell::Empty), [1, 0]);
        assert_eq!(decode(&[1, 0]), Ok(Cell::Empty));
    }

    #[test]
    fn another_version_is_an_error_and_no_empty_cell() {
        assert_eq!(decode(&[2, 0]), Err(DecodeError::Version(2)));
        assert_eq!(decode(&[]), Err(Malformed::CutOff.into()));
        assert_eq!(
            decode(&[2]).unwrap_err().to_string(),
            "it is written in version 2 of the format, and this program reads version 1"
        );
    }

    #[test]
    fn six_hundred_hits_of_an_hour_take_five_bytes_each() {
        let algorithm = Algorithm::sliding_window(Duration::from_secs(3_600));
        let mut cell = Cell::default();
        for hit in 0..600 {
            let now = Timestamp::from_nanos(1_800_000_000_000_000_000 + hit * 6_000_000_007);
            algorithm.step(600, &mut cell, Hits::ONE, Commit::IfAdmitted, now);
        }
        assert!(bytes(&cell).len() < 600 * 5 + 32, "{}", bytes(&cell).len());
    }
}
