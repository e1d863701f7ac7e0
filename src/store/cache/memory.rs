//! The memory of a cache, and how long its entries may be used.

use std::{hash::Hash, sync::Arc, time::Duration};

use quick_cache::{
    Lifecycle, UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{CacheKey, Copies, settings::Settings};
use crate::{
    clock::Timestamp,
    runtime::{
        DigestHash,
        sync::atomic::{AtomicU32, AtomicU64, Ordering},
    },
    store::Lookup,
};

/// The things in memory: those that exist and, apart from them, those that do not, so that no
/// flood displaces a good one.
///
/// Reading needs no more than a moment. Every change is made under the lock of the calls, so
/// that every answer of the store is kept either before or after a thing is forgotten.
pub(super) struct Memory<K: CacheKey, V> {
    /// They follow what is known.
    copies: Option<Arc<dyn Copies<K>>>,
    known: Entries<K, Known<V>>,
    /// How many of them have made way for others.
    evicted: Arc<AtomicU64>,
    /// When the store was asked for it.
    not_found: Entries<K, Timestamp>,
    /// Raised when changes may have been missed.
    generation: AtomicU32,
    times: Times,
}

/// The settings, in milliseconds.
struct Times {
    ttl: u64,
    not_found_ttl: u64,
    stale_if_error: u64,
}

type Entries<K, V> = Cache<K, V, UnitWeighter, DigestHash, Counting<K, V>>;

/// Counts the entries that make way for others.
struct Counting<K, V> {
    evicted: Arc<AtomicU64>,
    /// Drops them outside of locks.
    default: DefaultLifecycle<K, V>,
}

impl<K, V> Clone for Counting<K, V> {
    fn clone(&self) -> Self {
        Self { evicted: self.evicted.clone(), default: self.default.clone() }
    }
}

impl<K, V> Lifecycle<K, V> for Counting<K, V> {
    type RequestState = <DefaultLifecycle<K, V> as Lifecycle<K, V>>::RequestState;

    /// Not of a value that is replaced, of which the next function hears as well.
    fn before_evict(&self, _: &mut Self::RequestState, _: &K, _: &mut V) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, key: K, value: V) {
        self.default.on_evict(state, key, value);
    }
}

/// What is known about a thing that exists.
#[derive(Clone)]
struct Known<V> {
    /// None: it was changed, and its new value has not been asked for yet.
    value: Option<V>,
    /// When the store was asked for it. Not when it answered: it may have changed meanwhile.
    asked_at: Timestamp,
    /// What is older than the memory's own is used only if the store fails.
    generation: u32,
    /// Up to this age, in milliseconds, the store is not asked again: it has just failed.
    rests_until: u32,
}

/// The answer of the memory about a thing.
pub(super) struct Recalled<V> {
    pub(super) lookup: Lookup<V>,
    /// Whether its time is up, so that only a failing store excuses using it.
    pub(super) is_stale: bool,
    /// Whether the store should be asked again, in the background.
    pub(super) is_due: bool,
    /// Until when the answer may be given again without recalling it. None: not at all.
    pub(super) fresh_until: Option<Timestamp>,
}

/// How old what is known about a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// Fresh, and in the last fifth of its time.
    Due,
    /// Only for when the store fails.
    Stale,
    /// Of no use.
    Gone,
}

impl<K: CacheKey, V: Clone> Memory<K, V> {
    pub(super) fn new(settings: &Settings) -> Self {
        let evicted = Arc::default();
        Self {
            copies: None,
            known: cache(settings.capacity, &evicted),
            evicted,
            not_found: cache(settings.capacity, &Arc::default()),
            generation: AtomicU32::new(0),
            times: Times {
                ttl: millis(settings.ttl),
                not_found_ttl: millis(settings.not_found_ttl),
                stale_if_error: millis(settings.stale_if_error),
            },
        }
    }

    pub(super) fn set_copies(&mut self, copies: Arc<dyn Copies<K>>) {
        self.copies = Some(copies);
    }

    /// How long a thing can be fresh, in milliseconds.
    #[inline]
    pub(super) fn longest_fresh(&self) -> i64 {
        i64::try_from(fresh_part(self.times.ttl)).unwrap_or(i64::MAX)
    }

    /// Changes what is known of this thing, or of all.
    fn change(&self, key: Option<&K>, mut change: impl FnMut()) {
        match &self.copies {
            Some(copies) => copies.change(key, &mut change),
            None => change(),
        }
    }

    /// The answer without asking the store. A stale one may be given while the store is down, or
    /// has just failed for this thing.
    #[inline]
    pub(super) fn recall(
        &self,
        key: &K,
        now: Timestamp,
        is_down: impl FnOnce() -> bool,
    ) -> Option<Recalled<V>> {
        if let Some(known) = self.known.get(key) {
            let age = age(known.asked_at, now)?;
            let is_rested = age >= u64::from(known.rests_until);
            let freshness = self.freshness(key, &known, age);
            let (is_stale, is_due) = match freshness {
                Freshness::Fresh => (false, false),
                Freshness::Due => (false, is_rested),
                Freshness::Stale if !is_rested || is_down() => (true, is_rested),
                Freshness::Stale | Freshness::Gone => return None,
            };
            let fresh_until = (freshness == Freshness::Fresh)
                .then(|| known.asked_at.saturating_add(self.times.fresh_for(key)));
            let lookup = Lookup::Found(known.value?);
            return Some(Recalled { lookup, is_stale, is_due, fresh_until });
        }
        let age = age(self.not_found.get(key)?, now)?;
        (age < jittered(self.times.not_found_ttl, key.jitter())).then_some(Recalled {
            lookup: Lookup::NotFound,
            is_stale: false,
            is_due: false,
            fresh_until: None,
        })
    }

