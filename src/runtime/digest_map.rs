//! A hash map keyed by digests.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use crate::key::KeyDigest;

/// From digests to what belongs to them.
pub(crate) type DigestMap<V> = HashMap<MapDigest, V, DigestHash>;

/// A digest as a map's key: its 32 raw bytes.
///
/// Maps compare keys by plain equality, which is quick and says nothing to a caller who cannot
/// choose digests freely; the layer compares what was found in constant time. What the threads keep of a
/// store is found by its first 64 bits, without a seed: the time of a lookup may say that a digest begins like
/// that of a key in use (`scripts/timing`), and no key can be had from that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapDigest([u64; 4]);

impl From<&KeyDigest> for MapDigest {
    #[inline]
    fn from(digest: &KeyDigest) -> Self {
        Self(digest.words())
    }
}

impl MapDigest {
    /// Eight of its bits.
    #[cfg(feature = "cache")]
    #[inline]
    pub(crate) fn first_byte(self) -> u8 {
        self.0[0].to_ne_bytes()[0]
    }

    /// 64 of its bits.
    #[inline]
    pub(crate) fn first_word(self) -> u64 {
        self.0[0]
    }
}

impl Hash for MapDigest {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|word| state.write_u64(*word));
    }
}

/// Digests are uniform already, so a cheap hash is enough. But SHA-256 is public: without a
/// secret, an attacker could search for keys whose digests fall into one bucket. So every word is
/// mixed with a seed that is drawn per map, by folded multiplication.
#[derive(Clone, Copy)]
pub(crate) struct DigestHash {
    seed: u64,
}

impl Default for DigestHash {
    fn default() -> Self {
        // The standard library's per-process random keys, without another dependency.
        Self { seed: RandomState::new().hash_one(0_u64) }
    }
}

#[cfg(all(test, feature = "redis"))]
impl DigestHash {
    /// The same in each run.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self { seed }
    }
}

impl BuildHasher for DigestHash {
    type Hasher = DigestHasher;

    #[inline]
    fn build_hasher(&self) -> DigestHasher {
        DigestHasher(self.seed)
    }
}

pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        // An odd constant with about as many ones as zeros (2⁶⁴ / φ).
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        {
            self.0 = (product as u64) ^ ((product >> 64) as u64);
        }
    }

    /// A digest as bytes hashes as its words do. Any other key would still hash soundly.
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_ne_bytes(*word));
        }
        for byte in rest {
            self.write_u64(u64::from(*byte));
        }
    }

    /// The length of an array that follows: digests are all as long.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
