//! Where keys are kept: the [`KeyStore`] that a layer reads, the [`KeyRepository`] that a manager
//! writes, and the stores that come with the crate.
//!
//! | store | feature | for |
//! |---|---|---|
//! | [`MemoryStore`] | – | tests, and keys that need not outlive the process |
//! | [`FileStore`] | `file` | a handful of keys in a file, which may change |
//! | [`FixedStore`] | – | a handful of keys from the environment or configuration |
//! | [`MySqlStore`] | `mysql` | several machines, in MySQL or MariaDB |
//! | [`PostgresStore`] | `postgres` | several machines, in PostgreSQL |
//! | [`RedisStore`] | `redis` | several machines, in Redis or Valkey |
//! | [`SqliteStore`] | `sqlite` | one machine, in a file |
//!
//! [`connect`] opens those that a manager can write to, by URL.

#[cfg(feature = "cache")]
mod cached;
mod connect;
pub(crate) mod digest_map;
mod error;
#[cfg(feature = "file")]
mod file;
mod fixed;
mod invalidation;
mod list;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

/// What the unit tests of statements and scripts run against.
#[cfg(all(test, any(feature = "mysql", feature = "postgres", feature = "redis")))]
#[path = "../../tests/support/servers.rs"]
pub(crate) mod servers;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;

use crate::{
    Balance, EventPage, EventQuery, HourlyUsage, KeyDigest, KeyEvent, KeyId, KeyRecord, LineUsage,
    OwnerId, Timestamp, UsageCount, UsageQuery,
};

#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub use crate::cache::CacheStats;
#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub use cached::CachedStore;
pub use connect::{ConnectError, connect};
#[cfg(feature = "cache")]
pub(crate) use digest_map::DigestHash;
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use file::{FileError, FileErrorKind, FileStatus, FileStore};
pub use fixed::FixedStore;
pub(crate) use invalidation::Announced;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use invalidation::PostgresInvalidations;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use invalidation::RedisInvalidations;
pub use invalidation::{Invalidations, LocalInvalidations, Subscription};
pub use list::{ListQuery, Page};
pub use memory::MemoryStore;
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use mysql::MySqlStore;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::RedisStore;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqliteStore;

/// Finds keys by digest: all that a layer needs.
///
/// # Contract
///
/// - "Not found" (`Ok(None)`, [`Lookup::NotFound`]) means that the store knows that there is no
///   such key: the caller is refused. A store that could not find out returns an error, and the
///   caller is told to try again.
/// - Deleted keys are not found. Revoked, disabled and expired ones are: the layer says why they
///   are refused.
/// - The found record's digest must equal the one asked for. The layer checks.
/// - `find` may be dropped at any await point, when its caller goes away or its time is up.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tower_api_key::{
///     KeyDigest, KeyRecord, async_trait,
///     store::{KeyStore, StoreError},
/// };
///
/// struct Directory { /* a client */ }
///
/// #[async_trait]
/// impl KeyStore for Directory {
///     async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
///         // Ask for the row by `digest.as_bytes()`; turn trouble into `StoreError::unavailable`.
///         let _ = digest;
///         Ok(None)
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key store",
    note = "implement `KeyStore` for it, or use one of the stores in `tower_api_key::store`"
)]
pub trait KeyStore: Send + Sync + 'static {
    /// An answer that needs no waiting, or `None` when [`find`](Self::find) must be asked.
    ///
    /// Called on every request, on the thread that serves it: it must not block, and need not
    /// be implemented by stores that always have to wait.
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        let _ = digest;
        None
    }

    /// The key with this digest.
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError>;
}

/// An answer without waiting: a store's about a key, or a resolver's about its
/// [owner](crate::OwnerResolver).
#[derive(Clone, Debug)]
pub enum Lookup<T = Arc<KeyRecord>> {
    /// The key, or the active owner.
    Found(T),
    /// There is no such key, or owner.
    NotFound,
}

impl<T> From<Option<T>> for Lookup<T> {
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::NotFound, Self::Found)
    }
}

/// Keeps keys: what a [`KeyManager`](crate::KeyManager) needs.
///
/// # Contract
///
/// - The caller makes ids and digests. Both are unique over all rows, deleted ones included.
/// - Every method is atomic: it happens wholly or not at all, and once it returned `Ok`, a crash
///   of this process does not undo it.
/// - An error means that it is unknown whether the change happened. Only a
///   [`Duplicate`](StoreErrorKind::Duplicate) says that it did not.
/// - Written records read back equal.
/// - A change is visible to `find` through the same store as soon as it returned.
#[async_trait]
pub trait KeyRepository: KeyStore {
    /// Makes all of these changes, or none: the new keys, then the updates, then the balances, then
    /// the events.
    ///
    /// A new key whose id, digest or [`request`](crate::KeyDetails::request) exists already is a
    /// [`Duplicate`](StoreErrorKind::Duplicate). An update whose key has another revision than
    /// expected, or does not exist, makes everything [`Stale`](Update::Stale). Of several
    /// concurrent updates that expect the same revision, exactly one is [`Done`](Update::Done). Of
    /// several reasons not to write, a duplicate among the new keys comes first.
    ///
    /// A balance of a line that has another revision than expected, or none where one is expected,
    /// or one where none is, makes everything [`Stale`](Update::Stale) as well.
    ///
    /// An update writes every field of its record but `id`, `created_at`, `last_used_at`,
    /// `last_used_from` and `use_count`; the new revision is the record's, which must be greater than the expected one.
    ///
    /// Events are kept for [`events`](Self::events). A store without an audit log passes them
    /// over.
    async fn apply(&self, changes: &Changes) -> Result<Update, StoreError>;

