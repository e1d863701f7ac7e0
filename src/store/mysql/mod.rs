//! [`MySqlStore`]: keys in a MySQL database.

mod builder;
mod dialect;
mod schema;
mod statements;

use sqlx::{MySql, MySqlPool};

pub use self::builder::MySqlStoreBuilder;
use super::{
    connect::ConnectError,
    sql::{DEFAULT_TABLE, SqlStore, repository},
};
use crate::error::{ConfigError, StoreError};

/// Keys in a MySQL (8.0 or later) or MariaDB (10.6 or later) database: one that the application has
/// already, or one of their own. Any number of nodes can share it.
///
/// A caller waits two seconds for a connection and ten for an answer, or a minute for sums of usage;
/// what takes longer is a [`Timeout`](super::StoreErrorKind::Timeout). A server that was restarted, or that fell silent
/// and was replaced, is used again as soon as it can be. A [`purge`](super::KeyRepository::purge) reads
/// the whole table and holds up writers meanwhile, but no lookups.
///
/// A server with `read_only` set, as replicas have it, is refused: when the store connects, for every
/// connection made later, and once a second for one of those in use. Replicas are given
/// [as such](MySqlStoreBuilder::with_replica). What is written and read is
/// `utf8mb4`, whatever the server's or the database's default.
///
/// An owner has at most 255 characters here, as many as [`KeyManager`](crate::KeyManager) takes.
///
/// MySQL has nothing with which nodes could tell each other of a change. Behind a cache, pair this
/// store with a bus of something else, like Redis, or rely on the cache's time to live.
///
/// Clones share the same connections.
///
/// ```no_run
/// use tower_api_key::{KeyManager, NewKey, store::MySqlStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MySqlStore::connect("mysql://shop@db.internal/shop").await?;
/// let issued = KeyManager::new(store.clone()).create(NewKey::named("CI of the shop")).await?;
/// # Ok(())
/// # }
/// ```
///
/// # TLS
///
/// Is the application's choice: with `sqlx = { version = "0.9", default-features = false, features
/// = ["tls-rustls"] }` among its own dependencies, `?ssl-mode=VERIFY_IDENTITY` works in the URL.
/// The passwords of MySQL 8 (`caching_sha2_password`) need either that, or a Unix socket, or sqlx's
/// feature `mysql-rsa`.
///
/// # Looking at the table
///
/// Times are milliseconds since the Unix epoch. This shows them as people read them:
///
/// ```sql
#[doc = include_str!("readable.sql")]
/// ```
#[derive(Clone)]
pub struct MySqlStore(SqlStore<MySql>);

impl MySqlStore {
    /// Connects to the database of a URL like `mysql://user:password@host/database`, and
    /// [migrates](Self::migrate) it.
    ///
    /// `mariadb://` is the same. At most ten connections are open at a time.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        SqlStore::connect(url, DEFAULT_TABLE).await.map(Self)
    }

    /// Like [`connect`](Self::connect), with the keys in the table `name` and no table `api_keys`.
    pub async fn connect_to_table(url: &str, name: &str) -> Result<Self, ConnectError> {
        Self::builder(url).with_table(name)?.connect().await
    }

    /// Begins a store with the primary of this URL, which may have replicas.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower_api_key::store::MySqlStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MySqlStore::builder("mysql://shop@db.internal/shop")
    ///     .with_replica("mysql://shop@replica-1.internal/shop")
    ///     .with_replica("mysql://shop@replica-2.internal/shop")
    ///     .with_lag_bound(Duration::from_secs(30))
    ///     .connect()
    ///     .await?;
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Replicas are asked by a [`CachedStore`](super::CachedStore) that
    /// [hears of changes](super::CachedStoreBuilder::with_invalidations), and by nothing else.
    pub fn builder(url: &str) -> MySqlStoreBuilder {
        MySqlStoreBuilder::new(url)
    }

    /// Keeps keys in a database that the application has connected to, beside its own tables.
    ///
    /// The pool is used as it is: how many connections it has and how long a caller waits for one
    /// are the application's choice. Call [`migrate`](Self::migrate) before the first use.
    ///
    /// ```no_run
    /// # use tower_api_key::store::MySqlStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = sqlx::MySqlPool::connect("mysql://localhost/shop").await?;
    /// let store = MySqlStore::from_pool(pool).with_table("partner_keys")?;
    /// store.migrate().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pool(pool: MySqlPool) -> Self {
        Self(SqlStore::new(pool))
    }

    /// Keeps the keys in the table `name` instead of `api_keys`. Call [`migrate`](Self::migrate)
    /// afterwards.
    ///
    /// [`connect`](Self::connect) has made a table `api_keys` by then; with
    /// [`from_pool`](Self::from_pool) or [`connect_to_table`](Self::connect_to_table) there is none
    /// but this.
    pub fn with_table(self, name: &str) -> Result<Self, ConfigError> {
        self.0.with_table(name).map(Self)
    }

    /// Makes the tables, or brings those of an older version up to date.
    ///
    /// They are the key table and six named after it: `_events` is the audit log, `_credits` has
    /// the balances of keys that spend credits, `_usage` counts requests by the hour, `_requests` has
    /// what was done by requests that act once, `_heartbeat` the beat by which replicas show how far behind
    /// they are, and in `_schema` their version is kept. No other table is touched. Doing it again changes
    /// nothing, and several nodes may do it at once. What was interrupted is finished the next time.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.0.migrate().await
    }

    /// Waits for what is being read and written, and closes the connections. Afterwards, every
    /// method of this store and its clones is an error.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

repository!(MySqlStore);
