//! The builder of [`CachedOwners`].

use std::{fmt, sync::Arc, time::Duration};

use super::{CachedOwners, OwnerResolver};
use crate::{clock::Clock, store::cache::Settings};

/// Makes [`CachedOwners`]: [`CachedOwners::builder`] begins, [`build`](Self::build) ends.
#[must_use]
pub struct CachedOwnersBuilder<R: OwnerResolver> {
    resolver: R,
    settings: Settings,
}

impl<R: OwnerResolver> CachedOwnersBuilder<R> {
    pub(super) fn new(resolver: R) -> Self {
        Self { resolver, settings: Settings::default() }
    }

    /// Room for so many active owners, and as many others; 100,000 by default. The least used make
    /// way.
    pub fn with_capacity(mut self, owners: usize) -> Self {
        self.settings.capacity = owners;
        self
    }

    /// How long an active owner is let in without asking again, at most; 30 seconds by default. Up
    /// to a tenth less, differently for each owner.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// How long an owner who was not found, or is not active, is refused without asking again, at
    /// most; 5 seconds by default. Up to a tenth less, differently for each owner.
    pub fn with_not_found_ttl(mut self, ttl: Duration) -> Self {
        self.settings.not_found_ttl = ttl;
        self
    }

    /// How long after their time a known owner still goes on while the resolver fails; 5 minutes
    /// by default. Zero: not at all.
    pub fn with_stale_if_error(mut self, duration: Duration) -> Self {
        self.settings.stale_if_error = duration;
        self
    }

    /// How long a call of the resolver may take, whichever caller waits; 5 seconds by default. Then
    /// it is given up, and an error.
    pub fn with_lookup_timeout(mut self, timeout: Duration) -> Self {
        self.settings.lookup_timeout = timeout;
        self
    }

    /// How long a request of a known owner waits for the resolver; half a second by default. Then it
    /// goes on with what was last known, as if the resolver had failed. The call itself goes on, up
    /// to its [own timeout](Self::with_lookup_timeout), and requests of other owners wait for that.
    ///
    /// It should be shorter than the layer's
    /// [lookup timeout](crate::OwnerLayer::with_lookup_timeout), which knows nothing of what was
    /// last known.
    pub fn with_soft_timeout(mut self, timeout: Duration) -> Self {
        self.settings.soft_timeout = timeout;
        self
    }

    /// Reads the time from this clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// The cache, with no owner in it yet.
    pub fn build(self) -> CachedOwners<R> {
        CachedOwners::with_settings(self.resolver, self.settings)
    }
}

impl<R: OwnerResolver> fmt::Debug for CachedOwnersBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedOwnersBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
