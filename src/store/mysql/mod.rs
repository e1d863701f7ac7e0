//! [`MySqlStore`]: keys in a MySQL database.

mod error;
mod schema;
mod statements;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, Connection, MySql, MySqlPool,
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlRow},
    query::Query,
};

use self::{
    error::{collided, store_error, write_error},
    statements::statements,
};
use super::{
    Changes, KeyRepository, KeyStore, KeyUpdate, KeyUse, ListQuery, Page, StoreError, Update,
    sql::{
        DEFAULT_TABLE, Statements,
        remote::{self, ANSWER, Loan, PATIENCE, answer, first_of_page, within},
        row, table_name,
    },
};
use crate::{ConfigError, KeyDigest, KeyId, KeyRecord, OwnerId, Timestamp};

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
pub struct MySqlStore {
    pool: MySqlPool,
    statements: Arc<Statements>,
}

/// How connections of our own differ from what the server says.
///
/// A caller who gives up leaves a statement behind that waits for its lock. A server that ends it
/// keeps connections from piling up behind somebody's `ALTER TABLE`.
const SESSION: &str = "SET innodb_lock_wait_timeout = 5, lock_wait_timeout = 5";

impl MySqlStore {
    /// Connects to the database of a URL like `mysql://user:password@host/database`, and
    /// [migrates](Self::migrate) it.
    ///
    /// `mariadb://` is the same. At most ten connections are open at a time.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options: MySqlConnectOptions = remote::options(url).map_err(store_error)?;
        let options = options.disable_statement_logging();
        // A pool would try for as long as it may, and then not say what kept it from connecting.
        let mut connection = within(PATIENCE, options.connect()).await.map_err(store_error)?;
        schema::migrate(&mut connection, DEFAULT_TABLE).await?;
        // The connection has done its work, whatever becomes of the farewell.
        let _ = within(PATIENCE, connection.close()).await;
        let pool = remote::pool::<MySql>().after_connect(|connection, _| {
            Box::pin(async { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
        });
        Ok(Self::from_pool(pool.connect_lazy_with(options)))
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
        Self { pool, statements: Arc::new(statements(DEFAULT_TABLE)) }
    }

    /// Keeps the keys in the table `name` instead of `api_keys`. Call [`migrate`](Self::migrate)
    /// afterwards.
    ///
    /// [`connect`](Self::connect) has made a table `api_keys` by then; with
    /// [`from_pool`](Self::from_pool) there is none but this.
    pub fn with_table(mut self, name: &str) -> Result<Self, ConfigError> {
        self.statements = Arc::new(statements(table_name(name)?));
        Ok(self)
    }

    /// Makes the tables, or brings those of an older version up to date.
    ///
    /// They are the key table and one named after it with `_schema`, where their version is kept;
    /// no other table is touched. Doing it again changes nothing, and several nodes may do it at
    /// once. What was interrupted is finished the next time.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // Not one that goes back: it holds the migration's lock until it is closed.
        let connection = self.pool.acquire().await.map_err(store_error)?;
        let mut connection = connection.detach();
        let result = schema::migrate(&mut connection, &self.statements.table).await;
        // An error here means that the connection is gone, and the lock with it.
        let _ = within(PATIENCE, connection.close()).await;
        result
    }

    /// Waits for what is being read and written, and closes the connections. Afterwards, every
    /// method of this store and its clones is an error.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn connection(&self) -> Result<Loan<MySql>, StoreError> {
        Loan::of(&self.pool).await.map_err(store_error)
    }

    async fn fetch_optional(
        &self,
        query: Query<'_, MySql, MySqlArguments>,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let mut connection = self.connection().await?;
        let row = answer(query.fetch_optional(&mut *connection)).await.map_err(store_error)?;
        row.as_ref().map(read).transpose()
    }

    /// Runs a statement that writes, and returns how many rows it wrote.
    async fn execute<'q>(
        &self,
        limit: Option<Duration>,
        query: impl Fn() -> Query<'q, MySql, MySqlArguments> + Send + Sync,
    ) -> Result<u64, StoreError> {
        let result = remote::execute(&self.pool, limit, collided, query).await;
        result
            .map(|done| done.rows_affected())
            .map_err(|error| write_error(error, &self.statements.table))
    }
}

