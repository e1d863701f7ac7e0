//! [`PostgresStore`]: keys in a PostgreSQL database.

mod builder;
mod dialect;
mod schema;
mod statements;

use sqlx::{PgPool, Postgres};

pub use self::builder::PostgresStoreBuilder;
use super::{
    connect::ConnectError,
    sql::{DEFAULT_TABLE, SqlStore, repository},
};
use crate::error::{ConfigError, StoreError};

/// Keys in a PostgreSQL database, version 13 or later: one that the application has already, or
/// one of their own. Any number of nodes can share it.
///
/// A caller waits two seconds for a connection and ten for an answer, or a minute for sums of usage;
/// what takes longer is a [`Timeout`](super::StoreErrorKind::Timeout). A server that was restarted, or that fell silent
/// and was replaced, is used again as soon as it can be.
///
/// A standby, whose keys may be older than the primary's, is refused: when the store connects, and
/// for every connection made later. Standbys are given as [replicas](PostgresStoreBuilder::with_replica).
///
/// Connections must be the server's, or a pooler's by session. A pooler that gives them out by
/// transaction, such as PgBouncer in its `transaction` mode, loses prepared statements, and the
/// error says so; PgBouncer 1.21 or later keeps them with `max_prepared_statements`. Notifications to
/// caches are lost all the same: give [`PostgresInvalidations`](super::PostgresInvalidations) the
/// server itself, or a pooler by session.
///
/// Clones share the same connections.
///
/// ```no_run
/// use tower_api_key::{KeyManager, NewKey, store::PostgresStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://shop@db.internal/shop").await?;
/// let issued = KeyManager::new(store.clone()).create(NewKey::named("CI of the shop")).await?;
/// # Ok(())
/// # }
/// ```
///
/// # TLS
///
/// Is the application's choice: with `sqlx = { version = "0.9", default-features = false, features
/// = ["tls-rustls"] }` among its own dependencies, `?sslmode=verify-full` works in the URL.
///
/// # Looking at the table
///
/// Times are milliseconds since the Unix epoch. This shows them as people read them:
///
/// ```sql
#[doc = include_str!("readable.sql")]
/// ```
#[derive(Clone)]
pub struct PostgresStore(SqlStore<Postgres>);

impl PostgresStore {
    /// Connects to the database of a URL like `postgres://user:password@host/database`, and
    /// [migrates](Self::migrate) it.
    ///
    /// What the URL leaves out comes from the environment, from `PGHOST`, `PGPASSWORD` and their
    /// kind. At most ten connections are open at a time.
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
    /// use tower_api_key::store::PostgresStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = PostgresStore::builder("postgres://shop@db.internal/shop")
    ///     .with_replica("postgres://shop@replica-1.internal/shop")
    ///     .with_replica("postgres://shop@replica-2.internal/shop")
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
    pub fn builder(url: &str) -> PostgresStoreBuilder {
        PostgresStoreBuilder::new(url)
    }

    /// Keeps keys in a database that the application has connected to, beside its own tables.
    ///
    /// The pool is used as it is: how many connections it has and how long a caller waits for one
    /// are the application's choice. Call [`migrate`](Self::migrate) before the first use. The
    /// tables are made in the first schema of the connections' `search_path`.
    ///
    /// ```no_run
    /// # use tower_api_key::store::PostgresStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = sqlx::PgPool::connect("postgres://localhost/shop").await?;
    /// let store = PostgresStore::from_pool(pool).with_table("partner_keys")?;
    /// store.migrate().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pool(pool: PgPool) -> Self {
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
    /// nothing, and several nodes may do it at once. An error has changed nothing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.0.migrate().await
    }

    /// Waits for what is being read and written, and closes the connections. Afterwards, every
    /// method of this store and its clones is an error.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

repository!(PostgresStore);
