//! [`CachedStore`]: a bounded cache in front of a store.

mod listen;
mod repository;
mod settings;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tokio::runtime::Handle;

pub use self::settings::CachedStoreBuilder;
use self::{listen::Listeners, settings::Settings};
use super::{
    KeyStore, KnownDigests, Lookup, LookupHint,
    cache::{Answer, Cache, CacheKey, CacheStats, Failure},
};
use crate::{
    error::{StoreError, StoreErrorKind},
    key::{KeyDigest, KeyRecord},
    observe,
    runtime::MapDigest,
};

/// A bounded cache in front of a store, for as many keys as are in use.
///
/// - **A hit never waits**: one lookup in memory, no allocation.
/// - **Concurrent misses of one key are one lookup**, which goes on when a caller goes away.
/// - **Unknown keys are remembered too**, apart from the others, so that a flood of them displaces
///   no good key, for a shorter time, and with a budget: beyond so many lookups a second that find
///   nothing, keys not in memory are denied as [`Overloaded`](crate::RejectionKind::Overloaded).
///   Keys that are known go on, and a lookup that finds its key costs nothing. During a change of
///   [peppers](crate::Peppers) this holds for a key's digests together.
/// - **Keys in use are looked up again before their time is up**, in the background.
/// - **When the store fails, known keys go on** for a while, with what was last known about them,
///   and without waiting for it. Unknown keys are told to try again, never let in and never
///   called bad.
/// - **A change made through this store is forgotten at once**, and one made elsewhere when it is
///   announced on [`Invalidations`](super::Invalidations), or else when its time is up. A key that
///   expires by its own `expires_at` is refused on time in any case.
///
/// # What is guaranteed
///
/// A key that was revoked is refused on every node
///
/// - with [invalidations](CachedStoreBuilder::with_invalidations), as soon as the message arrives;
/// - in front of a SQLite file, a tenth of a second after another process has changed it;
/// - without, or while they are disconnected, within the
///   [time to live](CachedStoreBuilder::with_ttl): keys in MySQL rely on that, or take Redis to
///   carry invalidations;
/// - if the store fails as well, or takes longer than the
///   [soft timeout](CachedStoreBuilder::with_soft_timeout), within
///   [`stale_if_error`](CachedStoreBuilder::with_stale_if_error) after that.
///
/// # Use
///
/// Clones share the same cache. Lookups need a tokio runtime with time enabled.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{KeyManager, store::{CachedStore, LocalInvalidations, MemoryStore}};
///
/// let changes = LocalInvalidations::new();
/// let store = CachedStore::builder(MemoryStore::new())
///     .with_ttl(Duration::from_secs(10))
///     .with_invalidations(changes.clone())
///     .build();
/// let layer = KeyManager::new(store.clone()).with_invalidations(changes).layer();
/// assert_eq!(store.stats().hits, 0);
/// # let _ = layer;
/// ```
pub struct CachedStore<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    store: Arc<S>,
    cache: Arc<KeyCache>,
    listeners: Listeners,
}

type KeyCache = Cache<MapDigest, Arc<KeyRecord>, StoreError>;

impl<S: KeyStore> CachedStore<S> {
    /// A cache with room for 100,000 keys, in front of `store`. What is found lives 30 seconds,
    /// what is not 5; known keys go on for 5 minutes when the store fails; 1,000 lookups a second
    /// may find nothing.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// Like [`new`](Self::new), with other settings than the defaults.
    pub fn builder(store: S) -> CachedStoreBuilder<S> {
        CachedStoreBuilder::new(store)
    }

    fn with_settings(store: S, settings: Settings) -> Self {
        let inner = Inner {
            store: Arc::new(store),
            cache: Arc::new(Cache::new(settings.cache)),
            listeners: Listeners::new(settings.invalidations),
        };
        let this = Self { inner: Arc::new(inner) };
        if let Ok(runtime) = Handle::try_current() {
            this.start_listening(&runtime);
        }
        this
    }

    /// Forgets what is known about these keys: the next request with one asks the store.
    pub fn forget(&self, digests: &[KeyDigest]) {
        self.inner.forget(digests.iter().copied());
    }

    /// Forgets every key, and that there was one.
    pub fn clear(&self) {
        self.inner.cache.clear();
    }

    /// The counters of the cache so far.
    pub fn stats(&self) -> CacheStats {
        self.inner.cache.stats()
    }

    /// A lookup in the store.
    fn ask(
        &self,
        digest: &KeyDigest,
        hint: LookupHint,
    ) -> impl Future<Output = Answer<Arc<KeyRecord>, StoreError>> + Send + use<S> {
        if let Ok(runtime) = Handle::try_current() {
            self.start_listening(&runtime);
        }
        let (store, digest) = (self.inner.store.clone(), *digest);
        async move { store.find_for(&digest, hint).await }
    }
}

impl<S> Inner<S> {
    fn forget(&self, digests: impl IntoIterator<Item = KeyDigest>) {
        for digest in digests {
            self.cache.forget(&MapDigest::from(&digest));
        }
    }
}

#[async_trait]
impl<S: KeyStore> KeyStore for CachedStore<S> {
    #[inline]
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.inner.cache.find_now(&MapDigest::from(digest), || self.ask(digest, LookupHint::new()))
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.find_for(digest, LookupHint::new()).await
    }

    async fn find_for(
        &self,
        digest: &KeyDigest,
        hint: LookupHint,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let key = MapDigest::from(digest);
        match self.inner.cache.find_now(&key, || self.ask(digest, hint)) {
            Some(Lookup::Found(record)) => Ok(Some(record)),
            Some(Lookup::NotFound) => Ok(None),
            None => self.inner.cache.look_up(&key, || self.ask(digest, hint)).await,
        }
    }

    async fn find_fresh(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.inner.store.find_fresh(digest).await
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        self.inner.store.known_digests()
    }
}

impl CacheKey for MapDigest {
    /// A key whose digest is renewed.
    const MOVES: bool = true;

    #[inline]
    fn jitter(&self) -> u8 {
        self.first_byte()
    }
}

impl Failure for StoreError {
    fn timeout() -> Self {
        Self::timeout()
    }

    fn overloaded() -> Self {
        Self::new(StoreErrorKind::Overloaded)
    }

    fn given_up(reason: &'static str) -> Self {
        Self::unavailable(reason)
    }

    /// A store that is too busy for one key is not gone.
    fn is_outage(&self) -> bool {
        match self.kind() {
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout => true,
            StoreErrorKind::Overloaded
            | StoreErrorKind::Duplicate
            | StoreErrorKind::Unsupported
            | StoreErrorKind::Corrupt => false,
        }
    }

    fn report(&self) {
        observe::lookup_failed(self);
    }

    fn report_end() {
        observe::store_is_back();
    }
}

impl<S> Clone for CachedStore<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore")
            .field("store", &self.inner.store)
            .field("settings", self.inner.cache.settings())
            .field("listeners", &self.inner.listeners.len())
            .finish_non_exhaustive()
    }
}
