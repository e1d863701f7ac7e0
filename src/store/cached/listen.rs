//! Forgetting what other nodes, or other programs, have changed.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle};

use super::{CachedStore, Inner};
use crate::{
    error::StoreError,
    observe,
    store::{
        KeyStore, StoreWatch,
        bus::{Invalidations, Subscription},
    },
};

/// Between two attempts to subscribe, doubled each time up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Those who listen for a cache.
pub(super) struct Listeners(Vec<Listener>);

struct Listener {
    source: Source,
    is_running: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

/// Who tells of changes.
#[derive(Clone)]
enum Source {
    Bus(Arc<dyn Invalidations>),
    /// The store itself, by its [watch](KeyStore::watch).
    Store,
}

impl Listeners {
    pub(super) fn new(invalidations: &[Arc<dyn Invalidations>]) -> Self {
        let buses = invalidations.iter().cloned().map(Source::Bus);
        let listener = |source| Listener {
            source,
            is_running: AtomicBool::new(false),
            task: Mutex::default(),
        };
        Self(buses.chain([Source::Store]).map(listener).collect())
    }
}

impl<S: KeyStore> CachedStore<S> {
    /// Starts to listen, if that is not so already. A store that is made outside of a runtime
    /// starts with its first lookup, before which there is nothing to forget; one whose runtime
    /// was shut down starts again with the next.
    pub(super) fn start_listening(&self, runtime: &Handle) {
        for (index, listener) in self.inner.listeners.0.iter().enumerate() {
            if !listener.is_running.swap(true, Ordering::Relaxed) {
                // Weak, so that the task ends with the last clone of the store.
                let running = Running { cache: Arc::downgrade(&self.inner), index };
                let task = match listener.source.clone() {
                    Source::Bus(bus) => runtime.spawn(async move { running.listen(&*bus).await }),
                    Source::Store => {
                        // Where there is none, this counts as running for good.
                        let Some(watch) = self.inner.store.watch() else {
                            running.never();
                            continue;
                        };
                        runtime.spawn(async move { running.watch(watch).await })
                    }
                };
                *lock(&listener.task) = Some(task.abort_handle());
            }
        }
    }
}

// No code that can panic runs under the lock, so a poisoned one still guards sound data.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// The task of a listener.
struct Running<S> {
    cache: Weak<Inner<S>>,
    index: usize,
}

impl<S: KeyStore> Running<S> {
    async fn listen(&self, invalidations: &dyn Invalidations) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match invalidations.subscribe().await {
                Ok(subscription) => {
                    pause = FIRST_PAUSE;
                    // What was said before the subscription, nobody heard.
                    let Some(cache) = self.cache.upgrade() else { return };
                    cache.cache.distrust();
                    drop(cache);
                    observe::listening();
                    let Some(error) = self.hear(subscription).await else { return };
                    // Nor what was said between its end and now.
                    let Some(cache) = self.cache.upgrade() else { return };
                    cache.cache.distrust();
                    observe::subscription_lost();
                    error
                }
                Err(error) => error,
            };
            observe::not_listening(&error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// For a store without a watch: not tried again.
    fn never(mut self) {
        self.cache = Weak::new();
    }

    /// Trusts nothing that was read before another program changed something.
    async fn watch(&self, mut watch: Box<dyn StoreWatch>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let changed = watch.changed().await;
            let Some(cache) = self.cache.upgrade() else { return };
            cache.cache.distrust();
            drop(cache);
            let Err(error) = changed else {
                pause = FIRST_PAUSE;
                continue;
            };
            observe::not_listening(&error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Forgets what is announced, until the subscription fails or the cache is gone.
    async fn hear(&self, mut subscription: Box<dyn Subscription>) -> Option<StoreError> {
        loop {
            match subscription.next().await {
                Ok(digests) => self.cache.upgrade()?.forget(&digests),
                Err(error) => return Some(error),
            }
        }
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        // The runtime was shut down, or the task has panicked.
        if let Some(cache) = self.cache.upgrade() {
            cache.cache.distrust();
            cache.listeners.0[self.index].is_running.store(false, Ordering::Relaxed);
        }
    }
}
