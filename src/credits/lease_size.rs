//! [`LeaseSize`]: how many credits a node takes from the store, and [`SeenRevisions`]: the keys that
//! they were asked for.

use crate::key::{KeyId, KeyRecord};

/// The credits that callers wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseSize {
    /// What all of them spend together.
    pub(super) wanted: u64,
    /// What the caller that spends the least spends; `None` if no caller waits.
    pub(super) least: Option<u64>,
    /// The credits that are held already.
    pub(super) held: u64,
    /// The latest epoch that a record has told of.
    pub(super) epoch: u64,
    /// It is unknown whether something was taken the last time: no more than is wanted.
    pub(super) is_careful: bool,
}

/// Of what is left, a node takes this part at most, unless its callers want more: so that nodes
/// hold little when little is left.
const PART: u64 = 16;

impl LeaseSize {
    /// Another caller.
    pub(super) fn add(&mut self, cost: u64) {
        self.wanted = self.wanted.saturating_add(cost);
        self.least = Some(self.least.map_or(cost, |least| least.min(cost)));
    }

    /// What is missing for the caller who spends the least.
    pub(super) fn least(&self) -> u64 {
        self.least.map_or(0, |least| least.saturating_sub(self.held))
    }

    /// How many to take of those that remain, so that `most` are held if no caller wants more;
    /// 0 where that would help no caller.
    pub(super) fn amount(&self, remaining: u64, most: u64) -> u64 {
        let part = if self.is_careful { 0 } else { most.min(remaining / PART) };
        let room = part.saturating_sub(self.held);
        let (least, wanted) = (self.least(), self.wanted.saturating_sub(self.held));
        if self.least.is_none() {
            // In advance, while there is plenty.
            if part == most { room } else { 0 }
        } else if least > remaining {
            0
        } else if wanted <= remaining {
            wanted.max(room)
        } else {
            // Not enough for all. Callers for whom it may be enough come again.
            least.max(room)
        }
    }
}

/// The keys for which the store was asked since a lineage was found exhausted, and their revisions:
/// the manager changes them when it gives credits.
#[derive(Debug, Default)]
pub(super) struct SeenRevisions([Option<SeenRevision>; 4]);

#[derive(Clone, Copy, Debug)]
struct SeenRevision {
    key: KeyId,
    /// The latest revision that a caller came with.
    seen: u64,
    /// The latest one before the store was last asked.
    asked: Option<u64>,
}

impl SeenRevisions {
    /// A caller is about to wait for the store. Beyond four keys of a lineage, the others are
    /// judged by what those have learned.
    pub(super) fn add(&mut self, record: &KeyRecord) {
        let place = self.find(record.id).or_else(|| self.0.iter().position(Option::is_none));
        let Some(place) = place.and_then(|place| self.0.get_mut(place)) else { return };
        let new = SeenRevision { key: record.id, seen: record.revision, asked: None };
        let revision = place.get_or_insert(new);
        revision.seen = revision.seen.max(record.revision);
    }

    /// The store is asked now, on behalf of all callers until now.
    pub(super) fn store_is_asked(&mut self) {
        for revision in self.0.iter_mut().flatten() {
            revision.asked = Some(revision.seen);
        }
    }

    /// Whether the record tells that something was changed since the store was asked.
    pub(super) fn is_news(&self, record: &KeyRecord) -> bool {
        match self.find(record.id).and_then(|place| self.0[place]) {
            Some(revision) => revision.asked.is_none_or(|asked| asked < record.revision),
            None => self.0.iter().any(Option::is_none),
        }
    }

    fn find(&self, key: KeyId) -> Option<usize> {
        self.0.iter().position(|revision| revision.is_some_and(|revision| revision.key == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, key::KeyDigest};

    fn size(costs: &[u64], held: u64) -> LeaseSize {
        let mut size = LeaseSize { held, ..LeaseSize::default() };
        for cost in costs {
            size.add(*cost);
        }
        size
    }

    #[test]
    fn a_node_takes_a_part_of_what_is_left() {
        assert_eq!(size(&[1], 0).amount(1_000_000, 512), 512);
        assert_eq!(size(&[1], 0).amount(1_600, 512), 100);
        assert_eq!(size(&[1], 0).amount(15, 512), 1);
        assert_eq!(size(&[1], 0).amount(1, 512), 1);
        assert_eq!(size(&[1], 0).amount(0, 512), 0);
        assert_eq!(LeaseSize { is_careful: true, ..size(&[1], 0) }.amount(1_000_000, 512), 1);
    }

    #[test]
    fn a_node_takes_what_its_callers_want() {
        assert_eq!(size(&[10_000], 0).amount(1_000_000, 512), 10_000);
        assert_eq!(size(&[10_000], 9_000).amount(1_000_000, 512), 1_000);
        assert_eq!(size(&[3; 64], 0).amount(200, 512), 192);
        assert_eq!(size(&[u64::MAX, u64::MAX], 0).amount(u64::MAX, 512), u64::MAX);
        // It is not enough for all, but for some.
        assert_eq!(size(&[5, 1_000], 0).amount(100, 512), 6);
        assert_eq!(size(&[50, 1_000], 0).amount(100, 512), 50);
        // For no caller.
        assert_eq!(size(&[150, 1_000], 40).amount(100, 512), 0);
        // For all, from what was held.
        assert_eq!(size(&[5], 40).amount(10, 512), 0);
        assert_eq!(size(&[500], 400).amount(100_000, 512), 112);
    }

    #[test]
    fn a_node_takes_in_advance_only_where_there_is_plenty() {
        assert_eq!(size(&[], 100).amount(8_192, 512), 412);
        assert_eq!(size(&[], 100).amount(8_191, 512), 0);
    }

    #[test]
    fn a_change_is_news_until_the_store_was_asked_about_it() {
        let now = Timestamp::UNIX_EPOCH;
        let record = |revision| KeyRecord {
            revision,
            ..KeyRecord::new(KeyId::generate(now).unwrap(), KeyDigest::from_bytes([1; 32]), "", now)
        };
        let (first, mut seen_revisions) = (record(3), SeenRevisions::default());
        assert!(seen_revisions.is_news(&first));
        seen_revisions.add(&first);
        assert!(seen_revisions.is_news(&first), "the store was not asked yet");
        seen_revisions.store_is_asked();
        assert!(!seen_revisions.is_news(&first));

        let changed = KeyRecord { revision: 4, ..first.clone() };
        assert!(seen_revisions.is_news(&changed));
        seen_revisions.add(&changed);
        seen_revisions.add(&first);
        seen_revisions.store_is_asked();
        assert!(!seen_revisions.is_news(&changed) && !seen_revisions.is_news(&first));

        // Keys of one lineage have four places.
        for _ in 0..3 {
            let other = record(0);
            assert!(seen_revisions.is_news(&other));
            seen_revisions.add(&other);
        }
        seen_revisions.store_is_asked();
        let fifth = record(9);
        seen_revisions.add(&fifth);
        assert!(!seen_revisions.is_news(&fifth));
    }
}
