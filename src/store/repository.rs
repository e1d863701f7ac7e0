//! [`KeyRepository`]: what a manager writes, and the changes that it makes.

use std::{net::IpAddr, sync::Arc};

use super::{
    KeyStore,
    balances::BalanceUpdate,
    bus::Announcement,
    capabilities::{AuditLog, BalanceStore, RequestLog, SelectedChanges, UsageLog, Watermarks},
    changed_digest::{ChangedDigest, Written},
    list::{KeyPage, KeyQuery},
    owner_bound::OwnerBound,
    requests::RequestRecord,
    watermark::WatermarkRecord,
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{KeyDigest, KeyEvent, KeyId, KeyRecord, OwnerId},
    runtime::async_methods,
};

/// Keeps keys: what a [`KeyManager`](crate::KeyManager) needs.
///
/// # Contract
///
/// - The caller makes ids and digests. Both are unique over all rows, deleted ones included.
/// - Every method is atomic: it happens wholly or not at all, and once it returned `Ok`, a crash
///   of this process does not undo it.
/// - An error means that it is unknown whether the change happened. Only a
///   [`Duplicate`](crate::store::StoreErrorKind::Duplicate) says that it did not.
/// - Written records read back equal.
/// - A change is visible to `find` through the same store as soon as it returned.
#[diagnostic::on_unimplemented(
    message = "a `KeyManager` cannot change the keys of `{Self}`",
    note = "implement `KeyRepository` for it, or use one of the stores in `tower_api_key::store`",
    note = "a `FixedStore` can only be read: use `ApiKeyLayer::new`"
)]
pub trait KeyRepository: KeyStore {
    async_methods! {
        /// Makes all of these changes, or none: the new keys, then the updates, then the balances, then
        /// the events.
        ///
        /// A new key whose id, digest or [`request`](crate::key::KeyDetails::request) exists already is
        /// a [`Duplicate`](crate::store::StoreErrorKind::Duplicate). An update whose key has another
        /// revision than expected, or does not exist, makes everything [`Stale`](ApplyOutcome::Stale). So does
        /// one that leaves a key unrevoked which is [revoked by the time of its creation](Changes::watermark).
        /// Of several concurrent updates that expect the same revision, exactly one is
        /// [`Done`](ApplyOutcome::Done). Of several reasons not to write, a duplicate among the new
        /// keys comes first.
        ///
        /// A balance of a lineage that has another revision than expected, or none where one is
        /// expected, or one where none is, makes everything [`Stale`](ApplyOutcome::Stale) as well; and
        /// so does one that is not [due](BalanceUpdate::due) by the clock of this repository, which the
        /// statement that writes it reads.
        ///
        /// A request that its lineage has already makes everything [`Stale`](ApplyOutcome::Stale) as
        /// well. It is written with the time by the clock of this repository.
        ///
        /// Changes with an [`owner_bound`](Changes::owner_bound) after which the owner would have more
        /// live keys than that are [`TooManyKeys`](ApplyOutcome::TooManyKeys), and nothing is written.
        /// The keys are counted in the same write: however many nodes create keys for one owner at the
        /// same time, the bound holds. A store that can count so says it with
        /// [`bounds_owners`](Self::bounds_owners); any other is never given such changes by a manager.
        /// Of several reasons not to write, this one comes last.
        ///
        /// An update writes every field of its record but `id`, `created_at`, `last_used_at`,
        /// `last_used_from` and `use_count`; the new revision is the record's, which must be greater
        /// than the expected one.
        ///
        /// A [watermark](Changes::watermark) is written with the time by the clock of this repository. One of
        /// a time that has not come yet by that clock makes everything [`Stale`](ApplyOutcome::Stale). A store
        /// without [`watermarks`](Self::watermarks) is never given any.
        ///
        /// Events are kept for the [`audit_log`](Self::audit_log). A store without one passes them over.
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError>;
    }

    /// Whether [`apply`](Self::apply) enforces an [`owner_bound`](Changes::owner_bound).
    ///
    /// A manager refuses to make changes with a bound in a store that does not, with
    /// [`Unsupported`](crate::store::StoreErrorKind::Unsupported), since the store would pass the
    /// bound over.
    fn bounds_owners(&self) -> bool {
        false
    }

    async_methods! {
        /// [Applies](Self::apply) one new key.
        async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
            let changes = Changes { inserts: vec![record.clone()], ..Changes::default() };
            self.apply(&changes).await.map(drop)
        }

        /// [Applies](Self::apply) one update, of `old` as it was read.
        async fn update(
            &self,
            old: &KeyRecord,
            new: &KeyRecord,
        ) -> Result<ApplyOutcome, StoreError> {
            let update = KeyUpdate::new(old, new.clone());
            self.apply(&Changes { updates: vec![update], ..Changes::default() }).await
        }

        /// The key with this id. Deleted keys are found here, with `deleted_at` set.
        async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError>;

        /// A page of the keys that are not deleted, the youngest (greatest) id first.
        async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError>;

