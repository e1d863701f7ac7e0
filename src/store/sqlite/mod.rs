//! [`SqliteStore`]: keys in a SQLite database.

mod schema;
mod statements;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};

use self::statements::statements;
use super::{
    Changes, KeyRepository, KeyStore, KeyUpdate, KeyUse, ListQuery, Page, StoreError, Update,
    sql::{DEFAULT_TABLE, Statements, row, table_name},
};
use crate::{ConfigError, KeyDigest, KeyId, KeyRecord, OwnerId, Timestamp};

/// Keys in a SQLite database: on one machine, in a file that needs no server.
///
/// What a method has written when it returns `Ok` survives the loss of power. Readers and the
/// writer do not wait for each other. A caller waits two seconds for its turn and two for another
/// program's lock; a database that is locked for longer, read-only or full is an error, and is
/// used again as soon as it can be.
///
/// Clones share the same connections.
///
/// ```
/// use tower_api_key::{KeyManager, NewKey, store::SqliteStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("tower-api-key-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("keys.db");
/// let store = SqliteStore::open(path).await?;
/// let issued = KeyManager::new(store.clone()).create(NewKey::named("CI of the shop")).await?;
/// # drop(issued);
/// store.close().await;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    readers: SqlitePool,
    /// One connection, so that writers queue up here and not in SQLite, which lets them sleep and
    /// try again. The same as `readers` when there is but one pool.
    writer: SqlitePool,
    statements: Arc<Statements>,
}

/// How long a connection waits for another program's lock, and a caller for a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lookups at a time. One takes some microseconds, so a few connections go a long way.
const READERS: u32 = 4;

impl SqliteStore {
    /// Opens a database file, makes it if there is none, and [migrates](Self::migrate) it.
    ///
    /// The file is in WAL mode afterwards and stays so. `:memory:` is
    /// [`in_memory`](Self::in_memory).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if path == Path::new(":memory:") {
            return Self::in_memory().await;
        }
        // SQLite would take a relative `file:…` for a URI.
        let path = std::path::absolute(path).map_err(StoreError::unavailable)?;
        let options = options().filename(path).create_if_missing(true);
        let writer = pool(1).connect_with(options.clone()).await.map_err(store_error)?;
        enter_wal(&writer).await.map_err(store_error)?;
        let readers = pool(READERS).connect_lazy_with(options.create_if_missing(false));
        let store = Self { readers, ..Self::from_pool(writer) };
        store.migrate().await?;
        Ok(store)
    }

    /// A new database in memory, which lasts as long as the store and its clones.
    pub async fn in_memory() -> Result<Self, StoreError> {
        // The database is the connection's: there is only one, and it must never be closed.
        let pool = pool(1).connect_with(options().in_memory(true)).await.map_err(store_error)?;
        let store = Self::from_pool(pool);
        store.migrate().await?;
        Ok(store)
    }

    /// Keeps keys in a database that the application has opened, beside its own tables.
    ///
    /// The pool is used as it is: its journal mode, `synchronous` and timeouts are the
    /// application's choice. Call [`migrate`](Self::migrate) before the first use. A pool on a
    /// database in memory needs `test_before_acquire(false)`: without it, sqlx closes the
    /// connection, and so ends the database, when a caller goes away at the wrong moment.
    ///
    /// ```
    /// # use tower_api_key::store::SqliteStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    /// let store = SqliteStore::from_pool(pool).with_table("partner_keys")?;
    /// store.migrate().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pool(pool: SqlitePool) -> Self {
        let statements = Arc::new(statements(DEFAULT_TABLE));
        Self { readers: pool.clone(), writer: pool, statements }
    }

    /// Keeps the keys in the table `name` instead of `api_keys`. Call [`migrate`](Self::migrate)
    /// afterwards.
    ///
    /// [`open`](Self::open) has made a table `api_keys` by then; with
    /// [`from_pool`](Self::from_pool) there is none but this.
    pub fn with_table(mut self, name: &str) -> Result<Self, ConfigError> {
        self.statements = Arc::new(statements(table_name(name)?));
        Ok(self)
    }

    /// Makes the tables, or brings those of an older version up to date.
    ///
    /// They are the key table and one named after it with `_schema`, where their version is kept;
    /// no other table is touched. Doing it again changes nothing, and several processes may do it
    /// at once. An error has changed nothing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(&self.writer, &self.statements.table).await
    }

    /// Waits for what is being read and written, and closes the database. Afterwards, every
    /// method of this store and its clones is an error.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .busy_timeout(PATIENCE)
        // In WAL mode, `NORMAL` would lose the last commits when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        // A caller who goes away during this test takes the connection along, and with it a
        // database in memory. Connections are tested when they come back, too, which is enough.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// SQLite does not wait for the lock that this takes, so several processes that open a new file
