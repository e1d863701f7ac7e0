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
//! A repository says what it can do beyond keeping keys, with a method for each ability that is
//! `None` where it lacks it. What needs one refuses a store without it when it is built, with a
//! [`ConfigError`](crate::ConfigError), or else answers
//! [`Unsupported`](StoreErrorKind::Unsupported).
//!
//! | ability | for | memory, SQLite, PostgreSQL, MySQL | Redis |
//! |---|---|---|---|
//! | [`audit_log`](KeyRepository::audit_log) | [`KeyManager::events`](crate::KeyManager::events) | yes | – |
//! | [`balance_store`](KeyRepository::balance_store) | [`Credits`](crate::Credits), and keys with credits | yes | yes |
//! | [`request_log`](KeyRepository::request_log) | acts that are repeated with one request id | yes | yes |
//! | [`usage_log`](KeyRepository::usage_log) | [`UsageRecorder`](crate::UsageRecorder), and reading usage | yes | yes |
//! | [`selected_changes`](KeyRepository::selected_changes) | [sets of keys](crate::manage::KeySet) | yes | yes |
//! | [`watermarks`](KeyRepository::watermarks) | [`KeyManager::revoke_issued_before`](crate::KeyManager::revoke_issued_before) in one write | yes | yes |
//! | [`bounds_owners`](KeyRepository::bounds_owners) | keys that owners create within bounds | yes | yes |
//!
//! Every store but [`FileStore`] and [`FixedStore`] lists its digests for a cache
//! ([`known_digests`](KeyStore::known_digests)). A [`CachedStore`] can do what the store inside it can.
//!
//! [`connect`] opens those that a manager can write to, by URL.

mod balances;
#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod batcher;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
mod batches;
mod bus;
#[cfg(feature = "cache")]
pub(crate) mod cache;
#[cfg(feature = "cache")]
mod cached;
mod capabilities;
mod changed_digest;
mod connect;
#[cfg(feature = "file")]
pub(crate) mod file;
mod fixed;
mod fronts;
mod hint;
mod identity;
mod key_watch;
#[cfg(any(feature = "cache", feature = "mysql", feature = "postgres"))]
mod lag;
mod list;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
mod owner_bound;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod repository;
mod requests;
mod selection;
mod shared_record;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
mod silence;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod usage_sums;
mod watermark;
mod write_back;

/// The servers that the unit tests of statements and scripts run against.
#[cfg(all(test, any(feature = "mysql", feature = "postgres", feature = "redis")))]
#[path = "../../tests/support/servers.rs"]
pub(crate) mod servers;

use std::sync::Arc;

