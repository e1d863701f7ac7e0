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

/// The version of a key that a backup has brought back.
const BACKUP: Version = 3;

/// The row of the key, as it is at each place.
pub(super) struct Rows {
    authority: AtomicU64,
    replica: AtomicU64,
    /// A lookup that begins now must have this version, or a newer one.
    told: AtomicU64,
    was_set_back: AtomicBool,
    is_at_the_end: AtomicBool,
    is_quiet: AtomicBool,
    may_lag: bool,
    kind: Kind,
}

/// The rows that the versions have.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Each has its revision.
    Changed,
    /// Version 2 is revoked, at the same revision.
    BelowWatermark,
    /// Version 2 is revoked. Version 3 is a backup of the first, and has its revision.
    Restored,
}

impl Rows {
    pub(super) fn new(may_lag: bool) -> Arc<Self> {
        Self::of_kind(Kind::Changed, may_lag)
    }

    pub(super) fn below_a_watermark(may_lag: bool) -> Arc<Self> {
        Self::of_kind(Kind::BelowWatermark, may_lag)
    }

    pub(super) fn restored(may_lag: bool) -> Arc<Self> {
        Self::of_kind(Kind::Restored, may_lag)
    }

    fn of_kind(kind: Kind, may_lag: bool) -> Arc<Self> {
        Arc::new(Self {
            authority: AtomicU64::new(1),
            replica: AtomicU64::new(1),
            told: AtomicU64::new(0),
            was_set_back: AtomicBool::new(false),
            is_at_the_end: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
            may_lag,
            kind,
        })
    }

    pub(super) fn change(&self, version: Version) {
        self.authority.store(version, SeqCst);
    }

    /// As if it had not been changed.
    pub(super) fn set_back(&self, version: Version) {
        self.was_set_back.store(true, SeqCst);
        self.change(version);
    }

    /// Whether there may be an error for a lookup. After a backup, there is none once all lookups are over that a
    /// reset may have come across.
    pub(super) fn may_be_behind(&self) -> bool {
        let is_restored = self.kind == Kind::Restored && !self.is_quiet.load(SeqCst);
        self.was_set_back.load(SeqCst) || is_restored
    }

    /// No lookup is under way any more.
    pub(super) fn is_quiet(&self) {
        self.is_quiet.store(true, SeqCst);
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
        let mut record = KeyRecord::new(KeyId::from_bytes([1; 16]), DIGEST, "a key", CREATED_AT);
        match self.kind {
            Kind::Changed => record.revision = version,
            Kind::BelowWatermark => {
                record.details.revoked_at = (version > 1).then_some(CREATED_AT);
            }
            Kind::Restored => {
                record.revision = if version == BACKUP { 1 } else { version };
                record.use_count = version;
                record.details.revoked_at = (version == 2).then_some(CREATED_AT);
            }
        }
        Arc::new(record)
    }

    pub(super) fn version(&self, record: &KeyRecord) -> Version {
        match self.kind {
            Kind::Changed => record.revision,
            Kind::BelowWatermark => 1 + Version::from(record.details.revoked_at.is_some()),
            Kind::Restored => record.use_count,
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
