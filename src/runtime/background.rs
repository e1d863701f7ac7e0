//! Tasks that start with the first use, and end with their owner.

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
        (!self.0.swap(true, AcqRel)).then(|| Running(Some(self.0.clone())))
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

#[cfg(feature = "cache")]
impl Running {
    /// There is nothing to run, and no other is to begin.
    pub(crate) fn for_good(mut self) {
        self.0 = None;
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
