//! Writing through a cache: to the store, and then forgotten here.

use std::sync::Arc;

use async_trait::async_trait;

use super::{CachedStore, Inner};
use crate::{
    KeyDigest, KeyId, KeyRecord, Timestamp,
    store::{KeyRepository, KeyUse, ListQuery, Page, StoreError, Update},
};

/// Reads by id and lists are not cached. What `find` says about uses may be as old as the cache.
#[async_trait]
impl<S: KeyRepository> KeyRepository for CachedStore<S> {
    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        // Somebody may have tried the key before it existed.
        let _change = Change::of(&self.inner, [record.digest]);
        self.inner.store.insert(record).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.inner.store.get(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.store.list(query).await
    }

    async fn update(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        // The update may give the key another digest: then the old one is to be forgotten.
        let old = self.inner.store.get(record.id).await?;
        let digests = old.map(|old| old.digest).into_iter().chain([record.digest]);
        let _change = Change::of(&self.inner, digests);
        self.inner.store.update(record, expected).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.inner.store.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError> {
        let _purge = Purge(&self.inner);
        self.inner.store.purge(before).await
    }

    async fn close(&self) {
        self.inner.store.close().await;
    }
}

/// Forgets keys when it is dropped: after the change, also after one that failed, which does not
/// say that nothing was written, and when the caller goes away in the middle of it.
struct Change<'c, S> {
    cache: &'c Inner<S>,
    digests: Vec<KeyDigest>,
}

impl<'c, S> Change<'c, S> {
    fn of(cache: &'c Inner<S>, digests: impl IntoIterator<Item = KeyDigest>) -> Self {
        Self { cache, digests: digests.into_iter().collect() }
    }
}

impl<S> Drop for Change<'_, S> {
    fn drop(&mut self) {
        self.cache.forget(&self.digests);
    }
}

/// Like a [`Change`], of nobody knows which keys.
struct Purge<'c, S>(&'c Inner<S>);

impl<S> Drop for Purge<'_, S> {
    fn drop(&mut self) {
        self.0.cache.distrust();
    }
}
