//! [`Entry`]: a limit of a bucket, which has one debt.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::runtime::DigestHash;

/// A bucket, with the hash that its part of the map and its place there are found by.
#[derive(Clone, Copy)]
pub(super) struct Key {
    words: [u64; 2],
    hash: u64,
}

/// A limit of a bucket, with its hash.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    key_hash: u64,
}

/// A limit of a bucket: all that tells it from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryId {
    words: [u64; 2],
    /// See [`Limit::tag`](crate::key::Limit::tag).
    limit: u64,
}

impl Key {
    #[inline]
    pub(super) fn new(words: [u64; 2], hash: DigestHash) -> Self {
        Self { words, hash: hash.hash_one(words[0] ^ words[1].rotate_left(32)) }
    }

    #[inline]
    pub(super) const fn limit(self, tag: u64) -> Entry {
        Entry { id: EntryId { words: self.words, limit: tag }, key_hash: self.hash }
    }

    /// The same for all limits of the bucket.
    #[inline]
    pub(super) const fn hash(self) -> u64 {
        self.hash
    }
}

impl Entry {
    /// Bits that tell entries apart.
    #[inline]
    pub(super) const fn hash(&self) -> u64 {
        self.key_hash ^ self.id.limit
    }
}

impl EntryId {
    pub(super) fn key(&self, hash: DigestHash) -> Key {
        Key::new(self.words, hash)
    }

    pub(super) fn entry(&self, hash: DigestHash) -> Entry {
        self.key(hash).limit(self.limit)
    }
}

impl PartialEq for Entry {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash());
    }
}
