//! Forgetting what other nodes, or other programs, have changed.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle};

use super::{CachedStore, Inner};
use crate::{
    error::{BackEnd, StoreError},
    observe,
    runtime::{Background, Mutex, Running},
    store::{
        KeyStore, StoreWatch,
        bus::{Invalidations, Subscription},
    },
};

/// Between two attempts to subscribe, doubled each time up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The listeners of a cache.
pub(super) struct Listeners(Vec<Listener>);

struct Listener {
    source: Source,
    background: Background,
    task: Mutex<Option<AbortHandle>>,
}

/// The source that tells of changes.
#[derive(Clone)]
enum Source {
    Bus(Arc<dyn Invalidations>),
    /// The store itself, by its [watch](KeyStore::watch).
    Store,
}

impl Listeners {
    pub(super) fn new(invalidations: Vec<Arc<dyn Invalidations>>) -> Self {
        let buses = invalidations.into_iter().map(Source::Bus);
        let listener =
            |source| Listener { source, background: Background::default(), task: Mutex::default() };
        Self(buses.chain([Source::Store]).map(listener).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<S: KeyStore> CachedStore<S> {
    /// Starts to listen, if that is not so already. A store that is made outside of a runtime
    /// starts with its first lookup, before which there is nothing to forget; one whose runtime
    /// was shut down starts again with the next.
    pub(super) fn start_listening(&self, runtime: &Handle) {
        for listener in &self.inner.listeners.0 {
            let Some(running) = listener.background.begin() else { continue };
            let listening =
                |running| Listening { cache: Arc::downgrade(&self.inner), _running: running };
            let task = match listener.source.clone() {
                Source::Bus(bus) => {
                    let listening = listening(running);
                    runtime.spawn(async move { listening.listen(&*bus).await })
                }
                Source::Store => {
                    let Some(watch) = self.inner.store.watch() else {
                        running.for_good();
                        continue;
                    };
                    let listening = listening(running);
                    runtime.spawn(async move { listening.watch(watch).await })
                }
            };
            *listener.task.lock() = Some(task.abort_handle());
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// The task of a listener.
struct Listening<S> {
    cache: Weak<Inner<S>>,
    _running: Running,
}

impl<S: KeyStore> Listening<S> {
    async fn listen(&self, invalidations: &dyn Invalidations) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match invalidations.subscribe().await {
                Ok(subscription) => {
                    pause = FIRST_PAUSE;
                    // Messages from before the subscription were missed.
                    let Some(cache) = self.cache.upgrade() else { return };
                    cache.distrust();
                    drop(cache);
                    observe::listening();
                    let Some(error) = self.hear(subscription).await else { return };
                    // So were those between its end and now.
                    let Some(cache) = self.cache.upgrade() else { return };
                    cache.distrust();
                    observe::subscription_lost();
                    error
                }
                Err(error) => error,
            };
            observe::not_listening(&error.of(BackEnd::Bus));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Trusts nothing that was read before another program changed something.
    async fn watch(&self, mut watch: Box<dyn StoreWatch>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let changed = watch.changed().await;
            let Some(cache) = self.cache.upgrade() else { return };
            cache.distrust();
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
                Ok(digests) => self.cache.upgrade()?.forget(digests),
                Err(error) => return Some(error),
            }
        }
    }
}

impl<S> Drop for Listening<S> {
    fn drop(&mut self) {
        // The runtime was shut down, or the task has panicked.
        if let Some(cache) = self.cache.upgrade() {
            cache.distrust();
        }
    }
}
