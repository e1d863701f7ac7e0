//! The settings of a [`CachedStore`], and its builder.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use super::CachedStore;
use crate::{
    clock::Clock,
    store::{KeyStore, bus::Invalidations, cache, lag::LAG_BOUND},
};

pub(super) struct Settings {
    pub(super) cache: cache::Settings,
    pub(super) filter_bits_per_key: u8,
    pub(super) lag_bound: Duration,
    pub(super) invalidations: Vec<Arc<dyn Invalidations>>,
}

impl Default for Settings {
    fn default() -> Self {
        let lookups_per_second = Some(NonZeroU32::MIN.saturating_add(999));
        Self {
            cache: cache::Settings { lookups_per_second, ..Default::default() },
            filter_bits_per_key: 12,
            lag_bound: LAG_BOUND,
            invalidations: Vec::new(),
        }
    }
}

/// Makes a [`CachedStore`]: [`CachedStore::builder`] begins, [`build`](Self::build) ends.
#[must_use]
pub struct CachedStoreBuilder<S> {
    store: S,
    settings: Settings,
}

impl<S: KeyStore> CachedStoreBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self { store, settings: Settings::default() }
    }

    /// Room for so many keys that exist, and as many that do not; 100,000 by default. The least
    /// used make way.
    pub fn with_capacity(mut self, keys: usize) -> Self {
        self.settings.cache.capacity = keys;
        self
    }

    /// How long a key that was found is used without asking again, at most; 30 seconds by
    /// default. Up to a tenth less, differently for each key.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.settings.cache.ttl = ttl;
        self
    }

    /// How long a key that was not found is refused without asking again, at most; 5 seconds by
    /// default. Up to a tenth less, differently for each key.
    pub fn with_not_found_ttl(mut self, ttl: Duration) -> Self {
        self.settings.cache.not_found_ttl = ttl;
        self
    }

    /// How long after its time a known key still goes on while the store fails; 5 minutes by
    /// default. Zero: not at all.
    pub fn with_stale_if_error(mut self, duration: Duration) -> Self {
        self.settings.cache.stale_if_error = duration;
        self
    }

    /// How many lookups a second may find no key, on average; 1,000 by default. A second's worth
    /// may come at once.
    ///
    /// Half of them are [for keys that most probably exist](CachedStore#which-lookups-go-first).
    ///
    /// A lookup that finds its key costs nothing, so a process that has just started refuses no
    /// good key. Until the store answers, a lookup counts as one that finds nothing: no more of
    /// them are under way at a time than the budget still has. Up to 10,000 further ones wait for
    /// those, or for the time that brings the next, each no longer than the
    /// [lookup timeout](Self::with_lookup_timeout).
    ///
    /// During a change of [peppers](crate::Peppers), an unknown key is looked up by each of its
    /// digests, and a request counts as so many lookups until one of them finds the key.
    pub fn with_lookup_budget(mut self, per_second: NonZeroU32) -> Self {
        self.settings.cache.lookups_per_second = Some(per_second);
        self
    }

    /// How much of the [lookup budget](Self::with_lookup_budget) is for
    /// [listed](CachedStore#which-lookups-go-first) keys alone, in percent; 50 by default. Of 100, one
    /// lookup a second is left for the others; more is 100.
    pub fn with_reserved_share(mut self, percent: u8) -> Self {
        self.settings.cache.reserved = percent.min(100);
        self
    }

    /// How many bits of memory the filter of [listed](CachedStore#which-lookups-go-first) keys has for
    /// each when it is full; 12 by default, 4 to 32. It is loaded with room for a third more keys than there
    /// are: that is 16 bits for each that is there.
    ///
    /// | bits | unknown keys taken for known, loaded | full |
    /// |---|---|---|
    /// | 8 | 0.71 % | 2.53 % |
    /// | 10 | 0.25 % | 0.96 % |
    /// | 12 | 0.10 % | 0.41 % |
    /// | 16 | 0.02 % | 0.10 % |
    pub fn with_filter_bits_per_key(mut self, bits: u8) -> Self {
        self.settings.filter_bits_per_key = bits.clamp(4, 32);
        self
    }

    /// How far a replica that the store [reads from](KeyStore::may_lag) may be behind, at most; 60 seconds by
    /// default.
    ///
    /// For so long, and the [time to live](Self::with_ttl), no answer is used that is older than a change
    /// which was announced. And for so long after it began to listen to all of its
    /// [buses](Self::with_invalidations), a cache asks no replica. Without a bus it never does.
    ///
    /// It must not be less than the bound to which the store holds its replicas. That of the SQL stores is the
    /// same by default.
    pub fn with_lag_bound(mut self, lag_bound: Duration) -> Self {
        self.settings.lag_bound = lag_bound;
        self
    }

    /// How long a lookup may take, whichever requests wait for it; 5 seconds by default. Then it is
    /// given up, and an error.
    pub fn with_lookup_timeout(mut self, timeout: Duration) -> Self {
        self.settings.cache.lookup_timeout = timeout;
        self
    }

    /// How long a request with a known key waits for a lookup; half a second by default. Then it
    /// goes on with what was last known, as if the store had failed. The lookup itself goes on, up
    /// to its [own timeout](Self::with_lookup_timeout), and requests with other keys wait for that.
    ///
    /// It should be shorter than the layer's
    /// [lookup timeout](crate::ApiKeyLayer::with_lookup_timeout), which knows nothing of what was
    /// last known.
    pub fn with_soft_timeout(mut self, timeout: Duration) -> Self {
        self.settings.cache.soft_timeout = timeout;
        self
    }

    /// Forgets keys when other nodes say that they have changed.
    ///
    /// Listens once it is [built](Self::build), or outside of a tokio runtime from the first lookup
    /// on. A subscription that is lost is made anew. What was said meanwhile was missed: every key
    /// is looked up again before it is trusted, and until there is a subscription, keys live as long
    /// as their time to live says.
    ///
    /// Given several, it listens to each.
    ///
    /// Give the same to
    /// [`KeyManager::with_invalidations`](crate::KeyManager::with_invalidations), which announces
    /// the changes.
    pub fn with_invalidations(mut self, invalidations: impl Invalidations) -> Self {
        self.settings.invalidations.push(Arc::new(invalidations));
        self
    }

    /// Reads the time from this clock. By default it is the operating system's: on Linux as of its
    /// last tick, which is 1 to 10 milliseconds late at most and much cheaper to read. Nothing but
    /// the times to live, the budget and the pauses after failures goes by it; a key's own
    /// `expires_at` is judged by the layer, with [its own clock](crate::ApiKeyLayer::with_clock).
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.cache.clock = Arc::new(clock);
        self
    }

    /// The cache, with no key in it yet.
    pub fn build(self) -> CachedStore<S> {
        CachedStore::with_settings(self.store, self.settings)
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedStoreBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStoreBuilder")
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cache", &self.cache)
            .field("filter_bits_per_key", &self.filter_bits_per_key)
            .field("lag_bound", &self.lag_bound)
            .field("invalidations", &self.invalidations.len())
            .finish()
    }
}
