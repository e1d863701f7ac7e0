//! The common part of the stores whose database is a server: connections that break or fall
//! silent.

use std::{fmt, time::Duration};

use sqlx::{
    ConnectOptions, Connection,
    pool::{PoolConnection, PoolOptions},
};
use tokio::{runtime::Handle, time::timeout};

use super::{dialect::Dialect, pooled_connection::within, row, standby, store::SqlStore};
use crate::{
    error::{ConfigError, StoreError},
    store::connect::StoreKind,
};

/// How long a caller waits for a connection.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a statement may take that reads or writes by an index. Longer than the database itself
/// waits for locks, so that it is the database that ends the statement if it can.
pub(in crate::store) const ANSWER: Duration = Duration::from_secs(10);

/// Connections of a pool of our own. A lookup takes well under a millisecond.
const CONNECTIONS: u32 = 10;

/// A connection that lay idle for longer is tested before it is used: the server may have been
/// restarted meanwhile. Under load none does, and a lookup is one round trip.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// A database that is a server.
pub(in crate::store) trait Server: Dialect {
    /// How connections of our own differ from what the server says.
    const SESSION: &'static str;

    /// Asks whether the server copies another one or takes no changes: then the number is not zero.
    const IS_STANDBY: &'static str;

    /// How connections to replicas differ besides. A statement sees one state, and changes nothing.
    const READ_ONLY: &'static str;

    const KIND: StoreKind;

    /// The form of a good URL.
    const URL: &'static str;

    /// The URL for the driver, or an error that names an option that it would pass over.
    fn url(url: &str) -> Result<String, ConfigError>;
}

impl<DB: Server> SqlStore<DB> {
    /// Connects to the database of a URL and migrates the table of this name.
    pub(in crate::store) async fn connect(url: &str, table: &str) -> Result<Self, StoreError>
    where
        <DB::Connection as Connection>::Options: ConnectOptions<Connection = DB::Connection>,
    {
        let options = options::<DB>(url).map_err(DB::store_error)?;
        let options = options.disable_statement_logging();
        // A pool would try for as long as it may, and then not say what kept it from connecting.
        // The error stays as it is: before the first statement, it can quote no rows.
        let connection = within(TIMEOUT, options.connect()).await.map_err(row::store_error)?;
        migrate::<DB>(connection, table).await?;
        let pool = standby::refuse(pool::<DB>());
        let store = Self::new(pool.connect_lazy_with(options)).with_table(table);
        store.map_err(StoreError::unavailable)
    }

    /// Waits for what is being read and written, and closes the connections.
    pub(in crate::store) async fn close(&self) {
        if let Some(replicas) = &self.replicas {
            replicas.close().await;
        }
        // The same as the writer, for servers.
        self.kept.close(&self.readers).await;
    }

    /// Brings the tables up to date.
    pub(in crate::store) async fn migrate(&self) -> Result<(), StoreError> {
        // Not one that goes back: it may be left with a transaction or a lock.
        let connection = self.writer.acquire().await.map_err(DB::store_error)?;
        migrate::<DB>(connection.detach(), &self.statements.table).await
    }
}

/// Brings the tables up to date, and closes the connection.
async fn migrate<DB: Server>(
    mut connection: DB::Connection,
    table: &str,
) -> Result<(), StoreError> {
    let result = match standby::check::<DB>(&mut connection).await {
        Ok(()) => DB::migrate(&mut connection, table).await,
        Err(error) => Err(DB::store_error(error)),
    };
    // The connection has done its work, whatever becomes of the farewell.
    let _ = within(TIMEOUT, connection.close()).await;
    result
}

/// The options that a URL stands for. Without `//`, sqlx would take user and password for the name
/// of a database, which servers repeat in their errors.
pub(in crate::store) fn options<DB: Server>(
    url: &str,
) -> sqlx::Result<<DB::Connection as Connection>::Options> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_none_or(|scheme| scheme.contains(':')) {
        return Err(sqlx::Error::Configuration(
            "not a URL like scheme://user@host/database".into(),
        ));
    }
    DB::url(url).map_err(|error| sqlx::Error::Configuration(error.into()))?.parse()
}

/// A pool of connections to a replica, which connects when it is first asked to.
pub(super) fn replica<DB: Server>(
    options: <DB::Connection as Connection>::Options,
) -> sqlx::Pool<DB> {
    let pool = pool::<DB>().after_connect(|connection, _| {
        Box::pin(async move {
            DB::run(connection, DB::SESSION.to_owned()).await?;
            DB::run(connection, DB::READ_ONLY.to_owned()).await
        })
    });
    pool.connect_lazy_with(options)
}

/// A pool that connects when it is first asked to.
pub(in crate::store) fn pool<DB: Dialect>() -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut DB::Connection, meta| {
            Box::pin(async move {
                if meta.idle_for > FRESH {
                    // One that fell silent is replaced while the caller still waits.
                    within(TIMEOUT / 4, connection.ping()).await?;
                }
                Ok(true)
            })
        })
}

/// Gives a connection back to its pool, or gives it up, in bounded time.
///
/// A pool tests connections that come back, and waits for the answer as long as TCP does: a
/// quarter of an hour, if the server is gone without a word. Until then they count, and when all
/// of them wait, the pool is stuck.
pub(in crate::store) fn give_back<DB: Dialect>(mut connection: PoolConnection<DB>, is_open: bool) {
    if is_open {
        // Its caller went away, or the server did not answer. The server rolls back what is open
        // on a connection that is closed.
        connection.close_on_drop();
    } else if let Ok(runtime) = Handle::try_current() {
        // sqlx does the same here, but without the limit. When that is reached, the future is
        // dropped, and the connection and its place in the pool with it. The method is not
        // documented; `a_silent_server_does_not_block_the_pool` fails without it.
        runtime.spawn(timeout(ANSWER, connection.return_to_pool()));
    }
}

/// The code and message of a database, without the parts that may quote rows: those hold digests.
#[derive(Debug)]
pub(in crate::store) struct Said {
    pub(in crate::store) code: String,
    pub(in crate::store) message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Said {}