    /// [Applies](Self::apply) one new key.
    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let changes = Changes { inserts: vec![record.clone()], ..Changes::default() };
        self.apply(&changes).await.map(drop)
    }

    /// [Applies](Self::apply) one update.
    async fn update(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        let update = KeyUpdate { record: record.clone(), expected };
        self.apply(&Changes { updates: vec![update], ..Changes::default() }).await
    }

    /// The key with this id. Deleted keys are found here, with `deleted_at` set.
    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError>;

    /// A page of the keys that are not deleted, the youngest (greatest) id first.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Adds to the use counts of keys, and moves `last_used_at` forward, never back. With it moves
    /// `last_used_from`, where the use says it. Ids that do not exist are passed over. Leaves the
    /// revision as it is.
    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError>;

    /// Removes the rows of keys that were revoked or deleted before this moment, of this owner or
    /// of all, and returns how many there were. The balance of a line goes with its last key; its
    /// usage stays.
    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError>;

    /// A page of the audit log, the latest event first. A store that keeps none is
    /// [`Unsupported`](StoreErrorKind::Unsupported).
    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        let _ = query;
        Err(StoreError::new(StoreErrorKind::Unsupported))
    }

    /// The balances of those of these lines of keys that have one, in any order.
    async fn balances(&self, lines: &[KeyId]) -> Result<Vec<(KeyId, Balance)>, StoreError> {
        let _ = lines;
        Err(StoreError::new(StoreErrorKind::Unsupported))
    }

    /// Adds to the counts of these lines, hours and outcomes. The owner of a line is the one that
    /// was first written.
    async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        let _ = usage;
        Err(StoreError::new(StoreErrorKind::Unsupported))
    }

    /// The counts that were asked for, added up for each hour and outcome, in the order of hours
    /// and, within one, of the names of outcomes.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
        let _ = query;
        Err(StoreError::new(StoreErrorKind::Unsupported))
    }

    /// The lines of keys, of those that were asked for, that let in the most requests, the busiest
    /// first and, of those that are as busy, the smallest id. Lines that let in none are not among
    /// them.
    async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineUsage>, StoreError> {
        let _ = (query, limit);
        Err(StoreError::new(StoreErrorKind::Unsupported))
    }

    /// Removes the counts of hours that began before this moment, and returns how many there were.
    async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        let _ = before;
        Err(StoreError::new(StoreErrorKind::Unsupported))
    }

    /// Lets go of connections in good order, before the program ends. Afterwards every method of
    /// this store and its clones may be an error. Does nothing for a store that has none.
    async fn close(&self) {}
}

/// What a repository is to write, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Keys to add.
    pub inserts: Vec<KeyRecord>,
    /// Keys to replace.
    pub updates: Vec<KeyUpdate>,
    /// Balances of credits to add or replace, each of another line.
    pub balances: Vec<BalanceUpdate>,
    /// What to write into the audit log.
    pub events: Vec<KeyEvent>,
}

/// A key as it is to be, if it still has the revision it was read with.
#[derive(Clone, Debug)]
pub struct KeyUpdate {
    /// The key. Its revision is greater than the expected one.
    pub record: KeyRecord,
    /// The revision that it must have in the store.
    pub expected: u64,
}

/// A balance as it is to be, if it still has the revision it was read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceUpdate {
    /// The line of keys that it belongs to, by its first key.
    pub line: KeyId,
    /// The balance. Its revision is greater than the expected one.
    pub balance: Balance,
    /// The revision that it must have in the store; `None` where there must be none yet.
    pub expected: Option<u64>,
}

/// What became of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// They were written.
    Done,
    /// A key has another revision, or does not exist: nothing was written.
    Stale,
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

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        (**self).find_now(digest)
    }

    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        (**self).find(digest).await
    }
}

#[async_trait]
impl<S: KeyRepository + ?Sized> KeyRepository for Arc<S> {
    async fn apply(&self, changes: &Changes) -> Result<Update, StoreError> {
        (**self).apply(changes).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        (**self).get(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        (**self).list(query).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        (**self).record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp, owner: Option<&OwnerId>) -> Result<u64, StoreError> {
        (**self).purge(before, owner).await
    }

    async fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        (**self).events(query).await
    }

    async fn balances(&self, lines: &[KeyId]) -> Result<Vec<(KeyId, Balance)>, StoreError> {
        (**self).balances(lines).await
    }

    async fn record_usage(&self, usage: &[HourlyUsage]) -> Result<(), StoreError> {
        (**self).record_usage(usage).await
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageCount>, StoreError> {
        (**self).usage(query).await
    }

    async fn busiest(
        &self,
        query: &UsageQuery,
        limit: usize,
    ) -> Result<Vec<LineUsage>, StoreError> {
        (**self).busiest(query, limit).await
    }

    async fn forget_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        (**self).forget_usage(before).await
    }

    async fn close(&self) {
        (**self).close().await;
    }
}
