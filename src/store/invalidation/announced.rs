//! [`Announced`]: a repository that says what it has changed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::Invalidations;
use crate::{
    KeyDigest, KeyId, KeyRecord, Timestamp, observe,
    store::{KeyRepository, KeyStore, KeyUse, ListQuery, Lookup, Page, StoreError, Update},
};

/// Publishes every key that it changes, after the change.
///
/// A change that is written but cannot be announced is done all the same: other nodes learn of it
/// when what they have cached has lived its time. It is logged.
#[derive(Clone)]
pub(crate) struct Announced {
    repository: Arc<dyn KeyRepository>,
    invalidations: Arc<dyn Invalidations>,
}

impl Announced {
    pub(crate) fn new(
        repository: Arc<dyn KeyRepository>,
        invalidations: Arc<dyn Invalidations>,
    ) -> Self {
        Self { repository, invalidations }
    }

    async fn announce(&self, digests: &[KeyDigest]) {
        if let Err(error) = self.invalidations.publish(digests).await {
            observe::not_announced(&error);
        }
    }

    async fn insert_and_announce(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let result = self.repository.insert(record).await;
        // Some node may have been asked for the key before it existed. Also after an error, which
        // does not say that nothing was written.
        self.announce(&[record.digest]).await;
        result
    }

    async fn update_and_announce(
        &self,
        record: &KeyRecord,
        expected: u64,
    ) -> Result<Update, StoreError> {
        let old = self.repository.get(record.id).await?;
        let result = self.repository.update(record, expected).await;
        match old {
            Some(old) if old.digest != record.digest => {
                self.announce(&[old.digest, record.digest]).await;
            }
            _ => self.announce(&[record.digest]).await,
        }
        result
    }
}

/// Brings a change to its end when the caller goes away in the middle of it, as a web server's
/// handlers do: what is written has to be announced.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn(change).await.map_err(StoreError::unavailable)?,
        Err(_) => change.await,
    }
}

#[async_trait]
impl KeyStore for Announced {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.repository.find_now(digest)
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.repository.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Announced {
    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let (this, record) = (self.clone(), record.clone());
        to_the_end(async move { this.insert_and_announce(&record).await }).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.repository.get(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.repository.list(query).await
    }

    async fn update(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        let (this, record) = (self.clone(), record.clone());
        to_the_end(async move { this.update_and_announce(&record, expected).await }).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.repository.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError> {
        // Purged keys were refused before, and still are.
        self.repository.purge(before).await
    }

    async fn close(&self) {
        self.repository.close().await;
    }
}
