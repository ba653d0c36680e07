//! Places and counts as tables store them.

/// The place of the kind with this number, in 16 bits. Nobody has as many kinds; those beyond are taken for one.
pub(super) fn kind_place(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// `count` in 32 bits. A text that could hold more things than that is refused before it is read.
pub(super) fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
