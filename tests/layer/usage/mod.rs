//! Counting uses: step 11 counts, and the recorder writes.

mod hours;
mod outage;
mod outcomes;
mod queries;
mod statements;
mod totals;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::time::Instant;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    clock::Clock,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse, Lookup,
        MemoryStore, StoreError, StoreErrorKind, UsageLog,
    },
    usage::{HourlyUsage, LineageUsage, UsageCount, UsageOutcome, UsageQuery},
};

use crate::support::at;

/// A clock that goes on with the time of the tests.
#[derive(Clone, Copy)]
struct Ticking(Timestamp, Instant);

impl Ticking {
    fn from(now: Timestamp) -> Self {
        Self(now, Instant::now())
    }
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        self.0.saturating_add(self.1.elapsed())
    }
}

/// A key's count, and when it was last used.
async fn uses(store: &MemoryStore, id: KeyId) -> (u64, Option<Timestamp>) {
    let record = store.get(id).await.unwrap().unwrap();
    (record.use_count, record.last_used_at)
}

/// Everything that was counted by hour: when, in milliseconds after the beginning of the tests,
/// what came of it, and how often.
async fn hours(store: &MemoryStore) -> Vec<(i64, &'static str, u64)> {
    let all = UsageQuery::new(at(i64::MIN / 2), at(i64::MAX / 2));
    brief(&store.usage(&all).await.unwrap())
}

fn brief(counts: &[UsageCount]) -> Vec<(i64, &'static str, u64)> {
    let since = |time: Timestamp| time.as_unix_millis() - at(0).as_unix_millis();
    counts.iter().map(|usage| (since(usage.hour), usage.outcome.as_str(), usage.count)).collect()
}

fn accepted(lineage: KeyId, hour: Timestamp, count: u64) -> HourlyUsage {
    HourlyUsage::new(lineage, hour, UsageOutcome::Accepted, count)
}

/// How a [`Moody`] repository takes what it is to write.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Failing,
    /// It never answers.
    Silent,
    /// It removes nothing.
    Clinging,
}

/// Keys in memory, which are written as the repository is in the mood for. Clones share it all.
#[derive(Clone)]
struct Moody {
    keys: MemoryStore,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<Mutex<Vec<(Call, usize)>>>,
}

/// What was to be written, and in the log beside it how many entries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Uses,
    Usage,
    Forget(Timestamp),
}

impl Moody {
    fn new(mood: Mood) -> Self {
        let mood = Arc::new(Mutex::new(mood));
        Self { keys: MemoryStore::new(), mood, calls: Arc::default() }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn calls(&self) -> Vec<(Call, usize)> {
        self.calls.lock().unwrap().clone()
    }

    async fn called(&self, call: Call, entries: usize) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push((call, entries));
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Failing => Err(StoreError::new(StoreErrorKind::Unavailable)),
            Mood::Clinging if matches!(call, Call::Forget(_)) => {
                Err(StoreError::new(StoreErrorKind::Unavailable))
            }
            Mood::Silent => std::future::pending().await,
            Mood::Well | Mood::Clinging => Ok(()),
        }
    }
}

#[async_trait]
impl KeyStore for Moody {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.keys.find_now(digest)
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.keys.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Moody {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        self.keys.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.keys.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.keys.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.called(Call::Uses, uses.len()).await?;
        self.keys.record_uses(uses).await
    }

    async fn purge(&self, _: Timestamp, _: Option<&OwnerId>) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        Some(self)
    }
}

#[async_trait]
impl UsageLog for Moody {
    async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        self.called(Call::Usage, usage.len()).await?;
        self.keys.record_usage(usage).await
    }

    async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.called(Call::Forget(before), 0).await?;
        self.keys.forget_usage(before).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
        self.keys.usage(query).await
    }

    async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineageUsage>, StoreError> {
        self.keys.busiest(query, limit).await
    }
}
