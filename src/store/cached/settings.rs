//! The settings of a [`CachedStore`].

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use super::CachedStore;
use crate::{
    clock::Clock,
    store::{KeyStore, bus::Invalidations, cache},
};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) cache: cache::Settings,
    pub(super) invalidations: Vec<Arc<dyn Invalidations>>,
}

impl Default for Settings {
    fn default() -> Self {
        let lookups_per_second = Some(NonZeroU32::MIN.saturating_add(999));
        Self {
            cache: cache::Settings { lookups_per_second, ..Default::default() },
            invalidations: Vec::new(),
        }
    }
}

/// Set these before the store is used or cloned: each starts with an empty cache.
impl<S: KeyStore> CachedStore<S> {
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.inner.settings.clone();
        change(&mut settings);
        Self::with_settings(self.inner.store.clone(), settings)
    }

    /// Room for so many keys that exist, and as many that do not; 100,000 by default. The least
    /// used make way.
    pub fn with_capacity(self, keys: usize) -> Self {
        self.with(|settings| settings.cache.capacity = keys)
    }

    /// How long a key that was found is used without asking again, at most; 30 seconds by
    /// default. Up to a tenth less, differently for each key.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        self.with(|settings| settings.cache.ttl = ttl)
    }

    /// How long a key that was not found is refused without asking again, at most; 5 seconds by
    /// default. Up to a tenth less, differently for each key.
    pub fn with_not_found_ttl(self, ttl: Duration) -> Self {
        self.with(|settings| settings.cache.not_found_ttl = ttl)
    }

    /// How long after its time a known key still goes on while the store fails; 5 minutes by
    /// default. Zero: not at all.
    pub fn with_stale_if_error(self, duration: Duration) -> Self {
        self.with(|settings| settings.cache.stale_if_error = duration)
    }

    /// How many lookups a second may find no key, on average; 1,000 by default. A second's worth
    /// may come at once.
    ///
    /// A lookup that finds its key costs nothing, so a process that has just started refuses no
    /// good key. Until the store answers, a lookup counts as one that finds nothing: no more of
    /// them are under way at a time than the budget still has. Up to 10,000 further ones wait for
    /// those, or for the time that brings the next, each no longer than the
    /// [lookup timeout](Self::with_lookup_timeout).
    ///
    /// During a change of [peppers](crate::Peppers), an unknown key is looked up by each of its
    /// digests, and a request counts as so many lookups until one of them finds the key.
    pub fn with_lookup_budget(self, per_second: NonZeroU32) -> Self {
        self.with(|settings| settings.cache.lookups_per_second = Some(per_second))
    }

    /// How long a lookup may take, whichever requests wait for it; 5 seconds by default.
    pub fn with_lookup_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.cache.lookup_timeout = timeout)
    }

    /// How long a known key waits for the store before it goes on with what was last known, as if
    /// the store had failed; half a second by default. It should be shorter than the layer's own
    /// [lookup timeout](crate::ApiKeyLayer::with_lookup_timeout), which knows nothing of that.
    pub fn with_patience(self, patience: Duration) -> Self {
        self.with(|settings| settings.cache.patience = patience)
    }

    /// Forgets keys when other nodes say that they have changed.
    ///
    /// Listens from now on, or outside of a tokio runtime from the first lookup on. A subscription
    /// that is lost is made anew. What was said meanwhile was missed: every key is looked up again
    /// before it is trusted, and until there is a subscription, keys live as long as their time to
    /// live says.
    ///
    /// Give the same to
    /// [`KeyManager::with_invalidations`](crate::KeyManager::with_invalidations), which announces
    /// the changes.
    pub fn with_invalidations(self, invalidations: impl Invalidations) -> Self {
        self.with(|settings| settings.invalidations.push(Arc::new(invalidations)))
    }

    /// Reads the time from this clock. By default it is the operating system's: on Linux as of its
    /// last tick, which is 1 to 10 milliseconds late at most and much cheaper to read. Nothing but
    /// the times to live, the budget and the pauses after failures goes by it; a key's own
    /// `expires_at` is judged by the layer, with [its own clock](crate::ApiKeyLayer::with_clock).
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with(|settings| settings.cache.clock = Arc::new(clock))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cache", &self.cache)
            .field("invalidations", &self.invalidations.len())
            .finish()
    }
}
