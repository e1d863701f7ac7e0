//! A store of one key, with a replica or without.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use tokio::task::yield_now;

use crate::{
    clock::Timestamp,
    key::{KeyDigest, KeyId, KeyRecord},
    runtime::async_methods,
    store::{KeyStore, StoreError},
};

pub(super) const DIGEST: KeyDigest = KeyDigest::from_bytes([1; 32]);

pub(super) const CREATED_AT: Timestamp = Timestamp::from_unix_millis(0);

/// Of the row: 1 is the first.
pub(super) type Version = u64;

/// The row of the key, as it is at each place.
pub(super) struct Rows {
    authority: AtomicU64,
    replica: AtomicU64,
    /// A lookup that begins now must have this version, or a newer one.
    told: AtomicU64,
    was_set_back: AtomicBool,
    is_at_the_end: AtomicBool,
    may_lag: bool,
    /// Version 2 is revoked, at the same revision.
    is_below_a_watermark: bool,
}

impl Rows {
    pub(super) fn new(may_lag: bool) -> Arc<Self> {
        Arc::new(Self {
            authority: AtomicU64::new(1),
            replica: AtomicU64::new(1),
            told: AtomicU64::new(0),
            was_set_back: AtomicBool::new(false),
            is_at_the_end: AtomicBool::new(false),
            may_lag,
            is_below_a_watermark: false,
        })
    }

    pub(super) fn below_a_watermark(may_lag: bool) -> Arc<Self> {
        let mut rows = Arc::into_inner(Self::new(may_lag)).expect("no other has it");
        rows.is_below_a_watermark = true;
        Arc::new(rows)
    }

    pub(super) fn change(&self, version: Version) {
        self.authority.store(version, SeqCst);
    }

    /// As if it had not been changed.
    pub(super) fn set_back(&self, version: Version) {
        self.was_set_back.store(true, SeqCst);
        self.change(version);
    }

    pub(super) fn was_set_back(&self) -> bool {
        self.was_set_back.load(SeqCst)
    }

    pub(super) fn newest(&self) -> Version {
        self.authority.load(SeqCst)
    }

    pub(super) fn told(&self) -> Version {
        self.told.load(SeqCst)
    }

    /// A lookup that begins from now on must have this version, or a newer one.
    pub(super) fn tell(&self, version: Version) {
        self.told.fetch_max(version, SeqCst);
    }

    /// Until lookups must have this version.
    pub(super) async fn told_of(&self, version: Version) {
        while self.told() < version {
            yield_now().await;
        }
    }

    /// The replica has all changes so far.
    pub(super) fn replicate(&self) {
        self.replica.store(self.newest(), SeqCst);
    }

    /// No change comes any more.
    pub(super) fn end(&self) {
        self.is_at_the_end.store(true, SeqCst);
    }

    pub(super) fn is_at_the_end(&self) -> bool {
        self.is_at_the_end.load(SeqCst)
    }

    fn row(&self, version: Version) -> Arc<KeyRecord> {
        let record = KeyRecord::new(KeyId::from_bytes([1; 16]), DIGEST, "a key", CREATED_AT);
        if !self.is_below_a_watermark {
            return Arc::new(KeyRecord { revision: version, ..record });
        }
        let mut record = record;
        record.details.revoked_at = (version > 1).then_some(CREATED_AT);
        Arc::new(record)
    }

    pub(super) fn version(&self, record: &KeyRecord) -> Version {
        if self.is_below_a_watermark {
            1 + Version::from(record.details.revoked_at.is_some())
        } else {
            record.revision
        }
    }

    async fn read(&self, place: &AtomicU64) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        yield_now().await;
        let version = place.load(SeqCst);
        yield_now().await;
        Ok(Some(self.row(version)))
    }
}

pub(super) struct Store(pub(super) Arc<Rows>);

impl KeyStore for Store {
    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            assert_eq!(*digest, DIGEST);
            let Rows { authority, replica, may_lag, .. } = &*self.0;
            self.0.read(if *may_lag { replica } else { authority }).await
        }

        async fn find_fresh(
            &self,
            digest: &KeyDigest,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            assert_eq!(*digest, DIGEST);
            self.0.read(&self.0.authority).await
        }
    }

    fn may_lag(&self) -> bool {
        self.0.may_lag
    }
}
