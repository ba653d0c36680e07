//! From a limit and the entries it counts by to the counter's key.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::model::CellKey;
use crate::policy::LimitId;

/// Makes counter keys under one secret. See [`CellKey`] for why a hash, and why keyed.
#[derive(Clone, Debug)]
pub struct Keyer {
    seeded: SipHasher13,
}

impl Keyer {
    /// A keyer whose secret is drawn at random: keys mean nothing outside this process.
    pub fn random() -> Self {
        let draw = || RandomState::new().build_hasher().finish();
        Self::with_secret(draw(), draw())
    }

    /// A keyer under a known secret, so that keys stay the same from run to run.
    pub fn with_secret(high: u64, low: u64) -> Self {
        Self { seeded: SipHasher13::new_with_keys(high, low) }
    }

    /// Starts the key of one descriptor.
    pub fn start(&self) -> KeyBuilder {
        KeyBuilder { hasher: self.seeded }
    }
}

/// The key of one descriptor in the making: every entry that is counted by, then the limit.
#[derive(Clone, Debug)]
pub struct KeyBuilder {
    hasher: SipHasher13,
}

impl KeyBuilder {
    /// Counts by `part` too. Its length goes in with it, so neighbours never run together.
    pub fn push(&mut self, part: &[u8]) {
        self.hasher.write(&(part.len() as u64).to_le_bytes());
        self.hasher.write(part);
    }

    /// The key of the counter that `limit` keeps for what was pushed.
    pub fn finish(&self, limit: LimitId) -> CellKey {
        let mut hasher = self.hasher;
        hasher.write(&limit.0.to_le_bytes());
        let hash = hasher.finish128();
        CellKey { high: hash.h1, low: hash.h2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str], limit: u128) -> CellKey {
        let mut builder = Keyer::with_secret(1, 2).start();
        for part in parts {
            builder.push(part.as_bytes());
        }
        builder.finish(LimitId(limit))
    }

    #[test]
    fn neighbours_never_run_together() {
        assert_ne!(key(&["a", "b_c"], 1), key(&["a_b", "c"], 1));
        assert_ne!(key(&["a", ""], 1), key(&["", "a"], 1));
        assert_ne!(key(&["a"], 1), key(&["a", ""], 1));
        assert_ne!(key(&["a", "b"], 1), key(&["a", "b"], 2));
        assert_eq!(key(&["a", "b"], 1), key(&["a", "b"], 1));
    }

    #[test]
    fn another_process_makes_other_keys() {
        let make = || Keyer::random().start().finish(LimitId(1));
        assert_ne!(make(), make());
    }
}
