//! [`CachedStore`]: a bounded cache in front of a store.

mod barrier;
mod floors;
mod known;
mod listen;
mod repository;
mod settings;
mod watches;
mod watermarks;

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, time::Instant};

pub use self::settings::CachedStoreBuilder;
use self::{
    barrier::Barrier,
    known::{Known, Loader},
    listen::Listeners,
    settings::Settings,
    watches::Watches,
};
use super::{
    AnnouncedKey, AnnouncedState, Announcement, KeyStore, KeyWatch, KnownDigests, Lookup,
    LookupHint, SharedRecord, StoreId, Watermark,
    batcher::Batcher,
    cache::{Answer, Cache, CacheKey, CacheStats, Claim, Copies, Failure, Rank},
    changed_digest::Written,
    fronts::Fronts,
    identity::KnownIdentity,
};
use crate::{
    clock::Timestamp,
    error::{BackEnd, StoreError, StoreErrorKind},
    key::{KeyDigest, KeyId, KeyRecord},
    observe,
    runtime::{MapDigest, async_methods},
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
/// - **Keys that exist go first in a flood**, by a filter of the digests of all keys
///   ([below](#which-lookups-go-first)).
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
/// # Which lookups go first
///
/// Before a lookup, nothing tells a key that exists from one that was made up. So the cache loads the
/// digests of all keys into a filter, in the background, from the first lookup on; it has 2 bytes
/// for each, and takes 1 of 1,000 unknown keys for a known one, or 4 when it is full
/// ([settable](CachedStoreBuilder::with_filter_bits_per_key)). It decides which lookups go first
/// when there are more than the budget allows, and nothing else: no key is refused as unknown
/// because it is not in there.
///
/// - Lookups of **listed** keys may use the whole budget, and half of it is
///   [theirs alone](CachedStoreBuilder::with_reserved_share). Where it is spent, up to 10,000 of
///   them wait, no longer than the lookup timeout.
/// - Lookups of **unlisted** keys use the other half. Where that is spent, they are refused as
///   [`Overloaded`](crate::RejectionKind::Overloaded). A network (/24 of IPv4, /56 of IPv6) that has
///   had an eighth of it leaves the lower half of what is there to others. Where the address of the
///   client is unknown, networks are not told apart.
/// - A listed key that the store does not know is unlisted for an hour.
///
/// Keys that are announced on the bus are listed at once, and keys that other programs add to the
/// store within a minute. After a lost subscription the filter catches up, and is loaded anew, at
/// most once in ten minutes. Until it is loaded, and where the store
/// [cannot list its keys](KeyStore::known_digests), all lookups have the whole budget in common.
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
    batcher: Arc<Batcher>,
    cache: Arc<KeyCache>,
    fronts: Arc<Fronts>,
    known: Arc<Known>,
    barrier: Arc<Barrier>,
    watches: Arc<Watches>,
    loader: Loader,
    listeners: Listeners,
    identity: KnownIdentity,
}

/// Statements under way at a time. With more, there are fewer keys in each and the store has more work.
const STATEMENTS: usize = 2;

