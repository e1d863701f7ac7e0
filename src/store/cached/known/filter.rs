//! A set of digests that takes 1½ bytes for each, and says of some others that they are in it.
//!
//! A blocked Bloom filter (Putze, Sanders and Singler, 2007): a digest has seven bits in one block
//! of 512, which is a line of a processor's cache.

use std::{
    hash::BuildHasher,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

use crate::{
    key::KeyDigest,
    runtime::{DigestHash, MapDigest, RwLock},
};

/// Digests are only ever added. Where there are more than there is room for, another segment makes
/// room for as many again.
pub(super) struct Filter {
    segments: RwLock<Vec<Segment>>,
    bits_per_key: u64,
    /// Two, so that the block says nothing about the bits. SHA-256 is public, and without a seed,
    /// an attacker could search for keys that are taken for known ones.
    hashes: [DigestHash; 2],
}

struct Segment {
    blocks: Box<[Block]>,
    /// How many digests have set a bit.
    keys: AtomicU64,
    room: u64,
}

#[derive(Default)]
#[repr(align(64))]
struct Block([AtomicU64; 8]);

const BITS: u32 = 7;

/// For the keys that are created until the filter is loaded again: a third.
const GROWTH: u64 = 3;

const MIN_ROOM: u64 = 1_024;

impl Filter {
    /// With room for so many digests and a third more, each with so many bits when there is no room
    /// left.
    pub(super) fn new(keys: u64, bits_per_key: u8) -> Self {
        let bits_per_key = u64::from(bits_per_key);
        let segment = Segment::new(keys.saturating_add(keys / GROWTH), bits_per_key);
        let segments = RwLock::new(vec![segment]);
        Self { segments, bits_per_key, hashes: Default::default() }
    }

    pub(super) fn insert_all(&self, digests: &[KeyDigest]) {
        for digest in digests {
            self.insert(digest);
        }
    }

    fn insert(&self, digest: &KeyDigest) {
        let place = self.place(digest);
        let segments = self.segments.read();
        if segments.iter().any(|segment| segment.contains(place)) {
            return;
        }
        let is_in = segments.last().is_some_and(|segment| segment.insert(place));
        drop(segments);
        if !is_in {
            self.insert_in_another(place);
        }
    }

    #[cold]
    fn insert_in_another(&self, place: [u64; 2]) {
        let mut segments = self.segments.write();
        if !segments.last().is_some_and(|segment| segment.insert(place)) {
            let room = segments.iter().map(|segment| segment.room).sum();
            let segment = Segment::new(room, self.bits_per_key);
            segment.insert(place);
            segments.push(segment);
        }
    }

    /// Whether a digest was added. With 12 bits a key, it says so of one in a thousand that were not,
    /// and of four when there is no room left.
    pub(super) fn contains(&self, digest: &KeyDigest) -> bool {
        let place = self.place(digest);
        self.segments.read().iter().any(|segment| segment.contains(place))
    }

    pub(super) fn keys(&self) -> u64 {
        self.segments.read().iter().map(|segment| segment.keys.load(Relaxed)).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.segments.read().iter().map(|segment| size_of_val(&*segment.blocks)).sum()
    }

    /// Whether there were more digests than there was room for.
    pub(super) fn has_overflowed(&self) -> bool {
        self.segments.read().len() > 1
    }

    fn place(&self, digest: &KeyDigest) -> [u64; 2] {
        let digest = MapDigest::from(digest);
        self.hashes.map(|hash| hash.hash_one(digest))
    }
}

impl Segment {
    fn new(room: u64, bits_per_key: u64) -> Self {
        let room = room.max(MIN_ROOM);
        let blocks = room.saturating_mul(bits_per_key).div_ceil(512);
        let blocks = (0..blocks).map(|_| Block::default()).collect();
        Self { blocks, keys: AtomicU64::new(0), room }
    }

    /// The block, and the bits in each of its words.
    fn block(&self, [block, mut bits]: [u64; 2]) -> (&Block, [u64; 8]) {
        let index = (u128::from(block) * self.blocks.len() as u128) >> 64;
        let mut masks = [0; 8];
        for _ in 0..BITS {
            let bit = bits % 512;
            masks[usize::try_from(bit / 64).unwrap_or_default()] |= 1 << (bit % 64);
            bits >>= 9;
        }
        (&self.blocks[usize::try_from(index).unwrap_or_default()], masks)
    }

    fn contains(&self, place: [u64; 2]) -> bool {
        let (block, masks) = self.block(place);
        block.0.iter().zip(masks).all(|(word, mask)| word.load(Relaxed) & mask == mask)
    }

    /// Adds a digest, if there is room.
    fn insert(&self, place: [u64; 2]) -> bool {
        if self.keys.load(Relaxed) >= self.room {
            return false;
        }
        let (block, masks) = self.block(place);
        let set = |(word, mask): (&AtomicU64, u64)| {
            mask != 0 && word.fetch_or(mask, AcqRel) & mask != mask
        };
        // All of them: `any` would stop at the first.
        let changed = block.0.iter().zip(masks).map(set).filter(|changed| *changed).count();
        if changed > 0 {
            self.keys.fetch_add(1, Relaxed);
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "the rate is for the reader of the test's output")]
mod tests {
    use std::thread;

    use super::*;

    /// A digest as random as any: of a counter, by splitmix64.
    fn digest(number: u64) -> KeyDigest {
        let mut bytes = [0; 32];
        for (index, chunk) in (0_u64..).zip(bytes.as_chunks_mut::<8>().0) {
            let mut word = (4 * number + index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *chunk = (word ^ (word >> 31)).to_le_bytes();
        }
        KeyDigest::from_bytes(bytes)
    }

    const MILLION: u64 = 1_000_000;

    fn false_positives(filter: &Filter) -> usize {
        (2 * MILLION..3 * MILLION).filter(|number| filter.contains(&digest(*number))).count()
    }

    #[test]
    fn a_million_digests_at_two_bytes_each() {
        let filter = Filter::new(MILLION, 12);
        (0..MILLION).for_each(|number| filter.insert(&digest(number)));
        assert!((0..MILLION).all(|number| filter.contains(&digest(number))));
        let bytes = filter.bytes();
        let loaded = false_positives(&filter);
        (MILLION..MILLION * 4 / 3).for_each(|number| filter.insert(&digest(number)));
        let full = false_positives(&filter);
        println!(
            "{bytes} bytes; of a million unknown digests, {loaded} are taken for known with a \
             million keys, and {full} with a third more"
        );
        assert!(!filter.has_overflowed());
        assert!(bytes <= 2 * 1_000_064, "{bytes}");
        assert!(loaded <= 10_000 && full <= 10_000, "{loaded} {full}");
        let counted = filter.keys();
        assert!((MILLION * 131 / 100..=MILLION * 4 / 3).contains(&counted), "{counted}");
    }

    #[test]
    fn inserts_never_fail() {
        let filter = Filter::new(0, 12);
        let numbers = 0..40_000;
        for number in numbers.clone() {
            filter.insert(&digest(number));
            assert!(filter.contains(&digest(number)), "{number}");
        }
        assert!(numbers.clone().all(|number| filter.contains(&digest(number))));
        assert!(filter.has_overflowed());
        // Each is as large as all before it, so that there are few.
        assert_eq!(filter.segments.read().len(), 7);
        let before = filter.keys();
        numbers.for_each(|number| filter.insert(&digest(number)));
        assert_eq!(filter.keys(), before, "all were there");
    }

    #[test]
    fn threads_insert_at_once() {
        let filter = Filter::new(0, 12);
        thread::scope(|scope| {
            for thread in 0..4 {
                let filter = &filter;
                scope.spawn(move || {
                    (0..5_000).for_each(|number| filter.insert(&digest(4 * number + thread)));
                });
            }
        });
        assert!((0..20_000).all(|number| filter.contains(&digest(number))));
    }

    /// Digests that one filter takes for known are no better than others to another.
    #[test]
    fn each_has_its_own_false_positives() {
        let [one, other] = [(), ()].map(|()| Filter::new(0, 12));
        for number in 0..1_300 {
            one.insert(&digest(number));
            other.insert(&digest(number));
        }
        let taken = |filter: &Filter, number| filter.contains(&digest(number));
        let of_one: Vec<_> = (10_000..210_000).filter(|number| taken(&one, *number)).collect();
        let of_both = of_one.iter().filter(|number| taken(&other, **number)).count();
        assert!(of_one.len() > 100, "{}", of_one.len());
        assert!(of_both * 10 < of_one.len(), "{of_both} of {}", of_one.len());
    }
}
