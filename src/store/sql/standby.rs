//! Servers that copy another one, or take no changes: they may not know yet that a key was revoked.

use std::{
    io,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use sqlx::pool::{PoolConnectionMetadata, PoolOptions};

use super::{
    call::Call,
    pooled_connection::within,
    remote::{FRESH, Server, TIMEOUT},
    statements::statement,
};

/// Has a pool give out no connection to a standby.
///
/// Every new connection is asked, and every one that lay idle. A server can also become a standby
/// under connections that are in use (MySQL, with `read_only`). So once a second the next caller's
/// connection is asked, too. If its server is a standby, all older connections are given up:
/// others may lead to the same server.
pub(super) fn refuse<DB: Server>(pool: PoolOptions<DB>) -> PoolOptions<DB> {
    let watch = Arc::new(Watch::new());
    pool.after_connect(|connection, _| {
        Box::pin(async move {
            check::<DB>(connection).await?;
            DB::run(connection, DB::SESSION.to_owned()).await
        })
    })
    .before_acquire(move |connection, meta| {
        let watch = watch.clone();
        Box::pin(async move {
            if watch.is_distrusted(&meta) {
                return Ok(false);
            }
            if !watch.is_due(&meta) {
                return Ok(true);
            }
            // One that fell silent is replaced while the caller still waits.
            let is_standby = within(TIMEOUT / 4, is_standby::<DB>(connection)).await?;
            if is_standby {
                watch.distrust();
            }
            Ok(!is_standby)
        })
    })
}

/// An error if the server is a standby.
pub(super) async fn check<DB: Server>(connection: &mut DB::Connection) -> sqlx::Result<()> {
    if within(TIMEOUT, is_standby::<DB>(connection)).await? {
        let text = "this server is a standby or read-only: a store needs the primary";
        return Err(io::Error::other(text).into());
    }
    Ok(())
}

async fn is_standby<DB: Server>(connection: &mut DB::Connection) -> sqlx::Result<bool> {
    let call = Call::new(&statement(DB::IS_STANDBY.to_owned()));
    Ok(DB::fetch_number(connection, call).await? != 0)
}

/// The state of a server, as its pool knows it. Times are in milliseconds since the watch began.
struct Watch {
    began: Instant,
    asked_at: AtomicU64,
    /// Connections made before led to a standby, perhaps.
    distrusted_until: AtomicU64,
}

impl Watch {
    fn new() -> Self {
        Self { began: Instant::now(), asked_at: 0.into(), distrusted_until: 0.into() }
    }

    fn is_distrusted(&self, meta: &PoolConnectionMetadata) -> bool {
        let until = Duration::from_millis(self.distrusted_until.load(Relaxed));
        self.began.elapsed().saturating_sub(meta.age) < until
    }

    /// Whether a connection is to be asked: after a second without use, and one a second of those
    /// in use.
    fn is_due(&self, meta: &PoolConnectionMetadata) -> bool {
        let (now, asked_at) = (self.now(), self.asked_at.load(Relaxed));
        let is_turn = now.saturating_sub(asked_at) >= millis(FRESH)
            && self.asked_at.compare_exchange(asked_at, now, Relaxed, Relaxed).is_ok();
        is_turn || meta.idle_for > FRESH
    }

    fn distrust(&self) {
        self.distrusted_until.store(self.now(), Relaxed);
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
