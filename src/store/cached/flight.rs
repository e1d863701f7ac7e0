//! One lookup for all who miss the same key at the same time.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    CachedStore, Counters, Inner,
    outage::{self, is_outage},
};
use crate::{
    KeyDigest, KeyRecord, Timestamp, observe,
    store::{
        KeyStore, Lookup, StoreError, StoreErrorKind,
        digest_map::{DigestMap, MapDigest},
    },
};

/// What a lookup brought, for everybody who waited for it.
type Answer = Result<Option<Arc<KeyRecord>>, StoreError>;

/// The lookups that are on their way.
#[derive(Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    flying: DigestMap<Flight>,
    next_number: u64,
}

struct Flight {
    /// Tells a flight from a later one for the same key.
    number: u64,
    /// Dropped without an answer when the flight is abandoned.
    answer: watch::Sender<Option<Answer>>,
}

impl Flights {
    // No code that can panic runs under the lock, so a poisoned one still guards sound data.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl State {
    /// Whoever waits for the key, and whoever misses it from now on, gets a new lookup: the old
    /// one may have read what was before a change.
    pub(super) fn abandon(&mut self, key: MapDigest) {
        self.flying.remove(&key);
    }

    pub(super) fn abandon_all(&mut self) {
        self.flying.clear();
    }

    fn take_off(&mut self, key: MapDigest) -> (u64, Waiter) {
        let number = self.next_number;
        self.next_number += 1;
        let (answer, waiter) = watch::channel(None);
        self.flying.insert(key, Flight { number, answer });
        (number, Waiter(waiter))
    }

    /// Ends a flight, unless it was abandoned.
    fn land(&mut self, key: MapDigest, number: u64) -> Option<Flight> {
        self.flying.get(&key).filter(|flight| flight.number == number)?;
        self.flying.remove(&key)
    }
}

/// Somebody who waits for a lookup.
struct Waiter(watch::Receiver<Option<Answer>>);