/// So many answers of fronts are given without a use of the cache's own entry.
const HITS_UNSEEN: u64 = 64;

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
        let store = Arc::new(store);
        let fronts = Arc::<Fronts>::default();
        let buses = settings.invalidations.len();
        let barrier = Barrier::new(settings.cache.ttl, settings.lag_bound, buses);
        let inner = Inner {
            batcher: Batcher::new(STATEMENTS, Some(settings.cache.lookup_timeout)),
            store,
            cache: Arc::new(Cache::new(settings.cache).with_copies(fronts.clone())),
            fronts,
            known: Arc::new(Known::new(settings.filter_bits_per_key)),
            barrier: Arc::new(barrier),
            watches: Arc::default(),
            loader: Loader::default(),
            listeners: Listeners::new(settings.invalidations),
            identity: KnownIdentity::default(),
        };
        let this = Self { inner: Arc::new(inner) };
        #[cfg(feature = "metrics")]
        observe::register(&this.inner);
        if let Ok(runtime) = Handle::try_current() {
            this.start_listening(&runtime);
        }
        this
    }

    /// Forgets what is known about these keys: the next request with one asks the store.
    pub fn forget(&self, digests: &[KeyDigest]) {
        self.inner.forget(digests.iter().copied().map(AnnouncedKey::new));
    }

    /// Forgets every key, and that there was one.
    pub fn clear(&self) {
        self.inner.barrier.raise_all();
        self.inner.cache.clear();
    }

    /// The counters of the cache so far.
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// What this thread's front does not hold.
    fn find_behind(&self, digest: &KeyDigest, now: Timestamp) -> Option<Lookup<SharedRecord>> {
        let Inner { cache, fronts, .. } = &*self.inner;
        let (key, ticket) = (MapDigest::from(digest), fronts.ticket());
        let ask = || self.ask(digest, LookupHint::new());
        Some(match cache.find_now_at(&key, now, ask)? {
            (Lookup::Found(record), Some(until)) => {
                Lookup::Found(fronts.keep(ticket, key, record, until.as_unix_millis()))
            }
            (Lookup::Found(record), None) => Lookup::Found(record.into()),
            (Lookup::NotFound, _) => Lookup::NotFound,
        })
    }

    /// A lookup in the store.
    fn ask(
        &self,
        digest: &KeyDigest,
        hint: LookupHint,
    ) -> impl Future<Output = Answer<Arc<KeyRecord>, StoreError>> + Send + use<S> {
        if let Ok(runtime) = Handle::try_current() {
            let Inner { store, known, loader, cache, .. } = &*self.inner;
            self.start_listening(&runtime);
            loader.start(&runtime, known, store, &cache.settings().clock);
        }
        let Inner { store, batcher, known, barrier, cache, .. } = &*self.inner;
        let (store, batcher) = (store.clone(), batcher.clone());
        let (known, barrier, cache) = (known.clone(), barrier.clone(), cache.clone());
        let digest = *digest;
        async move {
            let resets = barrier.resets();
            // What this node has said once is not taken back for an older row.
            let last = cache.found_last(&MapDigest::from(&digest));
            let last = last.as_deref();
            let found = if barrier.needs_authority(&*store, &digest) {
                // Boxed, as are those below: most lookups have no use for it.
                Box::pin(barrier.ask_authority(&*store, &digest, last, resets)).await
            } else {
                let found = if store.max_batch() > 1 {
                    let claim = known.claim(&digest, hint, cache.settings().clock.now());
                    let is_listed = claim.rank == Rank::Listed;
                    Box::pin(batcher.find_together(&store, digest, is_listed)).await
                } else {
                    store.find_for(&digest, hint).await
                };
                match found {
                    Ok(found) if barrier.doubts(&*store, &digest, found.as_deref(), last) => {
                        Box::pin(barrier.ask_authority(&*store, &digest, last, resets)).await
                    }
                    found => found,
                }
            };
            match &found {
                Ok(Some(record)) => barrier.remember_end(&*store, record, resets),
                Ok(None) => known.deny(&digest, cache.settings().clock.now()),
                Err(_) => {}
            }
            found
        }
    }

    /// The claim of a lookup to the budget.
    fn claim(&self, digest: &KeyDigest, hint: LookupHint) -> Claim {
        self.inner.known.claim(digest, hint, self.inner.cache.settings().clock.now())
    }
}

#[cfg(feature = "metrics")]
impl<S: KeyStore> observe::FigureSource for Inner<S> {
    fn tell(&self, told: &mut observe::Told) {
        told.cache("keys", &self.stats().figures());
    }
}

impl<S> Inner<S> {
    fn stats(&self) -> CacheStats {
        let mut stats = self.cache.stats();
        stats.hits += self.fronts.hits();
        self.known.add_to(&mut stats);
        stats
    }

    /// Forgets keys that have changed, and uses nothing older than the changes from now on.
    fn forget(&self, changed: impl IntoIterator<Item = AnnouncedKey>) {
        let changed = changed.into_iter().map(|key| self.with_what_was_found(key));
        let changed: Vec<AnnouncedKey> = changed.collect();
        let digests: Vec<KeyDigest> = changed.iter().map(|key| *key.digest()).collect();
        // First: a lookup that is begun anew when the old one is forgotten has its rank and its floor by
        // then, and one that ends before has its answer forgotten.
        self.known.insert(&digests);
        self.barrier.raise(&changed, self.cache.settings().clock.now());
        for digest in &digests {
            self.cache.forget(&MapDigest::from(digest));
        }
        self.watches.tell(&digests);
    }

    /// Forgets what has changed here.
    fn forget_announced(&self, announcement: &Announcement, written: Written) {
        let watermarks = announcement.watermarks();
        self.raise_watermarks(watermarks, written == Written::Yes);
        self.sweep(watermarks);
        self.forget(announcement.keys().iter().copied());
    }

    /// Uses no answer from now on in which a key is not revoked that was so by the time of its creation.
    fn raise_watermarks(&self, watermarks: &[Watermark], are_certain: bool) {
        let now = self.cache.settings().clock.now();
        for watermark in watermarks {
            self.barrier.raise_watermark(watermark, are_certain, now);
        }
    }

