//! Counting uses: step 11 counts, and the recorder writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tower_api_key::{
    ApiKeyLayer, KeyDigest, KeyId, KeyRecord, OwnerId, Timestamp, UsageRecorder, async_trait,
    store::{
        Changes, KeyRepository, KeyStore, KeyUse, ListQuery, MemoryStore, Page, StoreError,
        StoreErrorKind, Update,
    },
};

use crate::{
    stores::TestStore,
    support::{KEY, NOW, OTHER_KEY, at, clock, record, record_with, send, send_waiting, with_key},
};

/// A store with the key [`KEY`] and a layer that counts its uses, as seen at [`NOW`].
async fn counted() -> (MemoryStore, UsageRecorder, ApiKeyLayer, KeyId) {
    let store = MemoryStore::new();
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::new(store.clone()).with_clock(clock());
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    (store, usage, layer, record.id)
}

async fn uses(store: &MemoryStore, id: KeyId) -> (u64, Option<Timestamp>) {
    let record = store.get(id).await.unwrap().unwrap();
    (record.use_count, record.last_used_at)
}

#[tokio::test]
async fn every_use_is_counted_and_written_by_a_flush() {
    let (store, usage, layer, id) = counted().await;
    for _ in 0..3 {
        assert!(send(&layer, with_key(KEY)).seen.is_some());
    }
    assert_eq!(uses(&store, id).await, (0, None));
    usage.flush().await.unwrap();
    assert_eq!(uses(&store, id).await, (3, Some(NOW)));
    usage.flush().await.unwrap();
    assert_eq!(uses(&store, id).await, (3, Some(NOW)));
    send(&layer, with_key(KEY));
    usage.flush().await.unwrap();
    assert_eq!(uses(&store, id).await, (4, Some(NOW)));
}

#[tokio::test]
async fn a_denied_request_is_no_use() {
    let (store, usage, layer, id) = counted().await;
    let disabled = record_with(OTHER_KEY, |record| record.disabled = true);
    store.insert(&disabled).await.unwrap();
    assert!(send(&layer, with_key(OTHER_KEY)).seen.is_none());
    assert!(send(&layer, with_key("a-key-that-does-not-exist")).seen.is_none());
    usage.flush().await.unwrap();
    assert_eq!(uses(&store, disabled.id).await, (0, None));
    assert_eq!(uses(&store, id).await, (0, None));
}

/// A store that makes a record anew for each lookup, as a database does.
struct Fresh(KeyRecord);

#[async_trait]
impl KeyStore for Fresh {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok((self.0.digest == *digest).then(|| Arc::new(self.0.clone())))
    }
}

#[tokio::test]
async fn records_that_are_made_for_each_lookup_are_added_up() {
    let (store, usage, _, id) = counted().await;
    let fresh = Fresh(KeyRecord::clone(&*store.get(id).await.unwrap().unwrap()));
    let layer = ApiKeyLayer::new(fresh).with_usage(usage.clone());
    for _ in 0..5 {
        assert!(send_waiting(&layer, with_key(KEY)).await.seen.is_some());
    }
    usage.flush().await.unwrap();
    assert_eq!(uses(&store, id).await, (5, Some(NOW)));
}

#[tokio::test(start_paused = true)]
async fn uses_are_written_by_themselves_after_the_interval() {
    let (store, usage, _, id) = counted().await;
    let usage = usage.with_interval(Duration::from_mins(1));
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage);
    send(&layer, with_key(KEY));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(uses(&store, id).await.0, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(uses(&store, id).await.0, 1);
    // And again: the task goes on.
    send(&layer, with_key(KEY));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(uses(&store, id).await.0, 2);
}

/// A repository that only records uses, and only when it is well.
#[derive(Clone, Default)]
struct Moody {
    well: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
    keys: Arc<AtomicUsize>,
    uses: Arc<AtomicUsize>,
}

#[async_trait]
impl KeyStore for Moody {
    async fn find(&self, _: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl KeyRepository for Moody {
    async fn apply(&self, _: &Changes) -> Result<Update, StoreError> {
        Ok(Update::Stale)
    }

    async fn get(&self, _: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(None)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        Ok(Page::from_one_more(Vec::new(), query.limit))
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        if !self.well.load(SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable));
        }
        self.writes.fetch_add(1, SeqCst);
        self.keys.fetch_add(uses.len(), SeqCst);
        let sum: u64 = uses.iter().map(|key_use| key_use.count).sum();
        self.uses.fetch_add(usize::try_from(sum).unwrap(), SeqCst);
        Ok(())
    }

    async fn purge(&self, _: Timestamp, _: Option<&OwnerId>) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[tokio::test]
async fn nothing_is_lost_while_the_repository_fails() {
    let repository = Moody::default();
    let usage = UsageRecorder::new(repository.clone());
    let store = TestStore::new([record(KEY), record_with(OTHER_KEY, |r| r.created_at = at(1))]);
    let layer = ApiKeyLayer::new(store).with_usage(usage.clone());
    send(&layer, with_key(KEY));
    assert_eq!(usage.flush().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    send(&layer, with_key(KEY));
    send(&layer, with_key(OTHER_KEY));
    assert!(usage.flush().await.is_err());
    repository.well.store(true, SeqCst);
    usage.flush().await.unwrap();
    assert_eq!(repository.keys.load(SeqCst), 2);
    assert_eq!(repository.uses.load(SeqCst), 3);
}

#[tokio::test]
async fn many_keys_are_written_in_few_batches() {
    let repository = Moody::default();
    repository.well.store(true, SeqCst);
    let usage = UsageRecorder::new(repository.clone());
    let keys: Vec<_> = (0..1_200).map(|number| format!("key-number-{number:012}")).collect();
    let store = MemoryStore::new();
    for key in &keys {
        store.insert(&record(key)).await.unwrap();
    }
    let layer = ApiKeyLayer::new(store).with_usage(usage.clone());
    for key in &keys {
        send(&layer, with_key(key));
    }
    usage.flush().await.unwrap();
    assert_eq!(repository.writes.load(SeqCst), 3);
    assert_eq!(repository.keys.load(SeqCst), 1_200);
    assert_eq!(repository.uses.load(SeqCst), 1_200);
}
