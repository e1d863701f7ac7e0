//! A repository whose calls of balances can be held up, counted and made to fail.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, AuditLog, BalanceStore, Balances, Changes, KeyPage, KeyQuery, KeyRepository,
        KeyStore, KeyUse, MemoryStore, StoreError,
    },
};

/// Where a call is: its effect is to come, or has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeRead,
    AfterRead,
    BeforeWrite,
    AfterWrite,
}

pub(crate) type Wait = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

#[derive(Clone)]
pub(crate) struct Watched {
    store: MemoryStore,
    /// What happens at each point of each call.
    hook: Arc<dyn Fn(Point) -> Wait + Send + Sync>,
}

impl Watched {
    pub(crate) fn new<F>(
        store: &MemoryStore,
        hook: impl Fn(Point) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        Self { store: store.clone(), hook: Arc::new(move |point| Box::pin(hook(point))) }
    }

    /// One that counts how often balances are read, and written.
    pub(crate) fn counting(store: &MemoryStore) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let counter = counts.clone();
        let watched = Self::new(store, move |point| {
            match point {
                Point::BeforeRead => counter.reads.fetch_add(1, Ordering::Relaxed),
                Point::BeforeWrite => counter.writes.fetch_add(1, Ordering::Relaxed),
                Point::AfterRead | Point::AfterWrite => 0,
            };
            async { Ok(()) }
        });
        (watched, counts)
    }
}

#[derive(Default)]
pub(crate) struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Counts {
    /// Reads and writes.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl KeyStore for Watched {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.find(digest).await
    }
}

#[async_trait]
impl KeyRepository for Watched {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        (self.hook)(Point::BeforeWrite).await?;
        let update = self.store.apply(changes).await;
        (self.hook)(Point::AfterWrite).await?;
        update
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.store.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.store.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.store.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.store.purge(before, owner).await
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.store.audit_log()
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        Some(self)
    }
}

#[async_trait]
impl BalanceStore for Watched {
    async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError> {
        (self.hook)(Point::BeforeRead).await?;
        let balances = self.store.balances(lineages).await;
        (self.hook)(Point::AfterRead).await?;
        balances
    }
}
