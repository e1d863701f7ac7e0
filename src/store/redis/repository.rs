//! What the store is asked for and told.

use std::{collections::BTreeSet, sync::Arc};

use super::{BATCH, Column, RedisStore, balance, count, millis, read_rows, request, unexpected};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{
        HourlyUsage, KeyDigest, KeyId, KeyRecord, LineageUsage, OwnerId, UsageCount, UsageQuery,
    },
    runtime::async_methods,
    store::{
        KeyStore, StoreId,
        balances::Balances,
        batches,
        capabilities::{
            BalanceStore, DigestCursor, KnownDigests, RequestLog, SelectedChanges, UsageLog,
            Watermarks,
        },
        list::{KeyPage, KeyQuery},
        repository::{ApplyOutcome, Changes, KeyRepository, KeyUse},
        requests::{KEPT, RequestRecord},
        selection::{Plan, Selection},
        usage_sums::{HourSums, LineageSums},
    },
};

impl KeyStore for RedisStore {
    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            let lookup = || {
                let (this, hex) = (self.clone(), digest.to_hex());
                async move { this.rows(&this.scripts.find, &["digests", &hex]).await }
            };
            let found = self.circuits.keys.call(lookup).await?.pop();
            found.map_or(Ok(None), |record| is_of(record, digest))
        }

        async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.get(id).await
        }

        async fn find_many(
            &self,
            digests: &[KeyDigest],
        ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
            let find = |digest| async move { self.find(&digest).await };
            let find_batch = |digests: Vec<_>| {
                let this = self.clone();
                let lookup = || async move { this.find_batch(&digests).await };
                self.circuits.keys.call(lookup)
            };
            batches::find_many(digests, find, find_batch).await
        }
    }

    fn max_batch(&self) -> usize {
        batches::FOUND_AT_ONCE
    }

    async_methods! {
        async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
            let Some(new) = StoreId::random() else { return Ok(None) };
            let identity: String = self.run(&self.scripts.identity, &[&new.to_string()]).await?;
            identity.parse().map(Some).map_err(StoreError::corrupt)
        }
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        Some(self)
    }
}

/// The key that a digest leads to, unless it is deleted.
fn is_of(record: Arc<KeyRecord>, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
    if record.digest != *digest {
        return Err(StoreError::corrupt("a digest leads to another key"));
    }
    Ok(Some(record).filter(|record| record.details.deleted_at.is_none()))
}

impl RedisStore {
    /// One run of a script, however many digests.
    async fn find_batch(
        &self,
        digests: &[KeyDigest],
    ) -> Result<Vec<Result<Option<Arc<KeyRecord>>, StoreError>>, StoreError> {
        let args: Vec<_> = digests.iter().map(KeyDigest::to_hex).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (keys, uses, last_used, indexes): (Column, Column, Column, Vec<usize>) =
            self.run(&self.scripts.find_many, &args).await?;
        let mut answers: Vec<_> = digests.iter().map(|_| Ok(None)).collect();
        for (index, record) in indexes.iter().zip(read_rows(&keys, &uses, &last_used)) {
            // Lua counts from one.
            let index = index.checked_sub(1).filter(|index| *index < digests.len());
            let index = index.ok_or_else(unexpected)?;
            answers[index] = record.and_then(|record| is_of(record, &digests[index]));
        }
        Ok(answers)
    }
}

/// From where in the hash to where, the size of the hash, and what is between.
type Scanned = (String, u64, Vec<String>);

impl KnownDigests for RedisStore {
    async_methods! {
        async fn count(&self) -> Result<u64, StoreError> {
            let (_, count, _): Scanned = self.run(&self.scripts.known, &["0", "1"]).await?;
            Ok(count)
        }

        async fn page(
            &self,
            after: Option<DigestCursor>,
            limit: usize,
        ) -> Result<(Vec<KeyDigest>, Option<DigestCursor>), StoreError> {
            let start = after.as_ref().map_or(&b"0"[..], DigestCursor::as_bytes);
            let start = str::from_utf8(start).map_err(StoreError::corrupt)?;
            let limit = limit.min(BATCH).to_string();
            let (next, _, digests): Scanned =
                self.run(&self.scripts.known, &[start, &limit]).await?;
            let digests = digests.iter().map(|digest| KeyDigest::from_hex(digest));
            let digests = digests.collect::<Option<_>>().ok_or_else(unexpected)?;
            Ok((digests, (next != "0").then(|| DigestCursor::new(next.into_bytes()))))
        }

        async fn added(
            &self,
            after: KeyId,
            limit: usize,
        ) -> Result<Vec<(KeyId, KeyDigest)>, StoreError> {
            let args = [after.to_string(), limit.min(BATCH).to_string()];
            let rows = self.rows(&self.scripts.added, &[&args[0], &args[1]]).await?;
            Ok(rows.iter().map(|record| (record.id, record.digest)).collect())
        }
    }
}