pub use self::balances::{BalanceUpdate, Balances};
pub(crate) use self::bus::Announced;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::bus::PostgresInvalidations;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::bus::RedisInvalidations;
pub use self::bus::{
    AnnouncedKey, AnnouncedState, Announcement, Invalidations, LocalInvalidations, Subscription,
};
#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub use self::cache::CacheStats;
#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub use self::cached::{CachedStore, CachedStoreBuilder};
pub use self::capabilities::{
    AuditLog, BalanceStore, DigestCursor, KnownDigests, RequestLog, SelectedChanges, UsageLog,
    Watermarks,
};
pub use self::connect::{ConnectError, StoreKind, connect, connect_bus};
#[cfg(feature = "file")]
#[cfg_attr(docsrs, doc(cfg(feature = "file")))]
pub use self::file::{FileError, FileErrorKind, FileStatus, FileStore};
pub use self::fixed::FixedStore;
pub use self::hint::LookupHint;
pub use self::identity::StoreId;
pub use self::key_watch::KeyWatch;
pub use self::list::{KeyPage, KeyQuery};
pub use self::memory::MemoryStore;
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use self::mysql::{MySqlStore, MySqlStoreBuilder};
pub use self::owner_bound::OwnerBound;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::postgres::{PostgresStore, PostgresStoreBuilder};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::RedisStore;
pub use self::repository::{ApplyOutcome, Changes, KeyRepository, KeyUpdate, KeyUse};
pub use self::requests::RequestRecord;
pub use self::selection::{Plan, Selection};
pub use self::shared_record::SharedRecord;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use self::sqlite::SqliteStore;
pub use self::watermark::{Watermark, WatermarkRecord};
pub(crate) use self::write_back::WriteBack;
pub use crate::error::{BackEnd, StoreError, StoreErrorKind};
use crate::runtime::async_methods;
/// The types that the signatures of the traits in this module name.
#[doc(no_inline)]
pub use crate::{
    clock::Timestamp,
    key::{
        EventPage, EventQuery, KeyDigest, KeyId, KeyRecord, OwnerId,
        usage::{HourlyUsage, LineageUsage, UsageCount, UsageQuery},
    },
};

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
/// # Implementing it
///
/// With `#[async_trait]`, of the crate `async-trait` or of feature `async-trait`, as all traits of this
/// crate that are awaited. Or with the futures that it would write: boxed by hand, and with the
/// lifetimes that are shown here.
///
/// ```
/// use async_trait::async_trait;
/// use std::sync::Arc;
/// use tower_api_key::{
///     key::{KeyDigest, KeyRecord},
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

    /// The same, for a layer: a store that keeps its answers for each thread gives one whose count is
    /// the thread's own.
    ///
    /// The default is for all others. A store around another one should pass it on.
    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        Some(match self.find_now(digest)? {
            Lookup::Found(record) => Lookup::Found(record.into()),
            Lookup::NotFound => Lookup::NotFound,
        })
    }

    async_methods! {
        /// The key with this digest.
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError>;

        /// The same, with what is known of the request, for a store that must choose which lookups to
        /// make first. A layer calls this one.
        ///
        /// The default passes the hint over. A store around another one should pass it on.
        async fn find_for(
            &self,
            digest: &KeyDigest,
            hint: LookupHint,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            let _ = hint;
            self.find(digest).await
        }

        /// The same, from the authority: never from a replica, and never from a cache.
        ///
        /// The default is for stores that are the authority. A store that reads from replicas must override
        /// it. A store around another one must pass it on, or its answers may be as old as those of the cache
        /// inside.
        async fn find_fresh(
            &self,
            digest: &KeyDigest,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            self.find(digest).await
        }

        /// The keys with these digests: one answer for each, in the same order. A key that cannot be read
        /// is the error of its own digest alone.
        ///
        /// The default asks for one after the other. A store that can read many in one round trip does so
        /// here, and says it with [`max_batch`](Self::max_batch).
        async fn find_many(
            &self,
            digests: &[KeyDigest],
        ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
            let mut answers = Vec::with_capacity(digests.len());
            for digest in digests {
                answers.push(self.find(digest).await);
            }
            answers
        }
    }

    async_methods! {
        /// The key with this id, from the authority: also one that was deleted, and is kept for audit. For
        /// streams that [end with their key](crate::AuthenticatedKey::revoked), whose digest may be renewed.
        ///
        /// The default, an [`Unsupported`](StoreErrorKind::Unsupported), has [`find_fresh`](Self::find_fresh)
        /// asked instead. A store around another one should pass it on.
        async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            let _ = id;
            Err(StoreError::unsupported())
        }
    }

    /// A watch on the key that has this digest now, for streams that
    /// [end with it](crate::AuthenticatedKey::revoked).
    ///
    /// The default has the key looked up every 30 seconds. A store around another one should pass it on.
    fn watch_key(&self, digest: &KeyDigest) -> KeyWatch {
        let _ = digest;
        KeyWatch::default()
    }

    /// For a cache, how many digests it should ask for at once, with
    /// [`find_many`](Self::find_many), which gets no hint about the requests. 1, the default: each by
    /// itself, with [`find_for`](Self::find_for).
    fn max_batch(&self) -> usize {
        1
    }

    /// Whether the key may exist, as far as that can be told without waiting; `false`: most probably
    /// it does not. A layer with a [throttle](crate::auth::FailureThrottle) has no more than a few
    /// lookups of keys that most probably do not exist under way for a client at a time. No key is
    /// refused for it.
    ///
    /// The default, `true`, is for stores that cannot tell. A store around another one should pass
    /// this on.
    fn may_exist(&self, digest: &KeyDigest) -> bool {
        let _ = digest;
        true
    }

    async_methods! {
        /// The identity of the store, which tells it from others on the same bus: one that it got when it
        /// was made, whichever program asks. `None`, the default: it has none. Then a cache in front of it
        /// hears what is announced of any store.
        async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
            Ok(None)
        }
    }

    /// Whether [`find`](Self::find), [`find_for`](Self::find_for) or [`find_many`](Self::find_many) may
    /// answer from a replica, which may be behind the authority. A cache then asks the authority, by
    /// [`find_fresh`](Self::find_fresh), about keys of which it has heard a change, about keys that the
    /// replica does not find, and about all keys as long as it has not listened to a
    /// [bus](Invalidations) for a [while](CachedStoreBuilder::with_lag_bound).
    ///
    /// The default, `false`, is for stores that are the authority. A store around another one must pass
    /// this on.
    ///
    /// A store of your own that reads from replicas answers `true`, and has
    /// [`find_fresh`](Self::find_fresh) ask the primary. It must ask no replica that is further behind than
    /// the cache's [bound](CachedStoreBuilder::with_lag_bound), nor one of which it cannot tell.
    fn may_lag(&self) -> bool {
        false
    }

    /// For a cache, a watch on changes that other programs make to the store. `None`, the default:
    /// the store cannot notice them by itself.
    fn watch(&self) -> Option<Box<dyn StoreWatch>> {
        None
    }

    /// For a cache, the digests of all keys: those that may exist go before others when there are
    /// more lookups than the store should be asked for. `None`, the default: the store cannot list
    /// them.
    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        None
    }
}

