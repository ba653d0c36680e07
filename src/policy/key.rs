//! From a limit and the entries it counts by to the counter's key.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::model::{CellKey, KeySecret};
use crate::policy::LimitId;

/// Makes counter keys under one secret. See [`CellKey`] for why a hash, and why keyed.
#[derive(Clone, Debug)]
pub struct Keyer {
    seeded: SipHasher13,
    shared: Option<KeySecret>,
}

impl Keyer {
    /// A keyer whose secret is drawn at random: keys mean nothing outside this process.
    pub fn random() -> Self {
        let [high, low] = KeySecret::draw();
        Self::with_secret(high, low)
    }

    /// A keyer under a known secret, so that keys stay the same from run to run.
    pub fn with_secret(high: u64, low: u64) -> Self {
        Self { seeded: SipHasher13::new_with_keys(high, low), shared: None }
    }

    /// A keyer under a secret of as many bytes, which are kept with the counters.
    pub fn from_secret(secret: [u8; 16]) -> Self {
        let secret = u128::from_be_bytes(secret);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of it")]
        let (high, low) = ((secret >> 64) as u64, secret as u64);
        Self::with_secret(high, low)
    }

    /// A keyer under a secret that others may set: keys are the same wherever it is.
    pub fn shared(secret: KeySecret) -> Self {
        let [high, low] = secret.get();
        Self { shared: Some(secret), ..Self::with_secret(high, low) }
    }

    /// The secret as it is now. Others may set it meanwhile, so a request reads it once, and all of its keys are made under one.
    pub fn read(&self) -> Keys {
        Keys(self.shared.as_ref().map_or(self.seeded, |secret| {
            let [high, low] = secret.get();
            SipHasher13::new_with_keys(high, low)
        }))
    }
}

/// Makes the keys of one request. See [`Keyer::read`].
#[derive(Clone, Debug)]
pub struct Keys(SipHasher13);

impl Keys {
    /// `bytes` as a part of keys.
    pub fn part<'a>(&self, bytes: &'a [u8]) -> Part<'a> {
        if bytes.len() <= LONGEST_BY_ITSELF {
            return Part { length: bytes.len(), written: Written::Itself(bytes) };
        }
        let mut hasher = self.0;
        hasher.write(bytes);
        Part { length: bytes.len(), written: Written::Hash(hasher.finish128().as_bytes()) }
    }

    /// Starts the key of one descriptor.
    pub fn start(&self) -> KeyBuilder {
        KeyBuilder { hasher: self.0 }
    }
}

/// The most bytes that go into a key as they are.
const LONGEST_BY_ITSELF: usize = 64;

/// Something that is counted by. A long one goes into keys as its hash, so that it is read once, however many limits count
/// by it.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    length: usize,
    written: Written<'a>,
}

#[derive(Clone, Debug)]
enum Written<'a> {
    /// Up to [`LONGEST_BY_ITSELF`] bytes; never taken for a hash, for its length says that it is none.
    Itself(&'a [u8]),
    Hash([u8; 16]),
}

/// The key of one descriptor in the making: every entry that is counted by, then the limit.
#[derive(Debug)]
pub struct KeyBuilder {
    hasher: SipHasher13,
}

impl KeyBuilder {
    /// Counts by `part` too. Its length goes in with it, so neighbours never run together.
    pub fn push(&mut self, part: &Part<'_>) {
        self.hasher.write(&(part.length as u64).to_le_bytes());
        self.hasher.write(match &part.written {
            Written::Itself(bytes) => bytes,
            Written::Hash(hash) => hash,
        });
    }

    /// Ends what is counted by; limits complete it.
    pub fn finish(self) -> KeyStem {
        let hash = self.hasher.finish128();
        KeyStem { high: hash.h1, low: hash.h2 }
    }
}

/// The hash of what is counted by, which all limits that count by it share.
#[derive(Clone, Copy, Debug)]
pub struct KeyStem {
    high: u64,
    low: u64,
}

impl KeyStem {
    /// The key of the counter that `limit` keeps for it.
    ///
    /// The limit's identity is a hash too, so the two are combined by exclusive or: two counters share a key only if their
    /// stems, which are made under a secret, differ by exactly what their limits differ by. The first 16 bits are the stem's.
    pub fn key(self, limit: LimitId) -> CellKey {
        #[expect(clippy::cast_possible_truncation, reason = "the halves of it")]
        let (high, low) = ((limit.0 >> 64) as u64, limit.0 as u64);
        CellKey { high: self.high ^ high >> CellKey::TAG_BITS, low: self.low ^ low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str], limit: u128) -> CellKey {
        let keyer = Keyer::with_secret(1, 2).read();
        let mut builder = keyer.start();
        for part in parts {
            builder.push(&keyer.part(part.as_bytes()));
        }
        builder.finish().key(LimitId(limit))
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
    fn limits_of_one_client_share_the_first_bits_and_no_more() {
        let limits =
            [LimitId::of([b"a".as_slice()]), LimitId::of([b"b".as_slice()]), LimitId::of([b"c".as_slice()])];
        let keys = |who: &str| limits.map(|limit| key(&[who], limit.0));
        let [acme, other] = [keys("acme"), keys("other")];
        assert!(acme.iter().all(|key| key.counted_by() == acme[0].counted_by()), "{acme:?}");
        assert_ne!(acme[0].counted_by(), other[0].counted_by());
        // The halves are told apart each by itself: shards and buckets are chosen by one of them.
        let mut halves: Vec<_> = acme.iter().chain(&other).flat_map(|key| [key.high, key.low]).collect();
        halves.sort_unstable();
        halves.dedup();
        assert_eq!(halves.len(), 12);
    }

    #[test]
    fn long_parts_differ_as_short_ones_do() {
        let (long, other) = ("a".repeat(70), "a".repeat(69) + "b");
        assert_eq!(key(&[&long], 1), key(&[&long], 1));
        assert_ne!(key(&[&long], 1), key(&[&other], 1));
        assert_ne!(key(&[&long], 1), key(&[&"a".repeat(71)], 1));
        assert_ne!(key(&[&long, "b"], 1), key(&[&(long.clone() + "b")], 1));
        let hash = match Keyer::with_secret(1, 2).read().part(long.as_bytes()).written {
            Written::Hash(hash) => hash,
            Written::Itself(_) => panic!("70 bytes are long"),
        };
        let keyer = Keyer::with_secret(1, 2).read();
        let mut builder = keyer.start();
        builder.push(&keyer.part(&hash));
        assert_ne!(
            key(&[&long], 1),
            builder.finish().key(LimitId(1)),
            "a hash that is sent is no long value"
        );
    }

    #[test]
    fn keys_are_those_of_the_secret_that_is_shared_now() {
        let secret = KeySecret::new([1, 2]);
        let keyer = Keyer::shared(secret.clone());
        let key = |keys: &Keys| {
            let mut key = keys.start();
            key.push(&keys.part("a".repeat(70).as_bytes()));
            key.finish().key(LimitId(1))
        };
        let of = |high, low| key(&Keyer::with_secret(high, low).read());
        for [high, low] in [[1, 2], [3, 4]] {
            secret.set([high, low]);
            assert_eq!(key(&keyer.read()), of(high, low));
        }
        // A request that has begun goes on under the secret that it has read.
        let keys = keyer.read();
        secret.set([5, 6]);
        assert_eq!((key(&keys), key(&keyer.read())), (of(3, 4), of(5, 6)));
    }

    #[test]
    fn another_process_makes_other_keys() {
        let make = || Keyer::random().read().start().finish().key(LimitId(1));
        assert_ne!(make(), make());
    }
}
