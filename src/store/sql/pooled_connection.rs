//! [`PooledConnection`]: a connection, and perhaps a transaction.

use std::{
    io,
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{Pool, pool::PoolConnection};
use tokio::time::timeout;

use super::dialect::Dialect;

/// A connection of a pool. It is given back as its [`Dialect`] wants it.
///
/// Transactions are begun and ended here and not by sqlx. A caller that goes away while sqlx begins a
/// transaction leaves it open, in PostgreSQL and MySQL, for the next user of the connection, and sqlx
/// loses count when SQLite rolls back by itself.
pub(in crate::store) struct PooledConnection<DB: Dialect> {
    connection: Option<PoolConnection<DB>>,
    /// Whether there may be a transaction.
    is_open: bool,
}

/// There is one until it is given back.
const PRESENT: &str = "there is a connection until this is dropped";

impl<DB: Dialect> PooledConnection<DB> {
    pub(in crate::store) async fn of(pool: &Pool<DB>) -> sqlx::Result<Self> {
        let connection = pool.acquire().await?;
        Ok(Self { connection: Some(connection), is_open: false })
    }

    /// Begins a transaction. One that is not committed comes to nothing.
    pub(in crate::store) async fn begin(pool: &Pool<DB>) -> sqlx::Result<Self> {
        let mut connection = Self::of(pool).await?;
        connection.is_open = true;
        connection.run(DB::BEGIN).await?;
        Ok(connection)
    }

    /// For what begins a transaction by itself.
    #[cfg(feature = "sqlite")]
    pub(in crate::store) fn may_be_open(&mut self) {
        self.is_open = true;
    }

    pub(in crate::store) async fn commit(mut self) -> sqlx::Result<()> {
        self.run("COMMIT").await?;
        self.is_open = false;
        Ok(())
    }

    /// Rolls back. When that fails, there is no transaction any more, or no connection.
    pub(in crate::store) async fn roll_back(mut self) {
        self.is_open = self.run("ROLLBACK").await.is_err();
    }

    async fn run(&mut self, sql: &str) -> sqlx::Result<()> {
        answer::<DB, _>(DB::run(self, sql.to_owned())).await
    }
}

impl<DB: Dialect> Deref for PooledConnection<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect(PRESENT)
    }
}

impl<DB: Dialect> DerefMut for PooledConnection<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect(PRESENT)
    }
}

impl<DB: Dialect> Drop for PooledConnection<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            DB::give_back(connection, self.is_open);
        }
    }
}

/// Waits no longer than this, if there is a limit: a server that is cut off does not say so.
pub(in crate::store) async fn within<T>(
    limit: impl Into<Option<Duration>>,
    call: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let Some(limit) = limit.into() else { return call.await };
    let silence = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"));
    timeout(limit, call).await.unwrap_or_else(|_| Err(silence().into()))
}

/// Waits for the answer to a statement that reads or writes by an index.
pub(in crate::store) async fn answer<DB: Dialect, T>(
    call: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    within(DB::ANSWER, call).await
}
