//! Tasks that start with the first use, and end with their owner.

#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
use tokio::{runtime::Handle, task::AbortHandle};

#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
use super::Mutex;
use super::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{AcqRel, Relaxed, Release},
    },
};

/// Whether the background task of an owner runs.
///
/// The task holds a [`Running`] and its owner weakly, so that it ends with the owner. If it ends
/// before, with its runtime or by a panic, the next use starts another.
#[derive(Default)]
pub(crate) struct Background(Arc<AtomicBool>);

impl Background {
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// For the caller that starts the task; `None` if it runs.
    pub(crate) fn begin(&self) -> Option<Running> {
        // Most often it runs, and that is told without a write.
        (!self.is_running() && !self.0.swap(true, AcqRel)).then(|| Running(Some(self.0.clone())))
    }
}

/// That a background task runs, until this is dropped.
pub(crate) struct Running(Option<Arc<AtomicBool>>);

impl Running {
    /// Ends the task if there is nothing left to do. What comes meanwhile is seen here, or starts
    /// another task.
    pub(crate) fn unless(mut self, is_done: impl FnOnce() -> bool) -> Option<Self> {
        let flag = self.0.take()?;
        flag.store(false, Release);
        (!is_done() && !flag.swap(true, AcqRel)).then(|| Self(Some(flag)))
    }
}

#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
impl Running {
    /// There is nothing to run, and no other is to begin.
    fn for_good(mut self) {
        self.0 = None;
    }
}

/// A background task that is stopped wherever it is when its owner is dropped.
#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
#[derive(Default)]
pub(crate) struct OwnedTask {
    background: Background,
    task: Mutex<Option<AbortHandle>>,
}

#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
impl OwnedTask {
    /// Whether it runs.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.background.is_running()
    }

    /// Stops it wherever it is.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }

    /// Starts what `make` makes, unless it runs. Where that is nothing, none is ever started.
    pub(crate) fn start<F>(&self, runtime: &Handle, make: impl FnOnce() -> Option<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(running) = self.background.begin() else { return };
        let Some(task) = make() else { return running.for_good() };
        let task = runtime.spawn(async move {
            task.await;
            // Only then: what the task does when it is dropped comes before another begins.
            drop(running);
        });
        *self.task.lock() = Some(task.abort_handle());
    }
}

#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(flag) = &self.0 {
            flag.store(false, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runs_until_it_ends() {
        let background = Background::default();
        let running = background.begin().expect("none runs");
        assert!(background.is_running() && background.begin().is_none());
        drop(running);
        assert!(!background.is_running());
        let running = background.begin().expect("it has ended");
        let running = running.unless(|| false).expect("there is something left");
        assert!(background.is_running());
        assert!(running.unless(|| true).is_none());
        assert!(!background.is_running());
    }

    #[test]
    fn one_that_ends_leaves_another_alone() {
        let background = Background::default();
        let running = background.begin().expect("none runs");
        let mut other = None;
        let began = || {
            other = background.begin();
            false
        };
        assert!(running.unless(began).is_none(), "another has begun");
        assert!(background.is_running());
        drop(other);
        assert!(!background.is_running());
    }
}
