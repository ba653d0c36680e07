//! What one counter is known by.

/// A keyed 128-bit hash of a limit's identity and of the entries it counts by.
///
/// It is made of entry values *with their lengths*, so `(a, b_c)` and `(a_b, c)` differ, and under a key drawn at
/// random for each process, so a client cannot search for two values that meet. With a billion live counters the
/// chance that any two of them share a hash is about 10⁻²¹ (n²/2¹²⁹): smaller than that of a memory error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// The hash's upper half.
    pub high: u64,
    /// The hash's lower half.
    pub low: u64,
}
