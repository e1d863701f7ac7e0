//! Forgetting what other nodes, or other programs, have changed.

use std::{
    mem,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use super::{Barrier, CachedStore, Inner};
use crate::{
    error::{BackEnd, StoreError},
    observe,
    runtime::{Backoff, OwnedTask},
    store::{
        KeyStore, StoreWatch, Watermark,
        bus::{Announcement, Invalidations, Subscription},
    },
};

/// Between two attempts to listen.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// Messages that cannot be read have everything looked up again no more often than this.
const LOSS_EVERY: Duration = Duration::from_secs(1);

/// Watermarks that come sooner than this after others are swept together: each sweep looks at all keys in
/// memory.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// Each key in memory is compared with no more of them.
const MAX_SWEPT: usize = 64;

/// The listeners of a cache.
pub(super) struct Listeners(Vec<Listener>);

struct Listener {
    source: Source,
    task: OwnedTask,
}

/// The source that tells of changes.
enum Source {
    /// With its number.
    Bus(usize, Arc<dyn Invalidations>),
    /// The store itself, by its [watch](KeyStore::watch).
    Store,
}

impl Listeners {
    pub(super) fn new(invalidations: Vec<Arc<dyn Invalidations>>) -> Self {
        let buses = invalidations.into_iter().enumerate();
        let buses = buses.map(|(number, bus)| Source::Bus(number, bus));
        let listener = |source| Listener { source, task: OwnedTask::default() };
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
            listener.task.start(runtime, || {
                let heard = match &listener.source {
                    Source::Bus(number, bus) => Heard::Bus(*number, bus.clone()),
                    Source::Store => Heard::Store(self.inner.store.watch()?),
                };
                let listening = Listening { cache: Arc::downgrade(&self.inner) };
                Some(async move {
                    match heard {
                        Heard::Bus(number, bus) => listening.listen(number, &*bus).await,
                        Heard::Store(watch) => listening.watch(watch).await,
                    }
                })
            });
        }
    }
}

/// The source of a listener, once it listens.
enum Heard {
    Bus(usize, Arc<dyn Invalidations>),
    Store(Box<dyn StoreWatch>),
}

/// The task of a listener.
struct Listening<S> {
    cache: Weak<Inner<S>>,
}

