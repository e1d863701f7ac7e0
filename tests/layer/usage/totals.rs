//! What each key was used: how often, and when last.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tower_api_key::{
    ApiKeyLayer, KeyId, UsageRecorder,
    key::{KeyDigest, KeyRecord},
    store::{KeyRepository, KeyStore, MemoryStore, StoreError},
};

use super::uses;
use crate::support::{
    KEY, NOW, OTHER_KEY, clock, record, record_with, send, send_waiting, with_key,
};

/// A store with the key [`KEY`] and a layer that counts its uses, as seen at [`NOW`].
pub(super) async fn counted() -> (MemoryStore, UsageRecorder, ApiKeyLayer, KeyId) {
    let store = MemoryStore::new();
    let record = record(KEY);
    store.insert(&record).await.unwrap();
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock()).build().unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_usage(usage.clone());
    (store, usage, layer, record.id)
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
    let (store, _, _, id) = counted().await;
    let usage = UsageRecorder::builder(store.clone()).with_clock(clock());
    let usage = usage.with_interval(Duration::from_mins(1)).build().unwrap();
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
