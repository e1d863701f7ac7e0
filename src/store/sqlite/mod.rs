//! [`SqliteStore`]: keys in a SQLite database.

mod schema;
mod statements;
mod watch;

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions, Sqlite, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteQueryResult, SqliteSynchronous},
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use self::watch::Watch;
use super::{
    StoreWatch,
    sql::{
        self, Calls, Dialect, LockStatements, OwnerLocks, PooledConnection, SqlStore, Statements,
        repository, row,
    },
};
use crate::error::{ConfigError, StoreError, StoreErrorKind};

/// Keys in a SQLite database: on one machine, in a file that needs no server.
///
/// What a method has written when it returns `Ok` survives the loss of power. Readers and the
/// writer do not wait for each other. A caller waits two seconds for its turn and two for another
/// program's lock; a database that is locked for longer, read-only or full is an error, and is
/// used again as soon as it can be.
///
/// A [`CachedStore`](super::CachedStore) in front of a store that was [opened](Self::open) notices
/// within a tenth of a second that another process has written to the file, and looks every key up
/// anew before it trusts it. Counts of uses that another process writes are such writes, too.
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
pub struct SqliteStore(pub(super) SqlStore<Sqlite>);

/// How long a connection waits for another program's lock, and a caller for a connection.
const TIMEOUT: Duration = Duration::from_secs(2);

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
        // One connection writes, so that writers queue up here and not in SQLite, which lets them
        // sleep and try again.
        let batcher = sql::lookups(&readers);
        let store = Self(SqlStore { readers, batcher, ..SqlStore::new(writer) });
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
        Self(SqlStore::new(pool))
    }

    /// Keeps the keys in the table `name` instead of `api_keys`. Call [`migrate`](Self::migrate)
    /// afterwards.
    ///
    /// [`open`](Self::open) has made a table `api_keys` by then; with
    /// [`from_pool`](Self::from_pool) there is none but this.
    pub fn with_table(self, name: &str) -> Result<Self, ConfigError> {
        self.0.with_table(name).map(Self)
    }

    /// Makes the tables, or brings those of an older version up to date.
    ///
    /// They are the key table and four named after it: `_events` is the audit log, `_credits` has
    /// the balances of keys that spend credits, `_usage` counts requests by the hour, and in
    /// `_schema` their version is kept. No other table is touched. Doing it again changes nothing,
    /// and several processes may do it at once. An error has changed nothing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = PooledConnection::of(&self.0.writer).await.map_err(store_error)?;
        connection.may_be_open();
        let result = Sqlite::migrate(&mut connection, &self.0.statements.table).await;
        // Before the caller tries again. After success there is nothing to roll back.
        connection.roll_back().await;
        result
    }

    /// None for a pool of the application's, in which one connection sees the writes of another.
    fn watch(&self) -> Option<Box<dyn StoreWatch>> {
        let connections = |pool: &SqlitePool| pool.options().get_max_connections();
        let is_file = connections(&self.0.writer) == 1 && connections(&self.0.readers) == READERS;
        is_file.then(|| Box::new(Watch::new(self.0.writer.clone())) as _)
    }

    /// Waits for what is being read and written, and closes the database. Afterwards, every
    /// method of this store and its clones is an error.
    pub async fn close(&self) {
        self.0.kept.close(&self.0.readers).await;
        self.0.writer.close().await;
    }
}

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .busy_timeout(TIMEOUT)
        // In WAL mode, `NORMAL` would lose the last commits when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(TIMEOUT)
        // A caller who goes away during this test takes the connection along, and with it a
        // database in memory. Connections are tested when they come back, too, which is enough.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// SQLite does not wait for the lock that this takes, so several processes that open a new file
/// at once have to try again.
async fn enter_wal(pool: &SqlitePool) -> sqlx::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
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
        // A statement that does not fit the schema gets `ERROR`.
        Some(ERROR | CORRUPT | NOTADB) => StoreError::corrupt(error),
        _ => row::store_error(error),
    }
}

/// The meaning of an error of writing to `table`. Of the unique indexes that an application
/// may have added, ours alone tell of a duplicate.
fn write_error(error: sqlx::Error, table: &str) -> StoreError {
    // `UNIQUE constraint failed: api_keys.digest`, with all columns of the index.
    let violation = error.as_database_error().filter(|error| error.is_unique_violation());
    let columns = violation.and_then(|error| error.message().rsplit(": ").next());
    match columns.and_then(|columns| columns.strip_prefix(table)?.strip_prefix('.')) {
        Some("id" | "digest" | "request") => {
            StoreError::new(StoreErrorKind::Duplicate).with_source(error)
        }
        _ => store_error(error),
    }
}

repository!(SqliteStore, watch);

impl Dialect for Sqlite {
    /// With the write lock from the start: a transaction that asks for it later, when another one
    /// has written since, would have to begin again.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    const ANSWER: Option<Duration> = None;

    fn statements(table: &str) -> Statements {
        statements::statements(table)
    }

    async fn migrate(connection: &mut SqliteConnection, table: &str) -> Result<(), StoreError> {
        sql::schema::migrate::<Self>(connection, table).await
    }

    fn affected(done: &SqliteQueryResult) -> u64 {
        done.rows_affected()
    }

    fn store_error(error: sqlx::Error) -> StoreError {
        store_error(error)
    }

    fn write_error(error: sqlx::Error, table: &str) -> StoreError {
        write_error(error, table)
    }

    const OWNER_LOCKS: u32 = 1;

    /// A transaction has the write lock from its beginning.
    async fn lock_owners(
        _: &mut SqliteConnection,
        _: &LockStatements,
        _: &OwnerLocks,
    ) -> sqlx::Result<()> {
        Ok(())
    }

    /// The connection is not closed, which would end a database in memory. What it is told comes
    /// after what it was told before, so this ends the transaction wherever its caller left it. An
    /// error says that there is none any more.
    fn give_back(mut connection: PoolConnection<Self>, is_open: bool) {
        if let (true, Ok(runtime)) = (is_open, Handle::try_current()) {
            runtime.spawn(async move {
                let _ = Self::run(&mut connection, "ROLLBACK".to_owned()).await;
            });
        }
    }
}
