//! Noticing that another process has written to the file.

use std::time::Duration;

use sqlx::SqlitePool;
use tokio::time::sleep;

use super::store_error;
use crate::{error::StoreError, runtime::async_methods, store::StoreWatch};

/// Between two looks. Each is one pragma, which reads a number that all processes share.
const EVERY: Duration = Duration::from_millis(100);

/// Watches `PRAGMA data_version`, which changes when another connection than the one that asks has
/// committed. Asked on the connection that writes, it says nothing of this store's own writes.
pub(super) struct Watch {
    /// Of one connection, which is kept as long as it works.
    writer: SqlitePool,
    seen: Option<i64>,
}

impl Watch {
    pub(super) fn new(writer: SqlitePool) -> Self {
        Self { writer, seen: None }
    }
}

impl StoreWatch for Watch {
    async_methods! {
        async fn changed(&mut self) -> Result<(), StoreError> {
            loop {
                if self.seen.is_some() {
                    sleep(EVERY).await;
                }
                let version =
                    sqlx::query_scalar("PRAGMA data_version").fetch_one(&self.writer).await;
                match version {
                    Ok(version) if self.seen.replace(version) == Some(version) => {}
                    Ok(_) => return Ok(()),
                    // A writer takes longer than a caller waits. What it writes will show.
                    Err(sqlx::Error::PoolTimedOut) if self.seen.is_some() => {}
                    Err(error) => {
                        self.seen = None;
                        return Err(store_error(error));
                    }
                }
            }
        }
    }
}
