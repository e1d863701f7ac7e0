//! A bounded cache of things that are looked up elsewhere, with one lookup for all callers that
//! miss the same thing. [`CachedStore`](crate::store::CachedStore) keeps keys in one, and
//! [`CachedOwners`](crate::owner::CachedOwners) their owners.

mod budget;
mod calls;
mod memory;
mod one_key;
mod settings;
mod stats;

use std::{future::Future, hash::Hash, sync::Arc};

use self::{
    budget::Budget,
    calls::Calls,
    memory::{Memory, Recalled},
    stats::Counters,
};
use super::Lookup;
use crate::{
    clock::Timestamp,
    error::BackEnd,
    observe,
    runtime::{Background, Breaker},
};

pub(crate) use self::budget::{Claim, Rank};
pub(crate) use self::one_key::of_one_key;
pub(crate) use self::settings::Settings;
pub use self::stats::CacheStats;

/// Known things that are found elsewhere, by `K`. A caller that asks for one says how to find it:
/// a lookup is the same for all callers that ask for the same thing.
pub(crate) struct Cache<K: CacheKey, V, E> {
    settings: Settings,
    memory: Memory<K, V>,
    calls: Calls<K, V, E>,
    /// Looks after requests that make lookups themselves.
    watch: Background,
    /// None where no client can ask for things that do not exist.
    budget: Option<Arc<Budget>>,
    breaker: Breaker,
    counters: Counters,
}

/// The key by which a thing is found. Hashed with a seed of the cache's own, so it writes words
/// that are spread well already.
pub(crate) trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {
    /// Whether a thing that is no longer known by one key may be known by another from now on.
    const MOVES: bool;

    /// By how much the time to live is shortened, from not at all to a tenth.
    fn jitter(&self) -> u8;
}

/// Holds copies of what a cache knows.
pub(crate) trait Copies<K>: Send + Sync + 'static {
    /// Makes a change to what the cache knows of this thing, or of all. The copies of it are gone
    /// before it begins, and none is made until it has ended.
    fn change(&self, key: Option<&K>, change: &mut dyn FnMut());
}

/// Why a lookup brought nothing.
pub(crate) trait Failure: Clone + Send + Sync + 'static {
    /// The role of the source.
    const BACK_END: BackEnd;

    /// It took too long.
    fn timeout() -> Self;
    /// It was not begun, because there are too many.
    fn overloaded() -> Self;
    /// It ended without an answer, or cannot begin.
    fn given_up(reason: &'static str) -> Self;
    /// Whether it says that the source is down as a whole. One thing that cannot be read
    /// says nothing about the others.
    fn is_outage(&self) -> bool;
    /// Whether the thing is known to have changed since it was last found, so that what was known is no
    /// excuse.
    fn contradicts_memory(&self) -> bool;
    /// Tells the operator of it.
    fn report(&self);
}

/// The result of a lookup, for all callers that waited for it.
pub(crate) type Answer<V, E> = Result<Option<V>, E>;

impl<K: CacheKey, V: Clone + Send + Sync + 'static, E: Failure> Cache<K, V, E> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            memory: Memory::new(&settings),
            calls: Calls::default(),
            watch: Background::default(),
            budget: settings.lookups_per_second.map(|per_second| {
                Budget::new(per_second, settings.reserved, settings.clock.clone())
            }),
            breaker: Breaker::new(E::BACK_END, observe::back_end),
            counters: Counters::default(),
            settings,
        }
    }

    /// Has these copies follow what the cache knows.
    pub(crate) fn with_copies(mut self, copies: Arc<dyn Copies<K>>) -> Self {
        self.memory.set_copies(copies);
        self
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The answer that needs no waiting. A due thing is looked up with `ask`, in the background.
    #[inline]
    pub(crate) fn find_now<F>(
        self: &Arc<Self>,
        key: &K,
        ask: impl FnOnce() -> F,
    ) -> Option<Lookup<V>>
    where
        F: Future<Output = Answer<V, E>> + Send + 'static,
    {
        self.find_now_at(key, self.settings.clock.now(), ask).map(|(lookup, _)| lookup)
    }

    /// The same, at this moment, and until when a copy of what was found may be used.
    #[inline]
    pub(crate) fn find_now_at<F>(
        self: &Arc<Self>,
        key: &K,
        now: Timestamp,
        ask: impl FnOnce() -> F,
    ) -> Option<(Lookup<V>, Option<Timestamp>)>
    where
        F: Future<Output = Answer<V, E>> + Send + 'static,
    {
        let recalled = self.recall(key, now)?;
        if recalled.is_due {
            self.refresh(key, ask);
        }
        if recalled.is_stale {
            Counters::count(&self.counters.stale);
        } else {
            self.counters.count_hit(key.jitter());
        }
        Some((recalled.lookup, recalled.fresh_until))
    }

    /// The answer that needs no lookup.
    #[inline]
    fn recall(&self, key: &K, now: Timestamp) -> Option<Recalled<V>> {
        self.memory.recall(key, now, || self.breaker.is_open(now))
    }

    /// The last known value, if that may be used when lookups fail.
    fn last_known(&self, key: &K) -> Option<V> {
        self.memory.last_known(key, self.settings.clock.now())
    }

    /// The same, when a lookup has failed.
    fn go_on_with_last_known(&self, key: &K) -> Option<V> {
        let value = self.last_known(key)?;
        Counters::count(&self.counters.stale);
        Some(value)
    }

    /// Forgets what is known about a thing: the next caller has it looked up.
    pub(crate) fn forget(&self, key: &K) {
        let mut calls = self.calls.lock();
        calls.abandon(key);
        self.memory.forget(key);
    }

    /// Forgets things whose last value is such. Lookups that are under way are made again.
    pub(crate) fn forget_where(&self, is_meant: impl Fn(&V) -> bool) {
        let mut calls = self.calls.lock();
        calls.abandon_all();
        self.memory.forget_where(is_meant);
    }

    /// Forgets everything, and that it was there.
    pub(crate) fn clear(&self) {
        let mut calls = self.calls.lock();
        calls.abandon_all();
        self.memory.clear();
    }

    /// Changes may have been missed: everything is looked up again before it is trusted.
    pub(crate) fn distrust(&self) {
        let mut calls = self.calls.lock();
        calls.abandon_all();
        self.memory.distrust();
        Counters::count(&self.counters.resets);
    }

    /// What was found last, whatever it is worth by now.
    pub(crate) fn found_last(&self, key: &K) -> Option<V> {
        self.memory.found_last(key)
    }

    /// A copy of what is known of a thing was used.
    #[cold]
    pub(crate) fn touch(&self, key: &K) {
        self.memory.touch(key);
    }

    /// Whether a copy that is fresh until then is so now. One that is fresh for longer than any can
    /// be was made before the clock was set back.
    #[inline]
    pub(crate) fn is_fresh(&self, until: i64, now: Timestamp) -> bool {
        let left = until.saturating_sub(now.as_unix_millis());
        0 < left && left <= self.memory.longest_fresh()
    }

    pub(crate) fn stats(&self) -> CacheStats {
        self.counters.read(self.memory.len(), self.memory.evicted())
    }
}
