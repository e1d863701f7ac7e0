//! A store whose every move the tests decide.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use tower_api_key::{
    key::{KeyDigest, KeyRecord},
    store::{KeyStore, Lookup, StoreError, StoreErrorKind},
};

/// A store that counts how often it was asked. Clones share the counts.
#[derive(Clone)]
pub(crate) struct TestStore {
    records: Vec<Arc<KeyRecord>>,
    answer: Answer,
    sloppy: bool,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    find_now: AtomicUsize,
    find: AtomicUsize,
    dropped: AtomicUsize,
}

#[derive(Clone)]
enum Answer {
    Now,
    Later,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only metrics tell of it"))]
    After(Duration),
    Error(StoreErrorKind),
    Never,
}

impl TestStore {
    /// A store that answers at once.
    pub(crate) fn new(records: impl IntoIterator<Item = KeyRecord>) -> Self {
        let records = records.into_iter().map(Arc::new).collect();
        Self { records, answer: Answer::Now, sloppy: false, counts: Arc::default() }
    }

    /// A store that has to be waited for.
    pub(crate) fn waiting(records: impl IntoIterator<Item = KeyRecord>) -> Self {
        Self { answer: Answer::Later, ..Self::new(records) }
    }

    /// A store that takes so long.
    #[cfg(feature = "metrics")]
    pub(crate) fn taking(time: Duration, records: impl IntoIterator<Item = KeyRecord>) -> Self {
        Self { answer: Answer::After(time), ..Self::new(records) }
    }

    /// A store that cannot tell.
    pub(crate) fn failing(kind: StoreErrorKind) -> Self {
        Self { answer: Answer::Error(kind), ..Self::new([]) }
    }

    /// A store that never answers.
    pub(crate) fn stuck() -> Self {
        Self { answer: Answer::Never, ..Self::new([]) }
    }

    /// Gives its first record to whoever asks for anything.
    pub(crate) fn sloppy(self) -> Self {
        Self { sloppy: true, ..self }
    }

    /// How often `find_now` was asked.
    pub(crate) fn asked_now(&self) -> usize {
        self.counts.find_now.load(SeqCst)
    }

    /// How often `find` was asked.
    pub(crate) fn asked(&self) -> usize {
        self.counts.find.load(SeqCst)
    }

    /// How many of those lookups were given up before they answered.
    pub(crate) fn given_up(&self) -> usize {
        self.counts.dropped.load(SeqCst)
    }

    fn lookup(&self, digest: &KeyDigest) -> Option<Arc<KeyRecord>> {
        self.records.iter().find(|record| self.sloppy || record.digest == *digest).cloned()
    }
}

#[async_trait]
impl KeyStore for TestStore {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        self.counts.find_now.fetch_add(1, SeqCst);
        matches!(self.answer, Answer::Now).then(|| self.lookup(digest).into())
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.counts.find.fetch_add(1, SeqCst);
        // Every answer waits at least once, so that the caller's future is really parked.
        let given_up = CountDrop(&self.counts.dropped);
        match self.answer {
            Answer::Never => std::future::pending().await,
            Answer::After(time) => tokio::time::sleep(time).await,
            _ => tokio::task::yield_now().await,
        }
        std::mem::forget(given_up);
        match self.answer {
            Answer::Error(kind) => Err(StoreError::new(kind)),
            _ => Ok(self.lookup(digest)),
        }
    }
}

/// Counts when it is dropped rather than forgotten.
pub(crate) struct CountDrop<'c>(pub(crate) &'c AtomicUsize);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}
