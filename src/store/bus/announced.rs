//! [`Announced`]: a repository that says what it has changed.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Announcement, Invalidations, announcer::Announcer};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyDigest, KeyId, KeyRecord, OwnerId},
    runtime::async_methods,
    store::{
        KeyStore, KeyWatch, Lookup, LookupHint, SharedRecord, StoreId, Watermark, WatermarkRecord,
        capabilities::{
            AuditLog, BalanceStore, KnownDigests, RequestLog, SelectedChanges, UsageLog, Watermarks,
        },
        changed_digest::{ChangedDigest, Written},
        identity::KnownIdentity,
        list::{KeyPage, KeyQuery},
        repository::{ApplyOutcome, Changes, KeyRepository, KeyUse},
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
    announcer: Arc<Announcer>,
    identity: Arc<KnownIdentity>,
}

impl Announced {
    pub(crate) fn new(
        repository: Arc<dyn KeyRepository>,
        invalidations: Arc<dyn Invalidations>,
    ) -> Self {
        let announcer = Arc::new(Announcer::new(invalidations));
        Self { repository, announcer, identity: Arc::default() }
    }

    async fn announce(&self, announcement: Announcement) {
        // Nodes that take credits change no key.
        if announcement.is_empty() {
            return;
        }
        let store = self.identity.of(&*self.repository).await;
        self.announcer.announce(announcement.of_store(store)).await;
    }

    async fn apply_and_announce(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        let result = self.repository.apply(changes).await;
        let written = Written::by(&result);
        // Also after an error, which does not say that nothing was written.
        self.announce(changes.announced(written)).await;
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

impl KeyStore for Announced {
    fn may_lag(&self) -> bool {
        self.repository.may_lag()
    }

    fn may_exist(&self, digest: &KeyDigest) -> bool {
        self.repository.may_exist(digest)
    }

    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.repository.find_now(digest)
    }

    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        self.repository.find_shared(digest)
    }

    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.repository.find(digest).await
        }

        async fn find_for(
            &self,
            digest: &KeyDigest,
            hint: LookupHint,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.repository.find_for(digest, hint).await
        }

        async fn find_fresh(
            &self,
            digest: &KeyDigest,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.repository.find_fresh(digest).await
        }

        async fn find_many(
            &self,
            digests: &[KeyDigest],
        ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
            self.repository.find_many(digests).await
        }
    }

    async_methods! {
        async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.repository.find_by_id(id).await
        }
    }

    fn watch_key(&self, digest: &KeyDigest) -> KeyWatch {
        self.repository.watch_key(digest)
    }

    fn max_batch(&self) -> usize {
        self.repository.max_batch()
    }

    async_methods! {
        async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
            self.repository.identity().await
        }
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        self.repository.known_digests()
    }
}

impl KeyRepository for Announced {
    async_methods! {
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
            let (this, changes) = (self.clone(), changes.clone());
            to_the_end(async move { this.apply_and_announce(&changes).await }).await
        }
    }

    fn bounds_owners(&self) -> bool {
        self.repository.bounds_owners()
    }

    async_methods! {
        async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.repository.get(id).await
        }

        async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
            self.repository.list(query).await
        }

        async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
            self.repository.record_uses(uses).await
        }

        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError> {
            // Purged keys were refused before, and still are.
            self.repository.purge(before, owner).await
        }
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        self.repository.selected_changes().map(|_| self as _)
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        self.repository.watermarks().map(|_| self as _)
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.repository.audit_log()
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        self.repository.balance_store()
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        self.repository.request_log()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        self.repository.usage_log()
    }

    async_methods! {
        async fn announce_again(&self, keys: &[Arc<KeyRecord>]) {
            self.repository.announce_again(keys).await;
            let keys = keys.iter().map(|key| ChangedDigest::as_it_is(key));
            self.announce(Announcement::new(keys)).await;
        }

        async fn close(&self) {
            self.announcer.close().await;
            self.repository.close().await;
        }
    }
}

impl SelectedChanges for Announced {
    async_methods! {
        async fn apply_to(
            &self,
            selection: &Selection,
            plan: &Plan,
        ) -> Result<ApplyOutcome, StoreError> {
            let digests = Digests::default();
            let (this, selection, plan) = (self.clone(), selection.clone(), digests.of(plan));
            to_the_end(async move {
                let selected = this.repository.selected_changes();
                let selected = selected.ok_or_else(StoreError::unsupported)?;
                let result = selected.apply_to(&selection, &plan).await;
                // Also after an error, which does not say that nothing was written.
                this.announce(Announcement::new(digests.take(Written::by(&result)))).await;
                result
            })
            .await
        }
    }
}

impl Watermarks for Announced {
    async_methods! {
        async fn current(&self) -> Result<Vec<WatermarkRecord>, StoreError> {
            let store = self.repository.watermarks().ok_or_else(StoreError::unsupported)?;
            store.current().await
        }

        async fn unwritten(
            &self,
            watermark: &Watermark,
            after: Option<KeyId>,
            limit: usize,
        ) -> Result<Vec<(KeyId, u64)>, StoreError> {
            let store = self.repository.watermarks().ok_or_else(StoreError::unsupported)?;
            store.unwritten(watermark, after, limit).await
        }

        /// Announces it again: an earlier version of this crate reads the rows alone, which were not announced
        /// one by one.
        async fn remove(&self, watermark: &Watermark) -> Result<bool, StoreError> {
            let (this, watermark) = (self.clone(), watermark.clone());
            to_the_end(async move {
                let store = this.repository.watermarks().ok_or_else(StoreError::unsupported)?;
                let is_gone = store.remove(&watermark).await?;
                if is_gone {
                    this.announce(Announcement::default().with_watermarks([watermark])).await;
                }
                Ok(is_gone)
            })
            .await
        }
    }
}