/// An answer without waiting: a store's about a key, or a resolver's about its
/// [owner](crate::owner::OwnerResolver).
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

/// Notices that other programs change a store, without being told what.
///
/// What a cache holds is looked up anew after each change, so a watch must not take a program's own
/// writes for changes.
pub trait StoreWatch: Send + 'static {
    async_methods! {
        /// Waits until another program may have changed keys. The first call returns as soon as every
        /// later change will be noticed. May be dropped at any await point.
        async fn changed(&mut self) -> Result<(), StoreError>;
    }
}

impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn watch(&self) -> Option<Box<dyn StoreWatch>> {
        (**self).watch()
    }

    fn known_digests(&self) -> Option<&dyn KnownDigests> {
        (**self).known_digests()
    }

    fn may_exist(&self, digest: &KeyDigest) -> bool {
        (**self).may_exist(digest)
    }

    fn may_lag(&self) -> bool {
        (**self).may_lag()
    }

    fn find_now(&self, digest: &KeyDigest) -> Option<Lookup> {
        (**self).find_now(digest)
    }

    fn find_shared(&self, digest: &KeyDigest) -> Option<Lookup<SharedRecord>> {
        (**self).find_shared(digest)
    }

    async_methods! {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            (**self).find(digest).await
        }

        async fn find_for(
            &self,
            digest: &KeyDigest,
            hint: LookupHint,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            (**self).find_for(digest, hint).await
        }

        async fn find_fresh(
            &self,
            digest: &KeyDigest,
        ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            (**self).find_fresh(digest).await
        }

        async fn find_many(
            &self,
            digests: &[KeyDigest],
        ) -> Vec<Result<Option<Arc<KeyRecord>>, StoreError>> {
            (**self).find_many(digests).await
        }
    }

    async_methods! {
        async fn find_by_id(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
            (**self).find_by_id(id).await
        }
    }

    fn watch_key(&self, digest: &KeyDigest) -> KeyWatch {
        (**self).watch_key(digest)
    }

    fn max_batch(&self) -> usize {
        (**self).max_batch()
    }

    async_methods! {
        async fn identity(&self) -> Result<Option<StoreId>, StoreError> {
            (**self).identity().await
        }
    }
}
