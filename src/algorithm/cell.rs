//! What is kept of the past, for one counter: the part of [`Cell`] that is the same for every algorithm.

use super::Cell;
use crate::model::Timestamp;

impl Cell {
    /// Whether the cell can be forgotten: from `now` on it decides nothing any more.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.until() <= now
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::algorithm::{Algorithm, Cell};

    /// Compares a cell with its bytes. These are in somebody's database: they change only together with the version of the
    /// stored format.
    #[track_caller]
    pub(in crate::algorithm) fn check_bytes(cell: &Cell, expected: &[u8]) {
        let mut bytes = Vec::new();
        cell.write(&mut bytes);
        assert_eq!(bytes, expected);
        assert_eq!(Cell::read(&mut bytes.as_slice()).as_ref(), Ok(cell));
    }

    #[test]
    fn a_cell_is_three_words() {
        assert!(size_of::<Cell>() <= 24, "{}", size_of::<Cell>());
    }

    #[test]
    fn an_algorithm_is_four_words() {
        // Each charge of a request carries one.
        assert!(size_of::<Algorithm>() <= 32, "{}", size_of::<Algorithm>());
    }
}
