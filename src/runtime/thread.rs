//! The numbers of threads.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Threads beyond this number share with earlier ones, and are as slow as if all did.
pub(crate) const THREADS: usize = 64;

/// The number of the calling thread, below [`THREADS`].
#[inline]
pub(crate) fn thread() -> usize {
    const NONE: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }

    #[cold]
    fn next() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % THREADS;
        NUMBER.set(number);
        number
    }

    match NUMBER.get() {
        NONE => next(),
        number => number % THREADS,
    }
}
