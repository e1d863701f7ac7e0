//! [`SharedRecord`]: a record as requests share it.

use std::{fmt, ops::Deref, sync::Arc};

use crate::key::{KeyRecord, UseCounter};

/// A record that is shared with the store. Reads like the `Arc` inside.
///
/// A clone counts one more reference, as that of an `Arc` does. But where a store keeps its answers
/// for each thread, the count is the thread's own: two threads that clone one `Arc` write to the same
/// line of memory, and slow each other down.
///
/// ```
/// use std::sync::Arc;
/// use tower_api_key::{key::KeyRecord, store::SharedRecord};
///
/// fn share(record: Arc<KeyRecord>) -> SharedRecord {
///     record.into()
/// }
/// # let _ = share;
/// ```
#[derive(Clone)]
pub struct SharedRecord(Count);

#[derive(Clone)]
enum Count {
    Store(Arc<KeyRecord>),
    Thread(Arc<ThreadRecord>),
}

/// A record as one thread holds it, with the uses that the thread has counted.
pub(super) struct ThreadRecord {
    record: Arc<KeyRecord>,
    /// Until when the thread may use it without asking, in milliseconds since 1970.
    fresh_until: i64,
    uses: UseCounter,
}

impl ThreadRecord {
    pub(super) fn new(record: Arc<KeyRecord>, fresh_until: i64) -> Self {
        Self { record, fresh_until, uses: UseCounter::default() }
    }

    pub(super) fn record(&self) -> &KeyRecord {
        &self.record
    }

    pub(super) fn fresh_until(&self) -> i64 {
        self.fresh_until
    }
}

impl SharedRecord {
    /// The uses that were counted where this one is counted.
    #[inline]
    pub(crate) fn uses(&self) -> &UseCounter {
        match &self.0 {
            Count::Store(record) => &record.uses,
            Count::Thread(record) => &record.uses,
        }
    }
}

impl Deref for SharedRecord {
    type Target = Arc<KeyRecord>;

    #[inline]
    fn deref(&self) -> &Arc<KeyRecord> {
        match &self.0 {
            Count::Store(record) => record,
            Count::Thread(record) => &record.record,
        }
    }
}

impl From<Arc<KeyRecord>> for SharedRecord {
    #[inline]
    fn from(record: Arc<KeyRecord>) -> Self {
        Self(Count::Store(record))
    }
}

impl From<Arc<ThreadRecord>> for SharedRecord {
    #[inline]
    fn from(record: Arc<ThreadRecord>) -> Self {
        Self(Count::Thread(record))
    }
}

impl From<SharedRecord> for Arc<KeyRecord> {
    fn from(record: SharedRecord) -> Self {
        Self::clone(&record)
    }
}

impl fmt::Debug for SharedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