/// at once have to try again.
async fn enter_wal(pool: &SqlitePool) -> sqlx::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match sqlx::query("PRAGMA journal_mode = WAL").execute(pool).await {
            Err(error) if code(&error) == Some(BUSY) && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            result => return result.map(drop),
        }
    }
}

// Primary result codes, https://www.sqlite.org/rescode.html.
const ERROR: i32 = 1;
const BUSY: i32 = 5;
const CORRUPT: i32 = 11;
const NOTADB: i32 = 26;

fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

fn store_error(error: sqlx::Error) -> StoreError {
    match code(&error) {
        // `ERROR` is what a statement gets that does not fit the schema.
        Some(ERROR | CORRUPT | NOTADB) => StoreError::corrupt(error),
        _ => row::store_error(error),
    }
}

fn read(row: &SqliteRow) -> Result<Arc<KeyRecord>, StoreError> {
    row::read(row).map(Arc::new).map_err(store_error)
}

impl SqliteStore {
    async fn insert_one(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let query = row::bind_changing(sqlx::query(self.statements.insert.clone()), record);
        let query = row::bind_fixed(query, record);
        query.execute(&self.writer).await.map(drop).map_err(store_error)
    }

    async fn update_one(&self, record: &KeyRecord, expected: u64) -> Result<Update, StoreError> {
        let query = row::bind_changing(sqlx::query(self.statements.update.clone()), record);
        let query = query.bind(&record.id.as_bytes()[..]).bind(row::count(expected));
        let done = query.execute(&self.writer).await.map_err(store_error)?;
        Ok(if done.rows_affected() == 0 { Update::Stale } else { Update::Done })
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let query = sqlx::query(self.statements.find.clone()).bind(&digest.as_bytes()[..]);
        let row = query.fetch_optional(&self.readers).await.map_err(store_error)?;
        row.as_ref().map(read).transpose()
    }
}

#[async_trait]
impl KeyRepository for SqliteStore {
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
        let row = query.fetch_optional(&self.readers).await.map_err(store_error)?;
        row.as_ref().map(read).transpose()
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        // Longer than an id and hence greater than every one.
        let before = query.after.as_ref().map_or(&[0xff; 17][..], |after| after.as_bytes());
        let one_more = row::count(query.limit.saturating_add(1) as u64);
        let select = match &query.owner {
            None => sqlx::query(self.statements.list.clone()),
            Some(owner) => sqlx::query(self.statements.list_of_owner.clone()).bind(owner.as_str()),
        };
        let rows = select.bind(before).bind(one_more).fetch_all(&self.readers).await;
        let items = rows.map_err(store_error)?.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Page::from_one_more(items, query.limit))
    }

    async fn record_uses(&self, uses: &[KeyUse]) -> Result<(), StoreError> {
        let sums = row::sums(uses);
        let sums = sums.map(|(id, count, last)| (hex::encode(id.as_bytes()), count, last));
        let json = serde_json::to_string(&sums.collect::<Vec<_>>());
        let json = json.map_err(StoreError::corrupt)?;
        let query = sqlx::query(self.statements.record_uses.clone()).bind(json);
        query.execute(&self.writer).await.map(drop).map_err(store_error)
    }

    async fn purge(&self, before: Timestamp, _: Option<&OwnerId>) -> Result<u64, StoreError> {
        let query = sqlx::query(self.statements.purge.clone()).bind(before.as_unix_millis());
        Ok(query.execute(&self.writer).await.map_err(store_error)?.rows_affected())
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteStore({})", self.statements.table)
    }
}
