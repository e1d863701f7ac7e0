//! [`Records`]: what a store keeps, found by digest and by id.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
    hash::{Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use crate::{
    key::{KeyDigest, KeyId, KeyRecord},
    runtime::DigestHash,
};

/// Every key, deleted ones included, since ids and digests stay taken.
///
/// Both sets hold the records alone, eight bytes for each: what they are found by is in the record,
/// which a caller reads next anyway. With the digest beside it in the map, an entry took 40 bytes.
#[derive(Default)]
pub(super) struct Records {
    by_id: BTreeSet<ById>,
    by_digest: HashSet<ByDigest, DigestHash>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    #[inline]
    pub(super) fn find(&self, digest: &KeyDigest) -> Option<&Arc<KeyRecord>> {
        self.by_digest.get(digest.as_bytes()).map(|found| &found.0)
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&Arc<KeyRecord>> {
        self.by_id.get(&id).map(|found| &found.0)
    }

    /// The smallest id first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.by_id.iter().map(|record| &record.0)
    }

    /// Those with ids in these bounds, the smallest first.
    pub(super) fn range(
        &self,
        bounds: (Bound<KeyId>, Bound<KeyId>),
    ) -> impl DoubleEndedIterator<Item = &Arc<KeyRecord>> {
        self.by_id.range(bounds).map(|record| &record.0)
    }

    /// Adds a record, in place of one with the same id. The caller has seen that no other has its
    /// digest.
    pub(super) fn put(&mut self, record: Arc<KeyRecord>) {
        if let Some(old) = self.by_id.replace(ById(record.clone()))
            && old.0.digest != record.digest
        {
            self.by_digest.remove(old.0.digest.as_bytes());
        }
        self.by_digest.replace(ByDigest(record));
    }

    pub(super) fn retain(&mut self, keeps: impl Fn(&KeyRecord) -> bool) {
        self.by_id.retain(|record| keeps(&record.0));
        self.by_digest.retain(|record| keeps(&record.0));
    }
}

struct ByDigest(Arc<KeyRecord>);

// Plain equality, as for any map of digests: see `runtime::MapDigest`.
impl Borrow<[u8; 32]> for ByDigest {
    #[inline]
    fn borrow(&self) -> &[u8; 32] {
        self.0.digest.as_bytes()
    }
}

impl PartialEq for ByDigest {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.digest.as_bytes() == other.0.digest.as_bytes()
    }
}

impl Eq for ByDigest {}

impl Hash for ByDigest {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.as_bytes().hash(state);
    }
}

struct ById(Arc<KeyRecord>);

impl Borrow<KeyId> for ById {
    fn borrow(&self) -> &KeyId {
        &self.0.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn record(id: u8, digest: u8, name: &str) -> Arc<KeyRecord> {
        let (id, digest) = (KeyId::from_bytes([id; 16]), KeyDigest::from_bytes([digest; 32]));
        Arc::new(KeyRecord::new(id, digest, name, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn an_entry_is_a_pointer() {
        assert_eq!([size_of::<ByDigest>(), size_of::<ById>()], [8, 8]);
    }

    #[test]
    fn a_record_takes_the_place_of_the_one_with_its_id() {
        let mut records = Records::default();
        for record in [record(1, 1, "a"), record(2, 2, "b"), record(1, 3, "c"), record(2, 2, "d")] {
            records.put(record);
        }
        let names = |digest| {
            let digest = KeyDigest::from_bytes([digest; 32]);
            records.find(&digest).map(|record| record.name.as_str())
        };
        assert_eq!([1, 2, 3].map(names), [None, Some("d"), Some("c")]);
        let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
        assert_eq!(names, ["c", "d"]);
        assert_eq!(records.get(KeyId::from_bytes([1; 16])).unwrap().name, "c");
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn what_is_not_kept_is_found_by_nothing() {
        let mut records = Records::default();
        (1..=3).for_each(|number| records.put(record(number, number, "a key")));
        records.retain(|record| record.id != KeyId::from_bytes([2; 16]));
        assert!(records.get(KeyId::from_bytes([2; 16])).is_none());
        assert!(records.find(&KeyDigest::from_bytes([2; 32])).is_none());
        let after = (Bound::Excluded(KeyId::from_bytes([1; 16])), Bound::Unbounded);
        assert_eq!(records.range(after).count(), 1);
    }
}
