//! [`SharedConfig`]: a layer's configuration, counted by each thread for itself.
//!
//! Each request holds the configuration until its response is there. With one count for all of
//! them, every request would write the same line of memory twice.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock, Weak},
};

use super::config::Config;
use crate::runtime::{THREADS, thread};

/// A service's hold on its configuration.
///
/// One that is cloned for a single request, as routers do, writes no more than its thread's own
/// count.
pub(crate) struct SharedConfig {
    mine: ThreadConfig,
    /// Keeps the counts of all threads. Clones on other threads than the first do without it.
    origin: Option<Arc<Origin>>,
}

/// A request's hold on the configuration.
#[derive(Clone)]
pub(crate) struct ThreadConfig(Arc<Counted>);

struct Counted {
    config: Arc<Config>,
    thread: usize,
    /// Where those of other threads are. It may be gone, and with it nothing but time.
    origin: Weak<Origin>,
}

struct Origin {
    config: Arc<Config>,
    thread: usize,
    threads: Box<[OnceLock<ThreadConfig>]>,
}

impl SharedConfig {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let threads = (0..THREADS).map(|_| OnceLock::new()).collect();
        Self::of(Arc::new(Origin { config, thread: thread(), threads }))
    }

    fn of(origin: Arc<Origin>) -> Self {
        Self { mine: origin.mine(), origin: Some(origin) }
    }

    /// For a service that is made, and cloned later.
    pub(crate) fn for_service(&self) -> Self {
        match &self.origin {
            Some(origin) => Self::of(origin.clone()),
            None => self.clone(),
        }
    }

    /// The configuration as the calling thread counts it.
    #[inline]
    pub(crate) fn mine(&mut self) -> &ThreadConfig {
        if self.mine.0.thread != thread() {
            self.change_thread();
        }
        &self.mine
    }

    #[cold]
    fn change_thread(&mut self) {
        *self = match self.origin.take() {
            Some(origin) => Self::of(origin),
            None => self.mine.on_this_thread(),
        };
    }
}

impl Clone for SharedConfig {
    #[inline]
    fn clone(&self) -> Self {
        let thread = thread();
        match &self.origin {
            Some(origin) if origin.thread == thread => {
                Self { mine: origin.mine(), origin: Some(origin.clone()) }
            }
            Some(origin) => Self { mine: origin.mine(), origin: None },
            None if self.mine.0.thread == thread => Self { mine: self.mine.clone(), origin: None },
            None => self.mine.on_this_thread(),
        }
    }
}

impl fmt::Debug for SharedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Deref for SharedConfig {
    type Target = Config;

    #[inline]
    fn deref(&self) -> &Config {
        &self.mine
    }
}

impl ThreadConfig {
    /// The same configuration for the calling thread, by way of the others' count.
    #[cold]
    fn on_this_thread(&self) -> SharedConfig {
        if let Some(origin) = self.0.origin.upgrade() {
            return SharedConfig::of(origin);
        }
        let (config, origin) = (self.0.config.clone(), Weak::new());
        let counted = Counted { config, thread: thread(), origin };
        SharedConfig { mine: Self(Arc::new(counted)), origin: None }
    }
}

impl Deref for ThreadConfig {
    type Target = Config;

    #[inline]
    fn deref(&self) -> &Config {
        &self.0.config
    }
}

impl Origin {
    #[inline]
    fn mine(self: &Arc<Self>) -> ThreadConfig {
        let thread = thread();
        let counted = self.threads[thread].get_or_init(|| {
            let (config, origin) = (self.config.clone(), Arc::downgrade(self));
            ThreadConfig(Arc::new(Counted { config, thread, origin }))
        });
        counted.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{ApiKeyLayer, store::MemoryStore};

    fn shared() -> (SharedConfig, Weak<Config>) {
        let config = ApiKeyLayer::new(MemoryStore::new()).config().clone();
        let weak = Arc::downgrade(&config);
        (SharedConfig::new(config), weak)
    }

    fn count(shared: &SharedConfig) -> usize {
        Arc::strong_count(&shared.mine.0)
    }

    #[test]
    fn requests_of_another_thread_leave_the_first_ones_counts_alone() {
        let (mut first, _) = shared();
        let before = (count(&first), first.origin.as_ref().map(Arc::strong_count));
        let requests = thread::scope(|scope| {
            let original = &first;
            let other = scope.spawn(|| {
                let mut service = original.clone();
                assert!(service.origin.is_none(), "a clone for one request");
                let requests: Vec<ThreadConfig> =
                    (0..10).map(|_| service.clone().mine().clone()).collect();
                assert!(requests.iter().all(|request| Arc::ptr_eq(&request.0, &service.mine.0)));
                service.mine();
                requests
            });
            other.join().unwrap()
        });
        assert!(!Arc::ptr_eq(&requests[0].0, &first.mine().0));
        assert_eq!((count(&first), first.origin.as_ref().map(Arc::strong_count)), before);
    }

    #[test]
    fn a_service_that_moves_to_another_thread_counts_there() {
        let (first, _) = shared();
        for mut moved in [first.clone(), SharedConfig { origin: None, ..first.clone() }] {
            let old = moved.mine.clone();
            let first = &first;
            thread::scope(|scope| {
                scope.spawn(move || {
                    let mine = moved.mine().clone();
                    assert!(!Arc::ptr_eq(&mine.0, &old.0));
                    // The same one as of any other service on this thread.
                    assert!(Arc::ptr_eq(&mine.0, &first.clone().mine.0));
                });
            });
        }
    }

    #[test]
    fn clones_work_on_when_the_first_is_gone() {
        let (first, config) = shared();
        let mut clone = SharedConfig { mine: first.mine.clone(), origin: None };
        drop(first);
        thread::scope(|scope| {
            scope.spawn(move || {
                assert_eq!(clone.mine().realm.as_ref(), "api");
                assert_eq!(clone.clone().mine().realm.as_ref(), "api");
            });
        });
        assert!(config.upgrade().is_none(), "the last one frees the configuration");
    }
}
