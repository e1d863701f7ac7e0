//! A store that keeps keys, and little else.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, BalanceStore, Balances, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore,
        KeyUse, MemoryStore, StoreError,
    },
};

/// Keeps no audit log, no usage and perhaps no credits, and may be down.
#[derive(Clone, Default)]
pub(crate) struct Plain {
    pub(crate) inner: MemoryStore,
    pub(crate) is_down: bool,
    /// How often credits were asked for; `None`: it keeps none.
    pub(crate) balances: Option<Arc<AtomicUsize>>,
}

impl Plain {
    fn up(&self) -> Result<&MemoryStore, StoreError> {
        let down = || StoreError::unavailable("postgres://user:hunter2@db.internal refused");
        if self.is_down { Err(down()) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl KeyStore for Plain {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.up()?.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Plain {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        self.up()?.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.up()?.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.up()?.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.up()?.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.up()?.purge(before, owner).await
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        self.balances.as_ref().map(|_| self as _)
    }
}

#[async_trait]
impl BalanceStore for Plain {
    async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        self.balances.as_ref().unwrap().fetch_add(1, Ordering::Relaxed);
        self.up()?.balances(lineages).await
    }
}