/// A server that is not in strict mode would cut off the rest, and give the key to somebody else.
fn check_owner(record: &KeyRecord) -> Result<(), StoreError> {
    let length = record.owner.as_ref().map_or(0, |owner| owner.as_str().chars().count());
    if length <= 255 {
        return Ok(());
    }
    Err(StoreError::unavailable(format!("the owner has {length} characters, and 255 have room")))
}

fn read(row: &MySqlRow) -> Result<Arc<KeyRecord>, StoreError> {
    row::read(row).map(Arc::new).map_err(store_error)
}

impl MySqlStore {
    async fn insert_one(&self, record: &KeyRecord) -> Result<(), StoreError> {
        check_owner(record)?;
        let query = || {
            let query = row::bind_changing(sqlx::query(self.statements.insert.clone()), record);
            row::bind_fixed(query, record)
        };
        self.execute(Some(ANSWER), query).await.map(drop)
    }

    async fn update_one(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        check_owner(record)?;
        let query = || {
            let query = row::bind_changing(sqlx::query(self.statements.update.clone()), record);
            query.bind(&record.id.as_bytes()[..]).bind(row::count(expected))
        };
        let changed = self.execute(Some(ANSWER), query).await?;
        Ok(if changed == 0 { Update::Stale } else { Update::Done })
    }
}

#[async_trait]
impl KeyStore for MySqlStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let query = sqlx::query(self.statements.find.clone()).bind(&digest.as_bytes()[..]);
        self.fetch_optional(query).await
    }
}

#[async_trait]
impl KeyRepository for MySqlStore {
    async fn apply(&self, changes: &Changes) -> Result<Update, StoreError> {
        for record in &changes.inserts {
            self.insert_one(record).await?;
        }
        for KeyUpdate { record, expected } in &changes.updates {
            if self.update_one(record, *expected).await? == Update::Stale {
                return Ok(Update::Stale);
            }
        }
        Ok(Update::Done)
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let query = sqlx::query(self.statements.get.clone()).bind(&id.as_bytes()[..]);
        self.fetch_optional(query).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let Some(first) = first_of_page(query.after) else {
            return Ok(Page::from_one_more(Vec::new(), query.limit));
        };
        let select = match &query.owner {
            None => sqlx::query(self.statements.list.clone()).bind(&first[..]),
            Some(owner) => sqlx::query(self.statements.list_of_owner.clone())
                .bind(&first[..])
                .bind(owner.as_str())
                .bind(owner.as_str()),
        };
        let select = select.bind(row::count(query.limit.saturating_add(1) as u64));
        let mut connection = self.connection().await?;
        let rows = answer(select.fetch_all(&mut *connection)).await.map_err(store_error)?;
        let items = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Page::from_one_more(items, query.limit))
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let sums = row::sums(uses);
        let sums = sums.map(|(id, count, last)| (hex::encode(id.as_bytes()), count, last));
        let json = serde_json::to_string(&sums.collect::<Vec<_>>());
        let json = json.map_err(StoreError::corrupt)?;
        let query = || sqlx::query(self.statements.record_uses.clone()).bind(&json);
        self.execute(Some(ANSWER), query).await.map(drop)
    }

    async fn purge(&self, before: Timestamp, _: Option<&OwnerId>) -> Result<u64, StoreError> {
        let before = before.as_unix_millis();
        let query = || sqlx::query(self.statements.purge.clone()).bind(before).bind(before);
        // Reads the whole table, which takes as long as it takes.
        self.execute(None, query).await
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

impl fmt::Debug for MySqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MySqlStore({})", self.statements.table)
    }
}
