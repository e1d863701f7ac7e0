//! [`PerThread`]: one of a thing for each thread, so that no two of them write the same line of
//! memory.
//!
//! Two processors that write one line take turns, and each turn costs as much as all else that is
//! done for a request. Safe code has no other way around a shared count than a second count.

use std::sync::{
    OnceLock,
    atomic::{Ordering, fence},
};

use super::{
    Mutex,
    sync::MutexGuard,
    thread::{THREADS, thread},
};

/// One for each thread that asked for it, and each within reach of all of them.
pub(crate) struct PerThread<T>(Box<[OnceLock<Box<Apart<T>>>]>);

/// On lines of its own: processors fetch two at a time.
#[repr(align(128))]
struct Apart<T>(Mutex<T>);

impl<T: Default> PerThread<T> {
    /// That of the calling thread. No other thread waits for it unless it goes through
    /// [`each`](Self::each).
    #[inline]
    pub(crate) fn mine(&self) -> MutexGuard<'_, T> {
        let mine = &self.0[thread()];
        let mine: &Apart<T> = match mine.get() {
            Some(mine) => mine,
            None => Self::first(mine),
        };
        mine.0.lock()
    }

    #[cold]
    fn first(mine: &OnceLock<Box<Apart<T>>>) -> &Apart<T> {
        let mine = mine.get_or_init(Box::default);
        // What this thread reads from here on is not older than what `each` that misses it has written.
        fence(Ordering::SeqCst);
        mine
    }
}

impl<T> PerThread<T> {
    /// Those of all threads, one after the other.
    pub(crate) fn each(&self, mut visit: impl FnMut(&mut T)) {
        fence(Ordering::SeqCst);
        self.0.iter().filter_map(OnceLock::get).for_each(|one| visit(&mut one.0.lock()));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|one| u32::from(one.get().is_some())).sum()
    }
}

impl<T> Default for PerThread<T> {
    fn default() -> Self {
        Self((0..THREADS).map(|_| OnceLock::new()).collect())
    }
}

impl<T: Default> Default for Apart<T> {
    fn default() -> Self {
        Self(Mutex::new(T::default()))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn each_thread_has_its_own_and_all_are_within_reach() {
        let counts = Arc::new(PerThread::<u32>::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let counts = counts.clone();
                thread::spawn(move || (0..100).for_each(|_| *counts.mine() += 1))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let (mut sum, mut shares) = (0, 0);
        counts.each(|count| {
            sum += *count;
            shares += 1;
        });
        assert_eq!(sum, 400);
        assert!(shares > 1, "threads have numbers of their own");
        *counts.mine() = 7;
        assert_eq!(*counts.mine(), 7);
    }
}