impl<S: KeyStore> Listening<S> {
    async fn listen(&self, number: usize, invalidations: &dyn Invalidations) {
        let mut backoff = BACKOFF;
        loop {
            let error = match invalidations.subscribe().await {
                Ok(subscription) => {
                    backoff.reset();
                    // Messages from before the subscription were missed.
                    let Some(cache) = self.cache.upgrade() else { return };
                    cache.distrust();
                    let hears = Hears::new(&cache, number);
                    drop(cache);
                    observe::listening();
                    let Some(error) = self.hear(subscription).await else { return };
                    // So were those between its end and now.
                    drop(hears);
                    let Some(cache) = self.cache.upgrade() else { return };
                    cache.distrust();
                    observe::subscription_lost();
                    error
                }
                Err(error) => error,
            };
            observe::not_listening(&error.of(BackEnd::Bus));
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Trusts nothing that was read before another program changed something.
    async fn watch(&self, mut watch: Box<dyn StoreWatch>) {
        let mut backoff = BACKOFF;
        loop {
            let changed = watch.changed().await;
            let Some(cache) = self.cache.upgrade() else { return };
            cache.distrust();
            drop(cache);
            let Err(error) = changed else {
                backoff.reset();
                continue;
            };
            observe::not_listening(&error);
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Forgets what is announced, until the subscription fails or the cache is gone.
    async fn hear(&self, mut subscription: Box<dyn Subscription>) -> Option<StoreError> {
        let mut late = Late::default();
        loop {
            let mut next = subscription.next();
            // Not dropped in between: some subscriptions are over then.
            let message = loop {
                let Some(due) = late.due() else { break (&mut next).await };
                match timeout_at(due, &mut next).await {
                    Ok(message) => break message,
                    Err(_) => late.take(&*self.cache.upgrade()?),
                }
            };
            match message {
                Ok(announcement) => self.cache.upgrade()?.heard(&announcement, &mut late).await,
                Err(error) => {
                    late.take_all(&*self.cache.upgrade()?);
                    return Some(error);
                }
            }
        }
    }
}

/// That all changes are heard by this bus, until it is dropped.
struct Hears {
    barrier: Arc<Barrier>,
    bus: usize,
}

impl Hears {
    fn new<S>(cache: &Inner<S>, bus: usize) -> Self {
        let barrier = cache.barrier.clone();
        barrier.listens(bus, true);
        Self { barrier, bus }
    }
}

impl Drop for Hears {
    fn drop(&mut self) {
        self.barrier.listens(self.bus, false);
    }
}

/// The work that messages make on all keys in memory. What comes soon after other work waits, and is done
/// together: whatever can write to the channel must not keep a node at it.
#[derive(Default)]
struct Late {
    /// Messages that could not be read: everything is looked up again.
    losses: Pace,
    /// Messages after which everything is forgotten.
    resets: Pace,
    sweeps: Pace,
    /// Those that were not swept yet. No answer is used any more that does not know of them.
    watermarks: Vec<Watermark>,
}

impl Late {
    /// When some of it is to be done.
    fn due(&self) -> Option<Instant> {
        [&self.losses, &self.resets, &self.sweeps].into_iter().filter_map(|pace| pace.due).min()
    }

    /// Keys of these watermarks are to be forgotten.
    fn add(&mut self, watermarks: &[Watermark]) {
        self.watermarks.extend_from_slice(watermarks);
        if self.watermarks.len() > MAX_SWEPT {
            // More keys than are meant, in less time: they are looked up again.
            let latest = self.watermarks.iter().map(|watermark| watermark.issued_before).max();
            self.watermarks = latest.map(Watermark::new).into_iter().collect();
        }
        self.sweeps.add(SWEEP_EVERY);
    }

    /// Does what is due.
    fn take<S>(&mut self, cache: &Inner<S>) {
        if self.resets.is_due() {
            cache.reset();
        }
        if self.losses.is_due() {
            cache.distrust();
        }
        if self.sweeps.is_due() {
            cache.sweep(&mem::take(&mut self.watermarks));
        }
    }

    /// Does all that is left.
    fn take_all<S>(mut self, cache: &Inner<S>) {
        for pace in [&mut self.losses, &mut self.resets, &mut self.sweeps] {
            pace.due = pace.due.map(|_| Instant::now());
        }
        self.take(cache);
    }
}

/// How soon one piece of work comes after another.
#[derive(Default)]
struct Pace {
    latest: Option<Instant>,
    /// When it is to be done that came too soon.
    due: Option<Instant>,
}

impl Pace {
    /// Such work came.
    fn add(&mut self, every: Duration) {
        let now = Instant::now();
        self.due = Some(self.latest.map_or(now, |latest| now.max(latest + every)));
    }

    /// Whether it is to be done now: then it is taken for done.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            *self = Self { latest: Some(now), due: None };
        }
        is_due
    }
}

impl<S: KeyStore> Inner<S> {
    /// Forgets what is announced, unless it is of another store.
    async fn heard(&self, announcement: &Announcement, late: &mut Late) {
        if let Some(store) = announcement.store()
            && self.identity.is_other(store, &*self.store).await
        {
            return;
        }
        let watermarks = announcement.watermarks();
        self.raise_watermarks(watermarks, false);
        self.forget(announcement.keys().iter().copied());
        if announcement.is_reset() {
            late.resets.add(LOSS_EVERY);
        }
        if !watermarks.is_empty() {
            late.add(watermarks);
        }
        if !announcement.is_readable() {
            observe::message_unreadable();
            late.losses.add(LOSS_EVERY);
        }
        late.take(self);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn of_many_watermarks_the_latest_is_kept() {
        let watermarks = |count: usize| -> Vec<_> {
            let at = |millis| Timestamp::from_unix_millis(i64::try_from(millis).unwrap());
            (1..=count).map(|millis| Watermark::new(at(millis))).collect()
        };
        for (count, kept) in [(MAX_SWEPT, MAX_SWEPT), (MAX_SWEPT + 1, 1), (MAX_SWEPT * 3, 1)] {
            let mut late = Late::default();
            late.add(&watermarks(count));
            assert_eq!(late.watermarks.len(), kept);
            assert_eq!(late.watermarks.last(), watermarks(count).last());
        }
    }
}
