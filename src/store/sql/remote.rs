//! What the stores have in common whose database is a server: connections that break or fall
//! silent, and transactions that collide.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    Connection, Database, Executor, IntoArguments, Pool,
    pool::{PoolConnection, PoolOptions},
    query::Query,
};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

use crate::KeyId;

/// How long a caller waits for a connection.
pub(in crate::store) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a statement may take that reads or writes by an index. Longer than the database itself
/// waits for locks, so that it is the database that ends the statement if it can.
pub(in crate::store) const ANSWER: Duration = Duration::from_secs(10);

/// Connections of a pool of our own. A lookup takes well under a millisecond.
const CONNECTIONS: u32 = 10;

/// A connection that lay idle for longer is tested before it is used: the server may have been
/// restarted meanwhile. Under load none does, and a lookup is one round trip.
const FRESH: Duration = Duration::from_secs(1);

/// How often a transaction is tried that the database gave up in favour of another.
const TRIES: u32 = 10;

/// By chance, or those that collided would collide again.
fn pause(tries: u32) -> Duration {
    let longest = (5 << tries).min(500);
    let chance = getrandom::u32().unwrap_or(longest / 2);
    Duration::from_millis(u64::from(chance % longest))
}

/// The options that a URL stands for. Without `//`, sqlx would take user and password for the name
/// of a database, which servers repeat in their errors.
pub(in crate::store) fn options<O: FromStr<Err = sqlx::Error>>(url: &str) -> sqlx::Result<O> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_none_or(|scheme| scheme.contains(':')) {
        return Err(sqlx::Error::Configuration(
            "not a URL like scheme://user@host/database".into(),
        ));
    }
    url.parse()
}

/// A pool that connects when it is first asked to.
pub(in crate::store) fn pool<DB: Database>() -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut DB::Connection, meta| {
            Box::pin(async move {
                if meta.idle_for > FRESH {
                    // One that fell silent is replaced while the caller still waits.
                    within(PATIENCE / 4, connection.ping()).await?;
                }
                Ok(true)
            })
        })
}

/// Waits no longer than this: a server that is cut off does not say so.
pub(in crate::store) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    let silence = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit:?}"));
    timeout(limit, call).await.unwrap_or_else(|_| Err(silence().into()))
}

/// Waits for the answer to a statement that reads or writes by an index.
pub(in crate::store) async fn answer<T>(
    call: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    within(ANSWER, call).await
}

/// A connection on loan.
///
/// A pool tests connections that come back, and waits for the answer as long as TCP does: a
/// quarter of an hour, if the server is gone without a word. Until then they count, and when all
/// of them wait, the pool is stuck. A loaned one is given back or given up in bounded time.
pub(in crate::store) struct Loan<DB: Database>(PoolConnection<DB>);

impl<DB: Database> Loan<DB> {
    pub(in crate::store) async fn of(pool: &Pool<DB>) -> sqlx::Result<Self> {
        pool.acquire().await.map(Self)
    }
}

impl<DB: Database> Deref for Loan<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<DB: Database> DerefMut for Loan<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<DB: Database> Drop for Loan<DB> {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current() {
            // What sqlx itself does here, but for the limit. When that is reached, the future is
            // dropped, and the connection and its place in the pool with it. The method is not
            // documented; `a_silent_server_does_not_block_the_pool` fails without it.
            runtime.spawn(timeout(ANSWER, self.0.return_to_pool()));
        }
    }
}

/// Runs a statement that writes. One that collided with another transaction has written nothing
/// and is tried again.
pub(in crate::store) async fn execute<'q, DB>(
    pool: &Pool<DB>,
    limit: Option<Duration>,
    collided: impl Fn(&sqlx::Error) -> bool + Send,
    query: impl Fn() -> Query<'q, DB, DB::Arguments> + Send + Sync,
) -> sqlx::Result<DB::QueryResult>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB> + 'q,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut tries = 1;
    loop {
        let mut connection = Loan::of(pool).await?;
        let call = query().execute(&mut *connection);
        let result = match limit {
            Some(limit) => within(limit, call).await,
            None => call.await,
        };
        match result {
            Err(error) if collided(&error) && tries < TRIES => {
                drop(connection);
                sleep(pause(tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// The greatest id that comes after `after` in a list, which begins with the greatest. `None` when
/// none can.
pub(in crate::store) fn first_of_page(after: Option<KeyId>) -> Option<[u8; 16]> {
    let Some(after) = after else { return Some([0xff; 16]) };
    Some(u128::from_be_bytes(*after.as_bytes()).checked_sub(1)?.to_be_bytes())
}

/// What a database said, without the parts that may quote rows: those hold digests.
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
