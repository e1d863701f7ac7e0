//! Writing through a cache: to the store, and then forgotten here.

use std::sync::Arc;

use super::{CachedStore, Inner};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyId, KeyRecord, OwnerId},
    runtime::async_methods,
    store::{
        capabilities::{AuditLog, BalanceStore, RequestLog, SelectedChanges, UsageLog, Watermarks},
        changed_digest::{ChangedDigest, Written},
        list::{KeyPage, KeyQuery},
        repository::{ApplyOutcome, Changes, KeyRepository, KeyUse},
        selection::{Plan, Selection, noted::Digests},
    },
};

/// Reads by id and lists are not cached. What `find` says about uses may be as old as the cache.
impl<S: KeyRepository> KeyRepository for CachedStore<S> {
    async_methods! {
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
            let mut change = Change { cache: &self.inner, changes, written: Written::Unsure };
            let result = self.inner.store.apply(changes).await;
            change.written = Written::by(&result);
            result
        }
    }

    fn bounds_owners(&self) -> bool {
        self.inner.store.bounds_owners()
    }

    async_methods! {
        async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.inner.store.get(id).await
        }

        async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
            self.inner.store.list(query).await
        }

        async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
            self.inner.store.record_uses(uses).await
        }

        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError> {
            let _purge = Purge(&self.inner);
            self.inner.store.purge(before, owner).await
        }
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        self.inner.store.selected_changes().map(|_| self as _)
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        self.inner.store.watermarks()
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.inner.store.audit_log()
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        self.inner.store.balance_store()
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        self.inner.store.request_log()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        self.inner.store.usage_log()
    }

    async_methods! {
        async fn announce_again(&self, keys: &[Arc<KeyRecord>]) {
            self.inner.forget(keys.iter().map(|key| ChangedDigest::as_it_is(key)));
            self.inner.store.announce_again(keys).await;
        }

        async fn close(&self) {
            self.inner.store.close().await;
        }
    }
}

impl<S: KeyRepository> SelectedChanges for CachedStore<S> {
    async_methods! {
        async fn apply_to(
            &self,
            selection: &Selection,
            plan: &Plan,
        ) -> Result<ApplyOutcome, StoreError> {
            let store = self.inner.store.selected_changes().ok_or_else(StoreError::unsupported)?;
            let digests = Digests::default();
            let plan = digests.of(plan);
            let mut change = Planned { cache: &self.inner, digests, written: Written::Unsure };
            let result = store.apply_to(selection, &plan).await;
            change.written = Written::by(&result);
            result
        }
    }
}

/// Forgets keys when it is dropped: after the change, also after one that failed, which does not
/// say that nothing was written, and when the caller goes away in the middle of it.
struct Change<'c, S> {
    cache: &'c Inner<S>,
    changes: &'c Changes,
    written: Written,
}

impl<S> Drop for Change<'_, S> {
    fn drop(&mut self) {
        self.cache.forget_announced(&self.changes.announced(self.written), self.written);
    }
}

/// Like a [`Change`], of the keys that a plan turned out to change.
struct Planned<'c, S> {
    cache: &'c Inner<S>,
    digests: Digests,
    written: Written,
}

impl<S> Drop for Planned<'_, S> {
    fn drop(&mut self) {
        self.cache.forget(self.digests.take(self.written));
    }
}

/// Like a [`Change`], but of unknown keys.
struct Purge<'c, S>(&'c Inner<S>);

impl<S> Drop for Purge<'_, S> {
    fn drop(&mut self) {
        self.0.cache.distrust();
    }
}
