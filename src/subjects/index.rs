//! Places and counts as tables store them.

/// `count` in 32 bits. A text that could hold more things than that is refused before it is read.
pub(super) fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
