//! [`Collected`]: the counts that are not written yet.

use std::collections::BTreeMap;

use crate::{
    clock::Timestamp,
    key::{HourlyUsage, KeyId},
    store::KeyUse,
};

/// The counts that are not written yet.
///
/// In the order of keys and hours: writers that lock row by row then come across each other's rows
/// in the same order, and the oldest hours are found at once.
#[derive(Default)]
pub(super) struct Collected {
    /// The sum of each key. These are never dropped: there is one for a key, however long the
    /// repository fails.
    uses: BTreeMap<KeyId, KeyUse>,
    pub(super) hours: Hours,
}

impl Collected {
    pub(super) fn add_use(&mut self, new: KeyUse) {
        let sum = self.uses.entry(new.id).or_insert(KeyUse { count: 0, ..new });
        sum.count = sum.count.saturating_add(new.count);
        if new.last_used_at >= sum.last_used_at {
            sum.last_used_at = new.last_used_at;
            sum.last_used_from = new.last_used_from.or(sum.last_used_from);
        }
    }

    /// Adds all that was collected elsewhere.
    pub(super) fn absorb(&mut self, other: Self) {
        if self.uses.is_empty() {
            self.uses = other.uses;
        } else {
            other.uses.into_values().for_each(|new| self.add_use(new));
        }
        self.hours.absorb(other.hours);
    }

    /// So many sums that are to be written.
    pub(super) fn some_uses(&self, most: usize) -> Vec<KeyUse> {
        self.uses.values().take(most).copied().collect()
    }

    pub(super) fn uses_are_written(&mut self, written: &[KeyUse]) {
        for written in written {
            self.uses.remove(&written.id);
        }
    }
}

/// What tells counts apart: the hour, the lineage, and the name of the outcome.
type Place = (Timestamp, KeyId, &'static str);

/// The details: how often each outcome was in each hour.
#[derive(Default)]
pub(super) struct Hours(BTreeMap<Place, HourlyUsage>);

impl Hours {
    pub(super) fn add(&mut self, new: HourlyUsage) {
        let count = new.count;
        let sum = self.0.entry(place(&new)).or_insert(HourlyUsage { count: 0, ..new });
        sum.count = sum.count.saturating_add(count);
    }

    pub(super) fn absorb(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
        } else {
            other.0.into_values().for_each(|new| self.add(new));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops those of the oldest hours until there are no more than so many, and returns how many
    /// were dropped.
    pub(super) fn drop_beyond(&mut self, most: usize) -> usize {
        let dropped = self.0.len().saturating_sub(most);
        for _ in 0..dropped {
            self.0.pop_first();
        }
        dropped
    }

    /// So many that are to be written.
    pub(super) fn some(&self, most: usize) -> Vec<HourlyUsage> {
        self.0.values().take(most).cloned().collect()
    }

    pub(super) fn are_written(&mut self, written: &[HourlyUsage]) {
        for written in written {
            self.0.remove(&place(written));
        }
    }
}

fn place(usage: &HourlyUsage) -> Place {
    (usage.hour, usage.lineage, usage.outcome.as_str())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::key::{RejectionKind, UsageOutcome};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn used(key: u8, count: u64, millis: i64, address: Option<&str>) -> KeyUse {
        let last_used_from: Option<IpAddr> = address.map(|address| address.parse().unwrap());
        KeyUse { last_used_from, ..KeyUse::new(KeyId::from_bytes([key; 16]), count, at(millis)) }
    }

    #[test]
    fn sums_keep_the_last_use_and_the_last_known_address() {
        let mut collected = Collected::default();
        collected.add_use(used(1, 1, 20, Some("192.0.2.1")));
        collected.add_use(used(1, 2, 10, Some("192.0.2.2")));
        assert_eq!(collected.some_uses(9), [used(1, 3, 20, Some("192.0.2.1"))]);
        let mut later = Collected::default();
        later.add_use(used(2, 7, 5, None));
        later.add_use(used(1, 1, 30, None));
        later.add_use(used(1, 1, 30, Some("192.0.2.3")));
        collected.absorb(later);
        let one = used(1, 5, 30, Some("192.0.2.3"));
        assert_eq!(collected.some_uses(9), [one, used(2, 7, 5, None)]);
        assert_eq!(collected.some_uses(1), [one]);
        collected.uses_are_written(&[one]);
        assert_eq!(collected.some_uses(9), [used(2, 7, 5, None)]);
        collected.add_use(used(2, u64::MAX, 5, None));
        assert_eq!(collected.some_uses(9), [used(2, u64::MAX, 5, None)]);
    }

    fn hour(hour: i64, key: u8, outcome: UsageOutcome, count: u64) -> HourlyUsage {
        let lineage = KeyId::from_bytes([key; 16]);
        HourlyUsage { lineage, owner: Some("user-1".into()), hour: at(hour), outcome, count }
    }

    #[test]
    fn hours_are_added_up_by_lineage_and_outcome() {
        let (accepted, revoked) =
            (UsageOutcome::Accepted, UsageOutcome::Denied(RejectionKind::Revoked));
        let (mut hours, mut later) = (Hours::default(), Hours::default());
        for (key, outcome) in [(1, accepted), (1, revoked), (2, accepted), (1, accepted)] {
            hours.add(hour(0, key, outcome, 2));
        }
        later.add(hour(0, 2, accepted, 1));
        later.add(hour(9, 2, accepted, 1));
        hours.absorb(later);
        let all = [
            hour(0, 1, accepted, 4),
            hour(0, 1, revoked, 2),
            hour(0, 2, accepted, 3),
            hour(9, 2, accepted, 1),
        ];
        assert_eq!(hours.some(9), all);
        hours.are_written(&all[1..3]);
        assert_eq!(hours.some(9), [all[0].clone(), all[3].clone()]);
    }

    #[test]
    fn the_oldest_hours_are_dropped_first() {
        let mut hours = Hours::default();
        for (time, key) in [(30, 1), (10, 2), (20, 1), (10, 1)] {
            hours.add(hour(time, key, UsageOutcome::Accepted, 1));
        }
        assert_eq!(hours.drop_beyond(4), 0);
        assert_eq!(hours.drop_beyond(3), 1);
        assert_eq!(hours.some(9).iter().map(|usage| usage.hour).min(), Some(at(10)));
        assert_eq!(hours.drop_beyond(1), 2);
        assert_eq!(hours.some(9), [hour(30, 1, UsageOutcome::Accepted, 1)]);
    }
}
