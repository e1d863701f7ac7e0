//! Which keys may exist: a filter of the digests of all keys in the store.
//!
//! It ranks lookups and never answers one.

mod denied;
mod filter;
mod load;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::sync::Notify;

pub(super) use self::load::Loader;
use self::{denied::Denied, filter::Filter};
use crate::{
    clock::Timestamp,
    key::KeyDigest,
    runtime::{Network, RwLock},
    store::{
        LookupHint,
        cache::{CacheStats, Claim, Rank},
    },
};

/// The filter of a cache.
pub(super) struct Known {
    filters: RwLock<Filters>,
    denied: Denied,
    bits_per_key: u8,
    /// Changes may have been missed since the filter was last loaded as a whole.
    has_missed: AtomicBool,
    /// Wakes the loader.
    missed: Notify,
}

#[derive(Default)]
struct Filters {
    /// None until it was loaded for the first time.
    loaded: Option<Arc<Filter>>,
    /// The next one, while it is loaded.
    loading: Option<Arc<Filter>>,
}

impl Known {
    pub(super) fn new(bits_per_key: u8) -> Self {
        Self {
            filters: RwLock::default(),
            denied: Denied::default(),
            bits_per_key,
            has_missed: AtomicBool::new(false),
            missed: Notify::new(),
        }
    }

    /// The claim of a lookup to the budget.
    pub(super) fn claim(&self, digest: &KeyDigest, hint: LookupHint, now: Timestamp) -> Claim {
        // The digest of such a key is stored at its first use.
        let rank = match self.rank(digest, now) {
            Rank::Unlisted if hint.may_have_slow_hash => Rank::Listed,
            rank => rank,
        };
        let network = hint.address.map(|address| Network::from(address).number());
        Claim { rank, network }
    }

    /// How likely it is that there is such a key.
    pub(super) fn rank(&self, digest: &KeyDigest, now: Timestamp) -> Rank {
        match self.is_listed(digest) {
            None => Rank::Unranked,
            Some(true) if !self.denied.contains(digest, now) => Rank::Listed,
            Some(_) => Rank::Unlisted,
        }
    }

    /// The store has said that there is no such key.
    pub(super) fn deny(&self, digest: &KeyDigest, now: Timestamp) {
        if self.is_listed(digest) == Some(true) {
            self.denied.insert(digest, now);
        }
    }

    /// Whether the filter has it; none as long as it is not loaded.
    fn is_listed(&self, digest: &KeyDigest) -> Option<bool> {
        Some(self.filters.read().loaded.as_ref()?.contains(digest))
    }

    /// There may be such keys.
    pub(super) fn insert(&self, digests: &[KeyDigest]) {
        let filters = self.filters.read();
        for filter in [&filters.loaded, &filters.loading].into_iter().flatten() {
            filter.insert_all(digests);
        }
        drop(filters);
        self.denied.forgive(digests);
    }

    /// Keys may have been created of which nothing was heard.
    pub(super) fn miss(&self) {
        self.has_missed.store(true, Relaxed);
        self.missed.notify_one();
    }

    pub(super) fn add_to(&self, stats: &mut CacheStats) {
        let filters = self.filters.read();
        stats.filter_keys = filters.loaded.as_ref().map(|filter| filter.keys());
        let both = [&filters.loaded, &filters.loading].into_iter().flatten();
        stats.filter_bytes = both.map(|filter| filter.bytes()).sum();
    }
}