        /// Adds to the use counts of keys, and moves `last_used_at` forward, never back. With it moves
        /// `last_used_from`, where the use says it. Ids that do not exist are passed over. Leaves the
        /// revision as it is.
        async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError>;

        /// Removes the rows of keys that were revoked or deleted before this moment, of this owner or
        /// of all, and returns how many there were. The balance of a lineage goes with its last key;
        /// its usage stays. A purge of all also forgets [requests](Self::request_log) from before this
        /// moment that are older than 30 days by the clock of this repository.
        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError>;
    }

    /// Changes of all keys of a selection together. `None`, the default: this repository cannot make
    /// them.
    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        None
    }

    /// The watermarks that stand. `None`, the default: this repository keeps none, and is given no
    /// [`Changes`] with any.
    fn watermarks(&self) -> Option<&dyn Watermarks> {
        None
    }

    /// The audit log. `None`, the default: this repository keeps none, and [`apply`](Self::apply)
    /// passes events over.
    fn audit_log(&self) -> Option<&dyn AuditLog> {
        None
    }

    /// The balances of credits. `None`, the default: this repository keeps none, and is given no
    /// [`Changes`] with any.
    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        None
    }

    /// The effects of requests with an id. `None`, the default: this repository does not keep
    /// requests, and is given no [`Changes`] with any.
    fn request_log(&self) -> Option<&dyn RequestLog> {
        None
    }

    /// The counts of uses by hour. `None`, the default: this repository keeps none.
    fn usage_log(&self) -> Option<&dyn UsageLog> {
        None
    }

    async_methods! {
        /// Has nodes look these keys up again: they have come to their end already, and an act that was to
        /// end them has been acknowledged. The act before it may not have been heard, as where its node did
        /// not live to announce it.
        ///
        /// Does nothing for a store that no other node caches. A store around another one must pass it on.
        async fn announce_again(&self, keys: &[Arc<KeyRecord>]) {
            let _ = keys;
        }

        /// Lets go of connections in good order, before the program ends. Afterwards every method of
        /// this store and its clones may be an error. Does nothing for a store that has none.
        async fn close(&self) {}
    }
}

/// The changes that a repository is to write, all of them or none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Keys to add.
    pub inserts: Vec<KeyRecord>,
    /// Keys to replace.
    pub updates: Vec<KeyUpdate>,
    /// Balances of credits to add or replace, each of another lineage.
    pub balances: Vec<BalanceUpdate>,
    /// Requests that are doing this, and that must do it once.
    pub requests: Vec<RequestRecord>,
    /// Events to write into the audit log.
    pub events: Vec<KeyEvent>,
    /// How many live keys an owner may have when all of this is written, if there is a bound.
    pub owner_bound: Option<OwnerBound>,
    /// Keys to revoke by the time of their creation.
    pub watermark: Option<WatermarkRecord>,
    /// Whether no answer about a key is another one afterwards, so that caches need not be told.
    pub(crate) is_silent: bool,
}

impl Changes {
    /// With these keys to add.
    pub fn with_inserts(self, inserts: Vec<KeyRecord>) -> Self {
        Self { inserts, ..self }
    }

    /// With these keys to replace.
    pub fn with_updates(self, updates: Vec<KeyUpdate>) -> Self {
        Self { updates, ..self }
    }

    /// With these balances to add or replace.
    pub fn with_balances(self, balances: Vec<BalanceUpdate>) -> Self {
        Self { balances, ..self }
    }

    /// With these requests, which must do this once.
    pub fn with_requests(self, requests: Vec<RequestRecord>) -> Self {
        Self { requests, ..self }
    }

    /// With these events for the audit log.
    pub fn with_audit(self, events: Vec<KeyEvent>) -> Self {
        Self { events, ..self }
    }

    /// With a bound on the live keys of an owner, or without one.
    pub fn with_owner_bound(self, owner_bound: Option<OwnerBound>) -> Self {
        Self { owner_bound, ..self }
    }

    /// With keys to revoke by the time of their creation, or without.
    pub fn with_watermark(self, watermark: Option<WatermarkRecord>) -> Self {
        Self { watermark, ..self }
    }

    /// The digests that lead to keys which this changes, before and after, for caches to forget: a
    /// client may have tried a new key before it existed.
    pub(super) fn digests(&self) -> impl Iterator<Item = ChangedDigest> {
        let inserts = self.inserts.iter().map(ChangedDigest::inserted);
        let digests = inserts.chain(self.updates.iter().flat_map(ChangedDigest::updated));
        digests.filter(|_| !self.is_silent)
    }

    /// The announcement of all that this changes. The authority tells of a watermark whether it was written.
    pub(super) fn announced(&self, written: Written) -> Announcement {
        let watermark = self.watermark.as_ref().map(|new| &new.watermark);
        let keys = self.digests().map(|changed| changed.announced(written));
        let watermark = watermark.filter(|_| written != Written::No).cloned();
        Announcement::new(keys).with_watermarks(watermark)
    }

