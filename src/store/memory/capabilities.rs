//! The abilities of a [`MemoryStore`] beyond keeping keys.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Bound,
};

use super::MemoryStore;
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{
        EventPage, EventQuery, HourlyUsage, KeyDigest, KeyId, LineageUsage, UsageCount, UsageQuery,
    },
    runtime::async_methods,
    store::{
        balances::Balances,
        capabilities::{
            AuditLog, BalanceStore, DigestCursor, KnownDigests, RequestLog, SelectedChanges,
            UsageLog, WATERMARK_LASTS, Watermarks,
        },
        repository::ApplyOutcome,
        requests::RequestRecord,
        selection::{Plan, Selection},
        usage_sums::{HourSums, LineageSums},
        watermark::{Watermark, WatermarkRecord},
    },
};

impl KnownDigests for MemoryStore {
    async_methods! {
        async fn count(&self) -> Result<u64, StoreError> {
            Ok(self.read().records.len() as u64)
        }

        /// All at once.
        async fn page(
            &self,
            _after: Option<DigestCursor>,
            _limit: usize,
        ) -> Result<(Vec<KeyDigest>, Option<DigestCursor>), StoreError> {
            let keys = self.read();
            let live = keys.records.iter().filter(|record| !record.is_deleted());
            Ok((live.map(|record| record.digest).collect(), None))
        }

        async fn added(
            &self,
            after: KeyId,
            limit: usize,
        ) -> Result<Vec<(KeyId, KeyDigest)>, StoreError> {
            let keys = self.read();
            let later = keys.records.range((Bound::Excluded(after), Bound::Unbounded));
            let live = later.filter(|record| !record.is_deleted());
            Ok(live.take(limit).map(|record| (record.id, record.digest)).collect())
        }
    }
}

impl SelectedChanges for MemoryStore {
    async_methods! {
        async fn apply_to(
            &self,
            selection: &Selection,
            plan: &Plan,
        ) -> Result<ApplyOutcome, StoreError> {
            let mut keys = self.write();
            let records: Vec<_> = match selection {
                Selection::Ids(ids) => {
                    let ids: BTreeSet<KeyId> = ids.iter().copied().collect();
                    let records = ids.into_iter().filter_map(|id| keys.records.get(id));
                    records.map(|record| keys.as_read(record)).collect()
                }
                Selection::Issued { .. } => keys
                    .records
                    .iter()
                    .filter(|record| selection.contains(record))
                    .map(|record| keys.as_read(record))
                    .collect(),
            };
            plan(&records).map_or(Ok(ApplyOutcome::Done), |changes| keys.apply(&changes))
        }
    }
}

impl Watermarks for MemoryStore {
    async_methods! {
        async fn current(&self) -> Result<Vec<WatermarkRecord>, StoreError> {
            Ok(self.read().watermarks.clone())
        }

        async fn unwritten(
            &self,
            watermark: &Watermark,
            after: Option<KeyId>,
            limit: usize,
        ) -> Result<Vec<(KeyId, u64)>, StoreError> {
            let keys = self.read();
            let after = after.map_or(Bound::Unbounded, Bound::Excluded);
            let records = keys.records.range((after, Bound::Unbounded));
            let unwritten = records.filter(|record| watermark.ends(record)).take(limit);
            Ok(unwritten.map(|record| (record.id, record.revision)).collect())
        }

        async fn remove(&self, watermark: &Watermark) -> Result<bool, StoreError> {
            let mut keys = self.write();
            if keys.records.iter().any(|record| watermark.ends(record)) {
                return Ok(false);
            }
            let (count, now) = (keys.watermarks.len(), keys.clock.now());
            keys.watermarks.retain(|mark| {
                let is_old = now.saturating_since(mark.revoked_at) >= WATERMARK_LASTS;
                mark.watermark != *watermark || !is_old
            });
            Ok(keys.watermarks.len() < count)
        }
    }
}

impl AuditLog for MemoryStore {
    async_methods! {
        async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
            let keys = self.read();
            let latest_first = keys.events.values().rev();
            let items = latest_first.filter(|event| query.matches(event));
            let items = items.take(query.limit.saturating_add(1)).cloned().collect();
            Ok(EventPage::from_one_more(items, query.limit))
        }
    }
}

impl BalanceStore for MemoryStore {
    async_methods! {
        async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
            let keys = self.read();
            let lineages: HashSet<KeyId> = lineages.iter().copied().collect();
            let balance = |lineage| Some((lineage, keys.balances.get(&lineage)?.clone()));
            Ok(Balances::new(keys.clock.now(), lineages.into_iter().filter_map(balance).collect()))
        }
    }
}

impl RequestLog for MemoryStore {
    async_methods! {
        async fn request(
            &self,
            lineage: KeyId,
            request: &KeyDigest,
        ) -> Result<Option<RequestRecord>, StoreError> {
            Ok(self.read().acts.get(&(lineage, *request.as_bytes())).cloned())
        }
    }
}

impl UsageLog for MemoryStore {
    async_methods! {
        async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
            let mut keys = self.write();
            for new in usage {
                let key = (new.lineage, new.hour, new.outcome.as_str());
                let fresh = || HourlyUsage { count: 0, ..new.clone() };
                let sum = keys.usage.entry(key).or_insert_with(fresh);
                sum.count = sum.count.saturating_add(new.count);
            }
            Ok(())
        }

        async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
            let mut sums = HourSums::default();
            for usage in self.read().usage(query) {
                sums.add(usage.hour, usage.outcome, usage.count);
            }
            Ok(sums.into_counts())
        }

        async fn busiest(
            &self,
            query: &UsageQuery,
            limit: usize,
        ) -> Result<Vec<LineageUsage>, StoreError> {
            let mut sums = LineageSums::default();
            for usage in self.read().usage(query) {
                sums.add(usage.lineage, usage.outcome, usage.count);
            }
            Ok(sums.busiest(limit))
        }

        async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
            let mut keys = self.write();
            let count = keys.usage.len();
            keys.usage.retain(|(_, hour, _), _| *hour >= before);
            Ok((count - keys.usage.len()) as u64)
        }
    }
}
