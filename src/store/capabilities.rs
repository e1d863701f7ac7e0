//! The abilities that some repositories have and others lack: a trait for each, which
//! [`KeyRepository`](super::KeyRepository) hands out.

use std::time::Duration;

use super::{
    balances::Balances,
    repository::ApplyOutcome,
    requests::RequestRecord,
    selection::{Plan, Selection},
    watermark::{Watermark, WatermarkRecord},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::{
        EventPage, EventQuery, HourlyUsage, KeyDigest, KeyId, LineageUsage, UsageCount, UsageQuery,
    },
    runtime::async_methods,
};

/// Reads the [events](super::Changes::events) that a repository was given.
pub trait AuditLog: Send + Sync {
    async_methods! {
        /// A page of the audit log, the latest event first.
        async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError>;
    }
}

/// Reads the [balances](super::Changes::balances) of credits.
pub trait BalanceStore: Send + Sync {
    async_methods! {
        /// The balances of those of these lineages that have one, in any order, and the time by the
        /// clock of this repository; the time alone where no lineages are asked for.
        async fn balances(&self, lineages: &[KeyId]) -> Result<Balances, StoreError>;
    }
}

/// Remembers the [requests](super::Changes::requests) that must act once.
pub trait RequestLog: Send + Sync {
    async_methods! {
        /// The effect of a request on a lineage, if it had one. Kept for 30 days at least, also after
        /// the events of the audit log are gone.
        async fn request(
            &self,
            lineage: KeyId,
            request: &KeyDigest,
        ) -> Result<Option<RequestRecord>, StoreError>;
    }
}

/// Counts uses by lineage, hour and outcome.
pub trait UsageLog: Send + Sync {
    async_methods! {
        /// Adds to the counts of these lineages, hours and outcomes, all of them or none. The owner of
        /// a lineage is the one that was first written.
        async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError>;

        /// The counts that were asked for, added up for each hour and outcome, in the order of hours
        /// and, within one, of the names of outcomes.
        async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError>;

        /// The lineages, of those that were asked for, that let in the most requests, the busiest
        /// first and, of those that are as busy, the smallest id. Lineages that let in none are not
        /// among them.
        async fn busiest(
            &self,
            query: &UsageQuery,
            limit: usize,
        ) -> Result<Vec<LineageUsage>, StoreError>;

        /// Removes the counts of hours that began before this moment, and returns how many there were.
        async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError>;
    }
}

/// Lists the digests of the keys in a store, so that a cache can tell which keys may exist.
///
/// Digests alone: listing a million keys should cost no more than it must.
pub trait KnownDigests: Send + Sync {
    async_methods! {
        /// How many keys there are. An estimate is enough: a cache makes room for so many.
        async fn count(&self) -> Result<u64, StoreError>;

        /// Digests of keys that are not deleted, and where to go on; without that, these were the last.
        /// `None` begins, in any order.
        ///
        /// About `limit` of them, and a page may be empty before the last. A key that is there all the
        /// time is on one page at least.
        async fn page(
            &self,
            after: Option<DigestCursor>,
            limit: usize,
        ) -> Result<(Vec<KeyDigest>, Option<DigestCursor>), StoreError>;

        /// Keys that are not deleted with greater ids than this one, the smallest id first, and no more
        /// than `limit`.
        ///
        /// Ids begin with the time of creation, so these are the keys that were created since.
        async fn added(
            &self,
            after: KeyId,
            limit: usize,
        ) -> Result<Vec<(KeyId, KeyDigest)>, StoreError>;
    }
}

/// Where a list of [digests](KnownDigests::page) goes on. Its meaning is the store's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestCursor(Box<[u8]>);

impl DigestCursor {
    /// A cursor that a store can read again.
    pub fn new(place: impl Into<Box<[u8]>>) -> Self {
        Self(place.into())
    }

    /// What the store made it of.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Changes all keys of a selection together.
pub trait SelectedChanges: Send + Sync {
    async_methods! {
        /// Changes selected keys together: reads them, and writes what `plan` makes of them, all or
        /// nothing, as [`apply`](super::KeyRepository::apply) does.
        ///
        /// No key of the selection is left out: one that another node creates, or issues in place of
        /// another, is either among those that are read, or is added after the changes are written. The
        /// same goes for changes of the keys themselves. Where they were changed between reading and
        /// writing, the store begins again; should it give that up, nothing was written and the answer
        /// is [`Stale`](ApplyOutcome::Stale).
        async fn apply_to(
            &self,
            selection: &Selection,
            plan: &Plan,
        ) -> Result<ApplyOutcome, StoreError>;
    }
}

/// How long a watermark is there at least: longer than a key is on its way into a store.
pub(super) const WATERMARK_LASTS: Duration = Duration::from_mins(1);

/// Keeps watermarks: keys that were revoked by one write, by the time of their creation.
///
/// [`apply`](super::KeyRepository::apply) [sets](super::Changes::watermark) one. From then on, whatever reads
/// a key that it covers finds it revoked: a lookup, a list, a count of the live keys of an owner. The rows are
/// written afterwards; then the watermark can go.
pub trait Watermarks: Send + Sync {
    async_methods! {
        /// The watermarks that stand, in any order.
        async fn current(&self) -> Result<Vec<WatermarkRecord>, StoreError>;

        /// Keys that a watermark covers and whose rows do not say yet that they were revoked, with their
        /// revisions: the smallest ids first, after `after`, and no more than `limit`.
        async fn unwritten(
            &self,
            watermark: &Watermark,
            after: Option<KeyId>,
            limit: usize,
        ) -> Result<Vec<(KeyId, u64)>, StoreError>;

        /// Removes a watermark; unless it was written less than a minute ago by the clock of
        /// this repository, so that keys which were being added have come, or there is a key whose row does not
        /// say yet that it was revoked. Whether it was removed.
        async fn remove(&self, watermark: &Watermark) -> Result<bool, StoreError>;
    }
}