    /// Forgets the keys that these watermarks cover. After they were raised, as with keys.
    fn sweep(&self, watermarks: &[Watermark]) {
        if !watermarks.is_empty() {
            let is_meant =
                |record: &Arc<KeyRecord>| watermarks.iter().any(|watermark| watermark.ends(record));
            self.cache.forget_where(is_meant);
            self.watches.tell_all();
        }
    }

    /// This node may know of a later change than the one that is announced. That one stands: a change is made
    /// to the revision that it was made from, and to no later one.
    fn with_what_was_found(&self, key: AnnouncedKey) -> AnnouncedKey {
        let Some(last) = self.cache.found_last(&MapDigest::from(key.digest())) else { return key };
        match key.revision() {
            None => key.with_change(last.revision, AnnouncedState::Unsure),
            Some(revision) if revision < last.revision => {
                key.with_change(last.revision, AnnouncedState::of(&last))
            }
            Some(_) => key,
        }
    }

    /// The store is what it says from now on, whatever was announced before.
    fn reset(&self) {
        self.known.miss();
        self.barrier.reset();
        self.cache.clear();
        // Again: a lookup that began in between knew what was in memory.
        self.barrier.reset();
        self.watches.tell_all();
    }

    /// Changes may have been missed.
    fn distrust(&self) {
        self.known.miss();
        self.barrier.raise_all();
        self.cache.distrust();
    }
}

impl<S: KeyStore> KeyStore for CachedStore<S> {
    #[inline]
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.inner.cache.find_now(&MapDigest::from(digest), || self.ask(digest, LookupHint::new()))
    }

    #[inline]
    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        let Inner { cache, fronts, .. } = &*self.inner;
        let now = cache.settings().clock.now();
        let key = MapDigest::from(digest);
        match fronts.find(key, |until| cache.is_fresh(until, now)) {
            Some((record, hits)) => {
                // Or a busy key would leave the cache for want of use.
                if hits % HITS_UNSEEN == 0 {
                    cache.touch(&key);
                }
                Some(Lookup::Found(record))
            }
            None => self.find_behind(digest, now),
        }
    }

    async_methods! {
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
                None => {
                    let claim = || self.claim(digest, hint);
                    self.inner.cache.look_up(&key, claim, || self.ask(digest, hint)).await
                }
            }
        }

        async fn find_fresh(
            &self,
            digest: &KeyDigest,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            let Inner { barrier, store, .. } = &*self.inner;
            barrier.ask_authority(&**store, digest, None, barrier.resets()).await
        }
    }

    async_methods! {
        async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            let _turn = self.inner.barrier.turn_of_stream().await?;
            let asked_at = Instant::now();
            let found = self.inner.store.find_by_id(id).await?;
            match &found {
                Some(record) if self.inner.barrier.is_behind(record, asked_at) => {
                    Err(StoreError::new(StoreErrorKind::Behind))
                }
                _ => Ok(found),
            }
        }
    }

    fn watch_key(&self, digest: &KeyDigest) -> KeyWatch {
        let settings = self.inner.cache.settings();
        KeyWatch::new(self.inner.watches.watch(digest))
            .with_every(settings.ttl)
            .with_silence(settings.ttl.saturating_add(settings.stale_if_error))
    }

    fn may_exist(&self, digest: &KeyDigest) -> bool {
        let now = self.inner.cache.settings().clock.now();
        self.inner.known.rank(digest, now) != Rank::Unlisted
    }

    fn may_lag(&self) -> bool {
        self.inner.store.may_lag()
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        self.inner.store.known_digests()
    }

    async_methods! {
        async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
            self.inner.store.identity().await
        }
    }
}

impl Copies<MapDigest> for Fronts {
    fn change(&self, key: Option<&MapDigest>, change: &mut dyn FnMut()) {
        self.change(key.copied(), change);
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
    const BACK_END: BackEnd = BackEnd::KeyStore;

    fn timeout() -> Self {
        Self::timeout()
    }

    fn overloaded() -> Self {
        Self::new(StoreErrorKind::Overloaded)
    }

    fn given_up(reason: &'static str) -> Self {
        Self::unavailable(reason)
    }

    fn is_outage(&self) -> bool {
        self.is_outage()
    }

    fn contradicts_memory(&self) -> bool {
        self.kind() == StoreErrorKind::Behind
    }

    fn report(&self) {
        observe::lookup_failed(self);
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
