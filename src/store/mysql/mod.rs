//! [`MySqlStore`]: keys in a MySQL database.

mod error;
mod schema;
mod statements;

use std::time::Duration;

use sqlx::{MySql, MySqlConnection, MySqlPool, mysql::MySqlQueryResult, pool::PoolConnection};

use self::error::{collided, store_error, write_error};
use super::{
    StoreError,
    sql::{
        Dialect, SqlStore, Statements, remote,
        remote::{ANSWER, Server},
        repository,
    },
};
use crate::{ConfigError, OwnerId};

/// Keys in a MySQL (8.0 or later) or MariaDB (10.6 or later) database: one that the application has
/// already, or one of their own. Any number of nodes can share it.
///
/// A caller waits two seconds for a connection and ten for an answer; what takes longer is a
/// [`Timeout`](super::StoreErrorKind::Timeout). A server that was restarted, or that fell silent
/// and was replaced, is used again as soon as it can be. A [`purge`](KeyRepository::purge) reads
/// the whole table and holds up writers meanwhile, but no lookups.
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
        SqlStore::connect(url).await.map(Self)
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
    /// [`from_pool`](Self::from_pool) there is none but this.
    pub fn with_table(self, name: &str) -> Result<Self, ConfigError> {
        self.0.with_table(name).map(Self)
    }

    /// Makes the tables, or brings those of an older version up to date.
    ///
    /// They are the key table and two named after it: `_events` is the audit log, and in `_schema`
    /// their version is kept. No other table is touched. Doing it again changes nothing, and several nodes may do it at
    /// once. What was interrupted is finished the next time.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.0.migrate().await
    }

    /// Waits for what is being read and written, and closes the connections. Afterwards, every
    /// method of this store and its clones is an error.
    pub async fn close(&self) {
        self.0.writer.close().await;
    }
}

repository!(MySqlStore);

impl Dialect for MySql {
    const BEGIN: &'static str = "BEGIN";

    const ANSWER: Option<Duration> = Some(ANSWER);

    fn statements(table: &str) -> Statements {
        statements::statements(table)
    }

    async fn migrate(connection: &mut MySqlConnection, table: &str) -> Result<(), StoreError> {
        schema::migrate(connection, table).await
    }

    fn affected(done: &MySqlQueryResult) -> u64 {
        done.rows_affected()
    }

    fn store_error(error: sqlx::Error) -> StoreError {
        store_error(error)
    }

    fn write_error(error: sqlx::Error, table: &str) -> StoreError {
        write_error(error, table)
    }

    fn collided(error: &sqlx::Error) -> bool {
        collided(error)
    }

    /// A server that is not in strict mode would cut off the rest, and give the key to somebody
    /// else.
    fn check(owner: Option<&OwnerId>) -> Result<(), StoreError> {
        let length = owner.map_or(0, |owner| owner.as_str().chars().count());
        if length <= 255 {
            return Ok(());
        }
        Err(StoreError::unavailable(format!(
            "the owner has {length} characters, and 255 have room"
        )))
    }

    fn give_back(connection: PoolConnection<Self>, is_open: bool) {
        remote::give_back(connection, is_open);
    }
}

impl Server for MySql {
    /// A caller who gives up leaves a statement behind that waits for its lock. A server that ends it
    /// keeps connections from piling up behind somebody's `ALTER TABLE`.
    const SESSION: &'static str = "SET innodb_lock_wait_timeout = 5, lock_wait_timeout = 5";
}
