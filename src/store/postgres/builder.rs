//! [`PostgresStoreBuilder`]: replicas, and a table of another name.

use std::{fmt, time::Duration};

use sqlx::Postgres;

use super::PostgresStore;
use crate::{
    error::ConfigError,
    store::{connect::ConnectError, sql::SqlStoreBuilder},
};

/// Makes a [`PostgresStore`]: [`PostgresStore::builder`] begins, [`connect`](Self::connect) ends.
#[must_use]
pub struct PostgresStoreBuilder(SqlStoreBuilder<Postgres>);

impl PostgresStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self(SqlStoreBuilder::new(url))
    }

    /// Keeps the keys in the table `name`, and makes no table `api_keys`.
    pub fn with_table(self, name: &str) -> Result<Self, ConfigError> {
        self.0.with_table(name).map(Self)
    }

    /// Reads keys from this server as well, which copies the primary. Given several, they take turns.
    ///
    /// A replica is [asked for keys](crate::store::KeyStore::find_many) by a
    /// [cache](crate::store::CachedStore) alone, which knows of which keys a change was announced. Everything
    /// else, and all writes, go to the primary. A replica only ever says yes: the primary is asked about
    /// keys that it does not find.
    ///
    /// It is asked as long as it proves that it is not further behind than the
    /// [bound](Self::with_lag_bound), by the beat that nodes write on the primary, once a second. One that
    /// does not answer within a fifth of a second, or not prove that, is passed over until it does again, and
    /// the primary answers. So a replica need not be there when the store connects. Its tables are not
    /// touched: they are the primary's, with `_heartbeat` among them.
    pub fn with_replica(self, url: &str) -> Self {
        Self(self.0.with_replica(url))
    }

    /// How far a replica may be behind, at most; 60 seconds by default, an hour at most.
    ///
    /// The [bound of the cache](crate::store::CachedStoreBuilder::with_lag_bound) must not be smaller: it uses no
    /// answer that is older than a change, for as long as that. A proof is up to three seconds old, so that
    /// with a bound of less than five a replica is hardly ever asked.
    pub fn with_lag_bound(self, lag_bound: Duration) -> Self {
        Self(self.0.with_lag_bound(lag_bound))
    }

    /// Connects to the primary and [migrates](PostgresStore::migrate) it. Replicas are connected to in the
    /// background.
    pub async fn connect(self) -> Result<PostgresStore, ConnectError> {
        self.0.connect().await.map(PostgresStore)
    }
}

impl fmt::Debug for PostgresStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")?;
        self.0.fmt(f)
    }
}