    #[inline]
    fn freshness(&self, key: &K, known: &Known<V>, age: u64) -> Freshness {
        let ttl = jittered(self.times.ttl, key.jitter());
        let is_trusted = known.generation == self.generation.load(Ordering::Relaxed);
        if is_trusted && age < fresh_part(ttl) {
            Freshness::Fresh
        } else if is_trusted && age < ttl {
            Freshness::Due
        } else if age < ttl.saturating_add(self.times.stale_if_error) {
            Freshness::Stale
        } else {
            Freshness::Gone
        }
    }

    /// The last known value of a thing, if that may be used when the store fails.
    pub(super) fn last_known(&self, key: &K, now: Timestamp) -> Option<V> {
        let known = self.known.peek(key)?;
        let age = age(known.asked_at, now)?;
        (self.freshness(key, &known, age) != Freshness::Gone).then_some(known.value?)
    }

    /// What was found last, whatever it is worth by now.
    pub(super) fn found_last(&self, key: &K) -> Option<V> {
        self.known.peek(key)?.value
    }

    /// A copy of it was used: it is no less in use for that.
    pub(super) fn touch(&self, key: &K) {
        let _ = self.known.get(key);
    }

    /// Whether it was found before, however long ago and whatever became of it.
    pub(super) fn is_known(&self, key: &K) -> bool {
        self.known.contains_key(key)
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.known.len() + self.not_found.len()
    }

    /// How many entries of things that exist have made way for others.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The store was asked at this time, and found this.
    pub(super) fn keep(&self, key: &K, asked_at: Timestamp, found: Option<&V>) {
        let is_known = self.known.contains_key(key);
        if let Some(value) = found {
            let generation = self.generation.load(Ordering::Relaxed);
            let value = Some(value.clone());
            let new = Known { value, asked_at, generation, rests_until: 0 };
            self.change(Some(key), || self.known.insert(key.clone(), new.clone()));
            self.not_found.remove(key);
        } else {
            self.change(Some(key), || drop(self.known.remove(key)));
            if is_known && K::MOVES {
                // An API key was deleted, or has another digest now, which may be in memory as
                // unknown: a good key must not be refused for that.
                self.not_found.clear();
            }
            self.not_found.insert(key.clone(), asked_at);
        }
    }

    /// The store has failed for this thing: if it is known, let it rest.
    pub(super) fn let_rest(&self, key: &K, now: Timestamp, pause: Duration) {
        if let Some(known) = self.known.peek(key) {
            let age = age(known.asked_at, now).unwrap_or(0).saturating_add(millis(pause));
            let rests_until = u32::try_from(age).unwrap_or(u32::MAX);
            self.known.insert(key.clone(), Known { rests_until, ..known });
        }
    }

    /// Forgets what is said about a thing, and not that it exists: it is not a part of any flood.
    pub(super) fn forget(&self, key: &K) {
        // Also where there is none: it may have left for want of room, and not its copies.
        self.change(Some(key), || {
            if let Some(known) = self.known.peek(key) {
                let unsaid = Known { value: None, ..known };
                self.known.insert(key.clone(), unsaid);
            }
        });
        self.not_found.remove(key);
    }

    /// The same, of all things whose value is such.
    pub(super) fn forget_where(&self, is_meant: impl Fn(&V) -> bool) {
        let known = self.known.iter();
        let meant = known.filter(|(_, known)| known.value.as_ref().is_some_and(&is_meant));
        let meant: Vec<(K, Known<V>)> = meant.collect();
        self.change(None, || {
            for (key, known) in &meant {
                let unsaid = Known { value: None, ..known.clone() };
                self.known.insert(key.clone(), unsaid);
            }
        });
    }

    /// Changes may have been missed: what is known so far is used only if the store fails.
    pub(super) fn distrust(&self) {
        self.change(None, || {
            self.generation.fetch_add(1, Ordering::Relaxed);
        });
        self.not_found.clear();
    }

    pub(super) fn clear(&self) {
        self.change(None, || self.known.clear());
        self.not_found.clear();
    }
}

impl Times {
    /// How long what is known of a thing is fresh.
    fn fresh_for(&self, key: &impl CacheKey) -> Duration {
        Duration::from_millis(fresh_part(jittered(self.ttl, key.jitter())))
    }
}

/// The part of a time to live before things are due.
#[inline]
const fn fresh_part(ttl: u64) -> u64 {
    ttl - ttl / 5
}

fn cache<K: Eq + Hash, V: Clone>(capacity: usize, evicted: &Arc<AtomicU64>) -> Entries<K, V> {
    let hash = DigestHash::default();
    let lifecycle = Counting { evicted: evicted.clone(), default: DefaultLifecycle::default() };
    Cache::with(capacity, capacity as u64, UnitWeighter, hash, lifecycle)
}

/// Milliseconds since. None when the clock was set back: then the age is unknown.
#[inline]
fn age(asked_at: Timestamp, now: Timestamp) -> Option<u64> {
    u64::try_from(now.as_unix_millis() - asked_at.as_unix_millis()).ok()
}

/// Up to a tenth shorter, differently for each thing, so that what came together does not all have
/// to be looked up again at one moment.
#[inline]
fn jittered(ttl: u64, by: u8) -> u64 {
    ttl - ttl.saturating_mul(u64::from(by)) / (10 * 255)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{key::KeyRecord, runtime::MapDigest};

    #[test]
    fn an_entry_is_small() {
        assert_eq!([size_of::<MapDigest>(), size_of::<Known<Arc<KeyRecord>>>()], [32, 24]);
    }
}
