//! What one counter is known by.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A keyed 128-bit hash of a limit's identity and of the entries it counts by.
///
/// It is made of entry values *with their lengths*, so `(a, b_c)` and `(a_b, c)` differ, and under a key drawn at
/// random for each process, so a client cannot search for two values that meet. With a billion live counters the
/// chance that any two of them share a hash is about 10⁻²¹ (n²/2¹²⁹): smaller than that of a memory error. Its first 16 bits hash only
/// what it counts by, which leaves 112 to tell the limits of one client apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// The hash's upper half.
    pub high: u64,
    /// The hash's lower half.
    pub low: u64,
}

impl CellKey {
    /// How many of the first bits are a hash of what is counted by alone.
    pub const TAG_BITS: u32 = 16;

    /// Sixteen bits that are the same for all limits that count by the same entries: where counters are on several servers, those of
    /// one client and one rule belong together.
    pub fn counted_by(self) -> u16 {
        u16::try_from(self.high >> (u64::BITS - Self::TAG_BITS)).unwrap_or_default()
    }
}

/// The secret that counters' keys are made under, which all replicas that share counters share. A store that keeps it beside the
/// counters sets it when it learns it.
#[derive(Clone)]
pub struct KeySecret(Arc<ArcSwap<[u64; 2]>>);

impl KeySecret {
    /// 128 bits that the system draws at random.
    pub fn draw() -> [u64; 2] {
        let mut secret = [0; 16];
        let drawn = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty());
        if drawn != Ok(secret.len()) {
            // Where a sandbox forbids the call: hash maps have their keys from the system, too, by whatever way there is.
            for half in secret.chunks_mut(8) {
                half.copy_from_slice(&RandomState::new().build_hasher().finish().to_be_bytes());
            }
        }
        let secret = u128::from_be_bytes(secret);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of it")]
        let halves = [(secret >> 64) as u64, secret as u64];
        halves
    }

    /// A secret.
    pub fn new(secret: [u64; 2]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secret)))
    }

    /// The secret as it is now.
    pub fn get(&self) -> [u64; 2] {
        **self.0.load()
    }

    /// Whoever has this secret makes keys under that one from now on.
    pub fn set(&self, secret: [u64; 2]) {
        if self.get() != secret {
            self.0.store(Arc::new(secret));
        }
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(…)")
    }
}