impl Waiter {
    /// The answer; none if the lookup was abandoned.
    async fn answer(&mut self) -> Option<Answer> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<S: KeyStore> CachedStore<S> {
    /// Asks the store, together with everybody else who asks for this key.
    pub(super) async fn look_up(&self, digest: &KeyDigest) -> Answer {
        let inner = &*self.inner;
        let key = MapDigest::from(digest);
        loop {
            let mut waiter = match self.join_or_start(digest)? {
                Departure::Answered(Lookup::Found(record)) => return Ok(Some(record)),
                Departure::Answered(Lookup::NotFound) => return Ok(None),
                Departure::Waiting(waiter) => waiter,
            };
            let answer = if inner.last_known(key).is_some() {
                let answers = inner.outage.answers();
                if let Ok(answer) = timeout(inner.settings.patience, waiter.answer()).await {
                    answer
                } else {
                    inner.outage.failed(inner.settings.clock.now(), answers);
                    if let Some(record) = inner.go_on_with_last_known(key) {
                        return Ok(Some(record));
                    }
                    waiter.answer().await
                }
            } else {
                waiter.answer().await
            };
            return match answer {
                Some(Ok(found)) => Ok(found),
                // Asked again, since it may have been forgotten meanwhile.
                Some(Err(error)) => inner.go_on_with_last_known(key).map(Some).ok_or(error),
                // The key was changed after the store was asked.
                None => continue,
            };
        }
    }

    fn join_or_start(&self, digest: &KeyDigest) -> Result<Departure, StoreError> {
        let inner = &*self.inner;
        let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
        let key = MapDigest::from(digest);
        let now = inner.settings.clock.now();
        let mut flights = inner.flights.lock();
        if let Some(flight) = flights.flying.get(&key) {
            Counters::count(&inner.counters.coalesced);
            return Ok(Departure::Waiting(Waiter(flight.answer.subscribe())));
        }
        // One may have landed since the caller looked.
        if let Some(recalled) = inner.recall(key, now).filter(|recalled| !recalled.is_stale) {
            inner.counters.count_hit(key);
            return Ok(Departure::Answered(recalled.lookup));
        }
        // Keys that are known to exist are not part of any flood.
        if !inner.memory.is_known(key) && !inner.budget.take(now) {
            Counters::count(&inner.counters.shed);
            return Err(StoreError::new(StoreErrorKind::Overloaded));
        }
        let (number, waiter) = flights.take_off(key);
        drop(flights);
        self.fly(&runtime, digest, number, now);
        Ok(Departure::Waiting(waiter))
    }

    /// Asks the store again for a key that is known, in the background, unless somebody does so
    /// already. Never waits: if it cannot be now, the next request will do.
    #[cold]
    pub(super) fn refresh(&self, digest: &KeyDigest) {
        let inner = &*self.inner;
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(mut flights) = inner.flights.try_lock() else { return };
        let key = MapDigest::from(digest);
        let now = inner.settings.clock.now();
        // One may have landed since the caller looked.
        let is_due = inner.recall(key, now).is_some_and(|recalled| recalled.is_due);
        if is_due && !flights.flying.contains_key(&key) && inner.outage.may_ask(now) {
            let (number, _) = flights.take_off(key);
            drop(flights);
            Counters::count(&inner.counters.refreshes);
            self.fly(&runtime, digest, number, now);
        }
    }

    /// In a task of its own: a caller who goes away takes nobody's answer along.
    fn fly(&self, runtime: &Handle, digest: &KeyDigest, number: u64, asked_at: Timestamp) {
        Counters::count(&self.inner.counters.misses);
        self.start_listening(runtime);
        let landing =
            Landing { inner: self.inner.clone(), key: MapDigest::from(digest), number, asked_at };
        let digest = *digest;
        runtime.spawn(async move {
            let answer = landing.inner.ask(&digest).await;
            landing.land(answer);
        });
    }
}

/// How a lookup begins.
enum Departure {
    /// It was not necessary.
    Answered(Lookup),
    Waiting(Waiter),
}

impl<S: KeyStore> Inner<S> {
    async fn ask(&self, digest: &KeyDigest) -> Answer {
        let Self { settings, outage, .. } = self;
        let answers = outage.answers();
        let mut lookup = pin!(timeout(settings.lookup_timeout, self.store.find(digest)));
        let answer = loop {
            match timeout(settings.patience, &mut lookup).await {
                Ok(answer) => break answer.unwrap_or_else(|_| Err(StoreError::timeout())),
                // Who comes next need not find out anew.
                Err(_) => outage.failed(settings.clock.now(), answers),
            }
        };
        match &answer {
            Ok(_) if outage.answered() => observe::store_is_back(),
            Ok(_) => {}
            Err(error) => {
                observe::lookup_failed(error);
                if is_outage(error.kind()) {
                    outage.failed(settings.clock.now(), answers);
                }
            }
        }
        answer
    }
}

/// Ends a flight, also when its task panics or its runtime is shut down.
struct Landing<S> {
    inner: Arc<Inner<S>>,
    key: MapDigest,
    number: u64,
    asked_at: Timestamp,
}

impl<S> Landing<S> {
    /// Keeps the answer and gives it to all who wait, unless the flight was abandoned.
    fn land(&self, answer: Answer) {
        const PAUSE: Duration = outage::PAUSE;
        let Inner { flights, memory, settings, .. } = &*self.inner;
        // Held until the answer is kept: see `Memory`.
        let mut flights = flights.lock();
        let Some(flight) = flights.land(self.key, self.number) else { return };
        match &answer {
            Ok(found) => memory.keep(self.key, self.asked_at, found.as_ref()),
            Err(_) => memory.let_rest(self.key, settings.clock.now(), PAUSE),
        }
        drop(flights);
        flight.answer.send_replace(Some(answer));
    }
}

impl<S> Drop for Landing<S> {
    fn drop(&mut self) {
        self.land(Err(StoreError::unavailable("the lookup was given up")));
    }
}