    /// Has all of this written only while `key` is as it was read. It gets its next revision and
    /// stays the same otherwise, so that changes which were made from its last one at the same time
    /// are made anew, from what is written here.
    pub(crate) fn rely_on(&mut self, key: &KeyRecord) {
        if self.updates.iter().all(|update| update.record.id != key.id) {
            let record = KeyRecord { revision: key.revision + 1, ..key.clone() };
            self.updates.push(KeyUpdate::new(key, record));
        }
        // Every writer of several keys uses this order, so that no two wait for each other.
        self.updates.sort_by_key(|update| update.record.id);
    }
}

/// A key as it is to be, if it still has the revision it was read with.
///
/// It carries the digest that the key had when it was read, so that a cache knows which digests to
/// forget without another read. An update that is written was written over that very row, since a
/// row with another digest has another revision.
///
/// ```
/// use tower_api_key::{
///     KeyId, Timestamp,
///     key::{KeyDigest, KeyRecord},
///     store::KeyUpdate,
/// };
///
/// let (id, digest) = (KeyId::from_bytes([1; 16]), KeyDigest::from_bytes([1; 32]));
/// let old = KeyRecord::new(id, digest, "CI", Timestamp::from_unix_millis(1_900_000_000_000));
/// let mut new = old.clone();
/// new.digest = KeyDigest::from_bytes([2; 32]);
/// new.revision += 1;
/// let update = KeyUpdate::new(&old, new);
/// assert_eq!((update.expected, update.old_digest), (old.revision, old.digest));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyUpdate {
    /// The key. Its revision is greater than the expected one.
    pub record: KeyRecord,
    /// The revision that it must have in the store.
    pub expected: u64,
    /// The digest that it has at that revision.
    pub old_digest: KeyDigest,
}

impl KeyUpdate {
    /// The update that writes `new` over `old`, as it was read. The revision of `new` is greater.
    pub fn new(old: &KeyRecord, new: KeyRecord) -> Self {
        Self { record: new, expected: old.revision, old_digest: old.digest }
    }

    /// The update that makes `old` into `new`.
    pub(crate) fn revised(old: &KeyRecord, mut new: KeyRecord, now: Timestamp) -> Self {
        new.updated_at = now.max(old.updated_at);
        new.revision = old.next_revision(now);
        new.details.shrink();
        Self::new(old, new)
    }
}

/// The outcome of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// They were written.
    Done,
    /// A key has another revision, or does not exist: nothing was written.
    Stale,
    /// The owner would have more live keys than its [bound](OwnerBound) allows: nothing was
    /// written.
    TooManyKeys,
}

/// How often a key was used since it was last recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUse {
    /// The key.
    pub id: KeyId,
    /// Requests that it let in.
    pub count: u64,
    /// The time of the last of them.
    pub last_used_at: Timestamp,
    /// The address that the last of them came from, if it is to be recorded.
    pub last_used_from: Option<IpAddr>,
}

impl KeyUse {
    /// Uses from no address in particular.
    pub const fn new(id: KeyId, count: u64, last_used_at: Timestamp) -> Self {
        Self { id, count, last_used_at, last_used_from: None }
    }
}

impl<S: KeyRepository + ?Sized> KeyRepository for Arc<S> {
    async_methods! {
        async fn apply(&self, changes: &Changes) -> Result<ApplyOutcome, StoreError> {
            (**self).apply(changes).await
        }
    }

    fn bounds_owners(&self) -> bool {
        (**self).bounds_owners()
    }

    async_methods! {
        async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            (**self).get(id).await
        }

        async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
            (**self).list(query).await
        }

        async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
            (**self).record_uses(uses).await
        }

        async fn purge(
            &self,
            before: Timestamp,
            owner: Option<&OwnerId>,
        ) -> Result<u64, StoreError> {
            (**self).purge(before, owner).await
        }
    }

    fn selected_changes(&self) -> Option<&dyn SelectedChanges> {
        (**self).selected_changes()
    }

    fn watermarks(&self) -> Option<&dyn Watermarks> {
        (**self).watermarks()
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        (**self).audit_log()
    }

    fn balance_store(&self) -> Option<&dyn BalanceStore> {
        (**self).balance_store()
    }

    fn request_log(&self) -> Option<&dyn RequestLog> {
        (**self).request_log()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        (**self).usage_log()
    }

    async_methods! {
        async fn announce_again(&self, keys: &[Arc<KeyRecord>]) {
            (**self).announce_again(keys).await;
        }

        async fn close(&self) {
            (**self).close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u8, digest: u8) -> KeyRecord {
        let (id, digest) = (KeyId::from_bytes([number; 16]), KeyDigest::from_bytes([digest; 32]));
        KeyRecord::new(id, digest, "a key", Timestamp::from_unix_millis(0))
    }

    /// A cache on another node knows a key that was renewed by the digest that it had before.
    #[test]
    fn changes_know_the_digests_before_and_after() {
        let changes = Changes::default().with_inserts(vec![record(1, 1)]).with_updates(vec![
            KeyUpdate::new(&record(2, 2), record(2, 2)),
            KeyUpdate::new(&record(3, 3), record(3, 4)),
        ]);
        let digests = changes.digests().map(|changed| changed.digest.as_bytes()[0]);
        assert_eq!(digests.collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
