//! [`Announced`]: a repository that says what it has changed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::Invalidations;
use crate::{
    clock::Timestamp,
    error::{BackEnd, StoreError},
    key::{
        EventPage, EventQuery, HourlyUsage, KeyDigest, KeyId, KeyRecord, LineageUsage, OwnerId,
        UsageCount, UsageQuery,
    },
    observe,
    store::{
        KeyStore, Lookup,
        balances::Balances,
        list::{KeyPage, KeyQuery},
        repository::{ApplyOutcome, Changes, KeyRepository, KeyUpdate, KeyUse},
        requests::RequestRecord,
        selection::{Plan, Selection, noted::Digests},
    },
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
        // Nodes that take credits change no key.
        if digests.is_empty() {
            return;
        }
        if let Err(error) = self.invalidations.publish(digests).await {
            observe::not_announced(&error.of(BackEnd::Bus));
        }
    }

    async fn apply_and_announce(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        // Some node may have been asked for a new key before it existed.
        let mut digests: Vec<_> = changes.inserts.iter().map(|record| record.digest).collect();
        for KeyUpdate { record, .. } in &changes.updates {
            digests.push(record.digest);
            let old = self.repository.get(record.id).await?;
            digests.extend(old.map(|old| old.digest).filter(|old| *old != record.digest));
        }
        let result = self.repository.apply(changes).await;
        // Also after an error, which does not say that nothing was written.
        self.announce(&digests).await;
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
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let (this, changes) = (self.clone(), changes.clone());
        to_the_end(async move { this.apply_and_announce(&changes).await }).await
    }

    fn bounds_owners(&self) -> bool {
        self.repository.bounds_owners()
    }

    async fn apply_to(
        &self,
        selection: &Selection,
        plan: &Plan,
    ) -> Result<ApplyOutcome, StoreError> {
        let digests = Digests::default();
        let (this, selection, plan) = (self.clone(), selection.clone(), digests.of(plan));
        to_the_end(async move {
            let result = this.repository.apply_to(&selection, &plan).await;
            // Also after an error, which does not say that nothing was written.
            this.announce(&digests.take()).await;
            result
        })
        .await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.repository.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.repository.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.repository.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        // Purged keys were refused before, and still are.
        self.repository.purge(before, owner).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.repository.events(query).await
    }

    async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        self.repository.balances(lineages).await
    }

    async fn request(
        &self,
        lineage: KeyId,
        request: &KeyDigest,
    ) -> Result<Option<RequestRecord>, StoreError> {
        self.repository.request(lineage, request).await
    }

    async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        self.repository.record_usage(usage).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
        self.repository.usage(query).await
    }

    async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineageUsage>, StoreError> {
        self.repository.busiest(query, limit).await
    }

    async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.repository.forget_usage(before).await
    }

    async fn close(&self) {
        self.repository.close().await;
    }
}
