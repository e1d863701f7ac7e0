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
mod digest_map;
mod error;
#[cfg(feature = "file")]
mod file;
mod fixed;
mod invalidation;
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

/// What the unit tests of statements run against.
#[cfg(all(test, any(feature = "mysql", feature = "postgres")))]
#[path = "../../tests/support/servers.rs"]
mod servers;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{KeyDigest, KeyId, KeyRecord, OwnerId, Timestamp};

#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub use cached::{CacheStats, CachedStore};
pub use connect::{ConnectError, connect};
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

/// A store's answer without waiting.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The key.
    Found(Arc<KeyRecord>),
    /// There is no such key.
    NotFound,
}

impl From<Option<Arc<KeyRecord>>> for Lookup {
    fn from(record: Option<Arc<KeyRecord>>) -> Self {
        record.map_or(Self::NotFound, Self::Found)
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
    /// Adds a key. An id or digest that exists already is a
    /// [`Duplicate`](StoreErrorKind::Duplicate).
    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError>;

    /// The key with this id. Deleted keys are found here, with `deleted_at` set.
    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError>;

    /// A page of the keys that are not deleted, the youngest (greatest) id first.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Replaces the key with `record.id`, if its revision is `expected`.
    ///
    /// Writes every field of `record` but `id`, `created_at`, `last_used_at` and `use_count`; the
    /// new revision is `record.revision`, which must be greater than `expected`. Of several
    /// concurrent updates that expect the same revision, exactly one is [`Update::Done`].
    async fn update(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError>;

    /// Adds to the use counts of keys, and moves `last_used_at` forward, never back. Ids that do
    /// not exist are passed over. Leaves the revision as it is.
    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError>;

    /// Removes the rows of keys that were revoked or deleted before this moment, and returns how
    /// many there were.
    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Lets go of connections in good order, before the program ends. Afterwards every method of
    /// this store and its clones may be an error. Does nothing for a store that has none.
    async fn close(&self) {}
}

/// Which keys to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListQuery {
    /// Only keys of this owner.
    pub owner: Option<OwnerId>,
    /// Only keys with ids smaller than this one: those that come after it in the list.
    pub after: Option<KeyId>,
    /// At most this many keys.
    pub limit: usize,
}

impl ListQuery {
    /// The first `limit` keys of all owners.
    pub const fn new(limit: usize) -> Self {
        Self { owner: None, after: None, limit }
    }

    /// Only keys of this owner.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<OwnerId>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Goes on after this key: [`Page::next`] of the page before.
    #[must_use]
    pub const fn after(mut self, id: KeyId) -> Self {
        self.after = Some(id);
        self
    }
}

/// Some keys of a list.
///
/// Pages are counted by key and not by number: keys that are added or removed meanwhile make no
/// other key appear twice or not at all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The keys.
    pub items: Vec<Arc<KeyRecord>>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<KeyId>,
}

impl Page {
    /// A page of `limit` keys, from `limit + 1` records that were read: the one too many says
    /// that there is another page.
    pub fn from_one_more(mut items: Vec<Arc<KeyRecord>>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|record| record.id);
        Self { items, next }
    }
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// It was written.
    Done,
    /// The key has another revision, or does not exist: nothing was written.
    Stale,
}

/// How often a key was used since it was last recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub id: KeyId,
    /// Requests that it let in.
    pub count: u64,
    /// The time of the last of them.
    pub last_used_at: Timestamp,
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
    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        (**self).insert(record).await
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        (**self).get(id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        (**self).list(query).await
    }

    async fn update(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        (**self).update(record, expected).await
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        (**self).record_uses(uses).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, StoreError> {
        (**self).purge(before).await
    }

    async fn close(&self) {
        (**self).close().await;
    }
}