impl KeyRepository for RedisStore {
    async_methods! {
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
            self.apply_changes(changes).await
        }
    }

    fn bounds_owners(&self) -> bool {
        true
    }

    async_methods! {
        async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            Ok(self.rows(&self.scripts.get, &[&id.to_string()]).await?.pop())
        }

        async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
            match &query.request {
                Some(request) => self.list_request(request, query).await,
                None => self.list_range(query).await,
            }
        }

        async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
            let lines = uses.iter().map(|key_use| {
                let (count, at) = (count(key_use.count), millis(key_use.last_used_at));
                let from = key_use.last_used_from.map(|address| address.to_string());
                format!("{} {count} {at} {}\n", key_use.id, from.as_deref().unwrap_or("-"))
            });
            self.done(&self.scripts.record_uses, &[&lines.collect::<String>()]).await
        }

        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError> {
            let (before, batch) = (millis(before), BATCH.to_string());
            let kept = KEPT.as_millis().to_string();
            let (mut purged, mut after) = (0, String::new());
            loop {
                let args = [&*before, &*batch, &*after];
                let args: Vec<_> = args.into_iter().chain(owner.map(OwnerId::as_str)).collect();
                let (seen, gone, last): (usize, u64, String) =
                    self.run(&self.scripts.purge, &args).await?;
                purged += gone;
                after = last;
                if seen < BATCH {
                    break;
                }
            }
            // All of them: the last purge may have ended in between, and a lineage may never have had a
            // key.
            let mut place = "0".to_owned();
            loop {
                place = self.run(&self.scripts.purge_balances, &[&place, &batch]).await?;
                if place == "0" {
                    break;
                }
            }
            while owner.is_none() {
                let args = [&*before, &*kept, &*batch];
                let gone: usize = self.run(&self.scripts.purge_requests, &args).await?;
                if gone < BATCH {
                    break;
                }
            }
            Ok(purged)
        }
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        Some(self)
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        Some(self)
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        Some(self)
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        Some(self)
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        Some(self)
    }
}

impl SelectedChanges for RedisStore {
    async_methods! {
        async fn apply_to(
            &self,
            selection: &Selection,
            plan: &Plan,
        ) -> Result<ApplyOutcome, StoreError> {
            self.apply_planned(selection, plan).await
        }
    }
}

impl BalanceStore for RedisStore {
    async_methods! {
        async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
            let lineages: Vec<KeyId> =
                lineages.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
            let (mut found, mut time) = (Vec::new(), None);
            // Without lineages, the time alone.
            for lineages in lineages.chunks(BATCH).chain(lineages.is_empty().then_some(&[][..])) {
                let args: Vec<_> = lineages.iter().map(ToString::to_string).collect();
                let read = || {
                    let this = self.clone();
                    async move {
                        let args: Vec<_> = args.iter().map(String::as_str).collect();
                        this.run(&this.scripts.balances, &args).await
                    }
                };
                let (now, rows): (i64, Vec<Option<String>>) =
                    self.circuits.balances.call(read).await?;
                // The first: nothing comes back too early.
                time.get_or_insert(now);
                for (lineage, row) in lineages.iter().zip(rows) {
                    if let Some(row) = row {
                        found.push((*lineage, balance::read(&row).map_err(StoreError::corrupt)?));
                    }
                }
            }
            Ok(Balances::new(Timestamp::from_unix_millis(time.ok_or_else(unexpected)?), found))
        }
    }
}

impl RequestLog for RedisStore {
    async_methods! {
        async fn request(
            &self,
            lineage: KeyId,
            request: &KeyDigest,
        ) -> Result<Option<RequestRecord>, StoreError> {
            let field = request::field(lineage, request);
            let found: Vec<String> = self.run(&self.scripts.request, &[&field]).await?;
            let found = found.first().map(|json| request::read(json));
            found.transpose().map_err(StoreError::corrupt)
        }
    }
}

impl UsageLog for RedisStore {
    async_methods! {
        async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
            self.add_usage(usage).await
        }

        async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
            let mut sums = HourSums::default();
            let add = |hour, _, outcome, count| sums.add(hour, outcome, count);
            self.read_usage(query, add).await?;
            Ok(sums.into_counts())
        }

        async fn busiest(
            &self,
            query: &UsageQuery,
            limit: usize,
        ) -> Result<Vec<LineageUsage>, StoreError> {
            let mut sums = LineageSums::default();
            let add = |_, lineage, outcome, count| sums.add(lineage, outcome, count);
            self.read_usage(query, add).await?;
            Ok(sums.busiest(limit))
        }

        async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
            self.forget_hours(before).await
        }
    }
}
