//! Loading the filter, in the background.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::{Filter, Known};
use crate::{
    clock::{Clock, Timestamp},
    error::StoreError,
    key::KeyId,
    observe,
    runtime::{Backoff, OwnedTask, chance},
    store::{KeyStore, KnownDigests},
};

/// Digests that are asked for at a time.
const PAGE: usize = 4_000;

/// Between two pages, at most: the store has other work.
const PAGE_PAUSE: Duration = Duration::from_millis(4);

/// Processes that start together do not load together: each waits up to so long.
const START: Duration = Duration::from_secs(1);

/// Keys that other programs have created are looked for so often.
const ADDED_EVERY: Duration = Duration::from_secs(30);

/// However often changes are missed.
const ADDED_PAUSE: Duration = Duration::from_secs(1);

/// Clocks differ, and so do the moments when a key gets its id and when it can be read.
const OVERLAP: Duration = Duration::from_mins(1);

/// The whole filter is loaded again after changes were missed, or there was no room left, but no more
/// often than this.
const ALL_PAUSE: Duration = Duration::from_mins(10);

/// And so often in any case: deleted keys are still in it, and rows that other programs have
/// changed are not.
const ALL_EVERY: Duration = Duration::from_hours(1);

/// After an error.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));

/// The store has so long for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The task that loads the filter and keeps it up to date, and ends with the cache.
#[derive(Default)]
pub(in super::super) struct Loader(OwnedTask);

impl Loader {
    /// Starts to load, if that is not so already and the store can list its keys.
    pub(in super::super) fn start<S: KeyStore>(
        &self,
        runtime: &Handle,
        known: &Arc<Known>,
        store: &Arc<S>,
        clock: &Arc<dyn Clock>,
    ) {
        self.0.start(runtime, || {
            store.known_digests()?;
            let (known, store, clock) = (known.clone(), store.clone(), clock.clone());
            Some(async move { known.load(&*store, &*clock).await })
        });
    }
}

/// When what was loaded.
struct Loaded {
    all: Instant,
    /// Keys that were created before are in it.
    added: Timestamp,
}

impl Known {
    async fn load(&self, store: &dyn KeyStore, clock: &dyn Clock) {
        sleep(chance(START)).await;
        let (mut loaded, mut backoff) = (None, BACKOFF);
        while let Some(digests) = store.known_digests() {
            match self.load_due(digests, &mut loaded, clock.now()).await {
                Ok(()) => {
                    backoff.reset();
                    sleep(ADDED_PAUSE).await;
                    let rest = ADDED_EVERY.mul_f64(0.8) + chance(ADDED_EVERY.mul_f64(0.4));
                    drop(timeout(rest, self.missed.notified()).await);
                }
                Err(error) => {
                    observe::filter_not_loaded(&error);
                    let half = backoff.pause() / 2;
                    sleep(half + chance(half)).await;
                }
            }
        }
    }

    /// Loads the whole filter where that is due, and otherwise what was added.
    async fn load_due(
        &self,
        store: &dyn KnownDigests,
        loaded: &mut Option<Loaded>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_due = |all: Instant| {
            let age = all.elapsed();
            age >= ALL_EVERY || (age >= ALL_PAUSE && self.is_out_of_date())
        };
        let all = match loaded {
            Some(Loaded { all, added }) if !is_due(*all) => {
                self.load_added(store, *added).await?;
                *all
            }
            _ => {
                let start = Instant::now();
                self.load_all(store).await?;
                start
            }
        };
        *loaded = Some(Loaded { all, added: now });
        Ok(())
    }

    fn is_out_of_date(&self) -> bool {
        let loaded = self.filters.read().loaded.clone();
        self.has_missed.load(Relaxed) || loaded.is_some_and(|filter| filter.has_overflowed())
    }

    /// Loads a new filter, which takes the place of the old one when it is complete. What is
    /// announced meanwhile is added to both.
    async fn load_all(&self, store: &dyn KnownDigests) -> Result<(), StoreError> {
        self.has_missed.store(false, Relaxed);
        let result = self.load_pages(store).await;
        if result.is_err() {
            self.filters.write().loading = None;
            self.has_missed.store(true, Relaxed);
        }
        result
    }

    async fn load_pages(&self, store: &dyn KnownDigests) -> Result<(), StoreError> {
        let count = in_time(store.count()).await?;
        let filter = Arc::new(Filter::new(count, self.bits_per_key));
        self.filters.write().loading = Some(filter.clone());
        let mut after = None;
        loop {
            let (digests, next) = in_time(store.page(after, PAGE)).await?;
            // A store may list all at once, and its thread has other tasks.
            for digests in digests.chunks(PAGE) {
                filter.insert_all(digests);
                self.denied.forgive(digests);
                yield_now().await;
            }
            after = next;
            if after.is_none() {
                break;
            }
            sleep(chance(PAGE_PAUSE)).await;
        }
        let (keys, bytes) = (filter.keys(), filter.bytes());
        let mut filters = self.filters.write();
        filters.loaded = Some(filter);
        filters.loading = None;
        drop(filters);
        observe::filter_loaded(keys, bytes);
        Ok(())
    }

    /// Adds what was created since, and a little before.
    async fn load_added(
        &self,
        store: &dyn KnownDigests,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let mut after = first_id(since.saturating_sub(OVERLAP));
        loop {
            let added = in_time(store.added(after, PAGE)).await?;
            let Some((last, _)) = added.last() else { return Ok(()) };
            // Or else a store that leads around in a circle would be asked for ever.
            if *last <= after {
                return Err(StoreError::corrupt("a key is listed as another"));
            }
            after = *last;
            let digests: Vec<_> = added.into_iter().map(|(_, digest)| digest).collect();
            self.insert(&digests);
        }
    }
}

/// No key that was created since has a smaller id.
fn first_id(since: Timestamp) -> KeyId {
    let millis = u64::try_from(since.as_unix_millis()).unwrap_or(0);
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    KeyId::from_bytes(id)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(PAGE_TIMEOUT, answer).await.unwrap_or_else(|_| Err(StoreError::timeout()))
}
