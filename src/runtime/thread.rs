//! The numbers of threads.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Threads beyond this number share with earlier ones, and are as slow as if all did.
pub(crate) const THREADS: usize = 64;

const NONE: usize = usize::MAX;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
}

/// The number of the calling thread, below [`THREADS`].
#[inline]
pub(crate) fn thread() -> usize {
    match NUMBER.get() {
        NONE => next(),
        number => number % THREADS,
    }
}

#[cold]
fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % THREADS;
    NUMBER.set(number);
    number
}

/// Has the calling thread act as the one of this number.
#[cfg(test)]
pub(crate) fn act_as_thread(number: usize) {
    NUMBER.set(number);
}
