//! [`KeptConnection`]: one that lookups keep from one to the next.
//!
//! To take a connection out of a pool of sqlx and to give it back costs more than most lookups: each time
//! the server is asked whether the connection is in order, in a task of its own. While lookups come one
//! after the other, one of them leaves its connection to the next.

use std::{io, sync::Arc, time::Duration};

use sqlx::Pool;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    call::Call,
    dialect::Dialect,
    pooled_connection::{PooledConnection, answer},
};
use crate::runtime::{Background, Mutex};

/// A connection that no lookup has used for so long goes back to its pool.
const IDLE: Duration = Duration::from_millis(2);

/// And every one after so long, however busy: a pool tests its connections, and may replace them.
const LONGEST: Duration = Duration::from_millis(100);

/// The connection that waits for the next lookup, if there is one.
///
/// It is kept only where its pool has another one for other users, or may make one.
pub(in crate::store) struct KeptConnection<DB: Dialect>(Arc<Slot<DB>>);

struct Slot<DB: Dialect> {
    kept: Mutex<Option<Lent<DB>>>,
    /// Gives it back.
    keeper: Background,
}

/// A connection, and since when it is away from its pool.
struct Lent<DB: Dialect> {
    connection: PooledConnection<DB>,
    since: Instant,
    /// When a lookup last used it.
    used: Instant,
}

impl<DB: Dialect> Clone for KeptConnection<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Dialect> KeptConnection<DB> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Slot { kept: Mutex::default(), keeper: Background::default() }))
    }

    /// Reads the rows of keys that are looked up, so many at most, by a connection of this pool.
    pub(super) async fn rows(
        &self,
        pool: &Pool<DB>,
        call: Call<'_>,
        keys: usize,
    ) -> sqlx::Result<Vec<DB::Row>> {
        if let Some(mut kept) = self.take(pool) {
            match kept.rows(call.clone(), keys).await {
                // The server may have been restarted since: the pool has a connection that was tested.
                Err(error) if DB::ANSWER.is_some() && !is_silence(&error) => {}
                Err(error) => return Err(error),
                Ok(rows) => {
                    self.keep(pool, kept);
                    return Ok(rows);
                }
            }
        }
        // Boxed: most lookups have no use for it.
        let connection = Box::pin(PooledConnection::of(pool)).await?;
        let now = Instant::now();
        let mut lent = Lent { connection, since: now, used: now };
        let rows = lent.rows(call, keys).await?;
        self.keep(pool, lent);
        Ok(rows)
    }

    /// Closes its pool: that waits for the connection as well, which would go back by another task.
    pub(in crate::store) async fn close(&self, pool: &Pool<DB>) {
        // Closed from here on, so that no lookup leaves another one.
        let closing = pool.close();
        drop(self.0.kept.lock().take());
        closing.await;
    }

    fn take(&self, pool: &Pool<DB>) -> Option<Lent<DB>> {
        let kept = self.0.kept.lock().take()?;
        (!pool.is_closed()).then_some(kept)
    }

    /// Leaves a connection that has answered to the next lookup, or gives it back.
    fn keep(&self, pool: &Pool<DB>, mut lent: Lent<DB>) {
        let Ok(runtime) = Handle::try_current() else { return };
        lent.used = Instant::now();
        let may_be_kept = lent.used - lent.since < LONGEST && has_another(pool);
        if !may_be_kept || pool.is_closed() {
            return;
        }
        let second = {
            let mut kept = self.0.kept.lock();
            if kept.is_some() { Some(lent) } else { kept.replace(lent) }
        };
        // Not under the lock: it goes back to its pool.
        drop(second);
        if let Some(running) = self.0.keeper.begin() {
            let keeper = Keeper { slot: self.0.clone(), runtime: runtime.clone() };
            runtime.spawn(async move {
                let mut running = running;
                loop {
                    sleep(IDLE).await;
                    drop(keeper.slot.idle());
                    match running.unless(|| keeper.slot.kept.lock().is_none()) {
                        Some(still) => running = still,
                        None => return,
                    }
                }
            });
        }
    }
}

impl<DB: Dialect> Lent<DB> {
    async fn rows(&mut self, call: Call<'_>, keys: usize) -> sqlx::Result<Vec<DB::Row>> {
        if keys == 1 {
            let row = answer::<DB, _>(DB::fetch_optional(&mut self.connection, call)).await?;
            return Ok(row.into_iter().collect());
        }
        answer::<DB, _>(DB::fetch_all(&mut self.connection, call)).await
    }
}

impl<DB: Dialect> Slot<DB> {
    /// The connection, if no lookup has used it for a while.
    fn idle(&self) -> Option<Lent<DB>> {
        let mut kept = self.kept.lock();
        kept.take_if(|kept| kept.used.elapsed() >= IDLE)
    }
}

/// Gives back what is kept also when its runtime is shut down.
struct Keeper<DB: Dialect> {
    slot: Arc<Slot<DB>>,
    runtime: Handle,
}

impl<DB: Dialect> Drop for Keeper<DB> {
    fn drop(&mut self) {
        let kept = self.slot.kept.lock().take();
        let _runtime = self.runtime.enter();
        drop(kept);
    }
}

/// Whether the pool has a connection for another user, or may make one.
fn has_another<DB: Dialect>(pool: &Pool<DB>) -> bool {
    pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections()
}

fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;
