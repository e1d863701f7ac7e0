//! Sums of usage, for stores that add up counts themselves.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    clock::Timestamp,
    key::{KeyId, LineageUsage, UsageCount, UsageOutcome},
};

/// The counts of each hour and outcome, as [`usage`](super::UsageLog::usage) answers.
#[derive(Default)]
pub(super) struct HourSums(BTreeMap<(Timestamp, &'static str), UsageCount>);

impl HourSums {
    pub(super) fn add(&mut self, hour: Timestamp, outcome: UsageOutcome, count: u64) {
        let fresh = || UsageCount { hour, outcome, count: 0 };
        let sum = self.0.entry((hour, outcome.as_str())).or_insert_with(fresh);
        sum.count = sum.count.saturating_add(count);
    }

    pub(super) fn into_counts(self) -> Vec<UsageCount> {
        self.0.into_values().collect()
    }
}

/// How many requests of each lineage were let in, as [`busiest`](super::UsageLog::busiest) answers.
#[derive(Default)]
pub(super) struct LineageSums(BTreeMap<KeyId, u64>);

impl LineageSums {
    /// Passes over denials, and lineages that let in none.
    pub(super) fn add(&mut self, lineage: KeyId, outcome: UsageOutcome, count: u64) {
        if outcome == UsageOutcome::Accepted && count > 0 {
            let sum = self.0.entry(lineage).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    pub(super) fn busiest(self, limit: usize) -> Vec<LineageUsage> {
        let sums = self.0.into_iter();
        let mut lineages: Vec<_> =
            sums.map(|(lineage, count)| LineageUsage { lineage, count }).collect();
        // Stable: those that are as busy stay in the order of their ids.
        lineages.sort_by_key(|usage| Reverse(usage.count));
        lineages.truncate(limit);
        lineages
    }
}
