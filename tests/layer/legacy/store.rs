//! A repository that counts what it is asked and fails when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use tower_api_key::{
    KeyId, OwnerId, Timestamp,
    key::{KeyDigest, KeyRecord},
    store::{
        ApplyOutcome, Changes, KeyPage, KeyQuery, KeyRepository, KeyStore, KeyUse, Lookup,
        MemoryStore, StoreError, StoreErrorKind,
    },
};

/// Clones share the keys, the counts and the troubles.
#[derive(Clone)]
pub(super) struct Watched<R = MemoryStore> {
    pub(super) inner: R,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    lists: AtomicUsize,
    reads: AtomicUsize,
    writes: AtomicUsize,
    cannot_list: AtomicBool,
    cannot_get: AtomicBool,
    cannot_write: AtomicBool,
}

impl<R> Watched<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Pages that were listed.
    pub(super) fn lists(&self) -> usize {
        self.state.lists.load(SeqCst)
    }

    /// Keys that were looked up by waiting, or read by id.
    pub(super) fn reads(&self) -> usize {
        self.state.reads.load(SeqCst)
    }

    /// Changes that were tried.
    pub(super) fn writes(&self) -> usize {
        self.state.writes.load(SeqCst)
    }

    pub(super) fn set_cannot_list(&self, cannot: bool) {
        self.state.cannot_list.store(cannot, SeqCst);
    }

    pub(super) fn set_cannot_get(&self, cannot: bool) {
        self.state.cannot_get.store(cannot, SeqCst);
    }

    pub(super) fn set_cannot_write(&self, cannot: bool) {
        self.state.cannot_write.store(cannot, SeqCst);
    }
}

fn check(trouble: &AtomicBool) -> Result<(), StoreError> {
    let error = || StoreError::new(StoreErrorKind::Unavailable);
    if trouble.load(SeqCst) { Err(error()) } else { Ok(()) }
}

#[async_trait]
impl<R: KeyRepository> KeyStore for Watched<R> {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.inner.find_now(digest)
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.state.reads.fetch_add(1, SeqCst);
        self.inner.find(digest).await
    }
}

#[async_trait]
impl<R: KeyRepository> KeyRepository for Watched<R> {
    async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
        self.state.writes.fetch_add(1, SeqCst);
        check(&self.state.cannot_write)?;
        self.inner.apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.state.reads.fetch_add(1, SeqCst);
        check(&self.state.cannot_get)?;
        self.inner.get(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.state.lists.fetch_add(1, SeqCst);
        check(&self.state.cannot_list)?;
        self.inner.list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        self.inner.record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        self.inner.purge(before, owner).await
    }
}
