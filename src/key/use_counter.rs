//! [`UseCounter`]: the uses of one record since they were last collected.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

/// Uses of a key that were not written yet, on the record itself: a request that finds the record
/// has found its counter.
///
/// Four bytes are enough for all uses between two collections, which are seconds apart: in each of ten
/// seconds it counts 400 million.
///
/// Not a part of what the record says: a copy of the record starts from zero, and records are
/// equal whatever their counters.
#[derive(Default)]
pub(crate) struct UseCounter(AtomicU32);

impl UseCounter {
    /// Counts one use; true if it is the first since they were collected.
    #[inline]
    pub(crate) fn count(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Takes the uses that were counted.
    pub(crate) fn collect(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed).into()
    }
}

impl Clone for UseCounter {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for UseCounter {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for UseCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UseCounter(..)")
    }
}
