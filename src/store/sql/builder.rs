//! [`SqlStoreBuilder`]: a store with more than the URL of its primary.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use sqlx::{ConnectOptions, Connection};

use super::{
    remote::{Server, options, replica},
    replicas::Replicas,
    statements::{DEFAULT_TABLE, table_name},
    store::SqlStore,
};
use crate::{
    error::ConfigError,
    store::{
        connect::{ConnectError, StoreKind},
        lag::LAG_BOUND,
    },
};

/// Older proofs are not kept.
const LONGEST_LAG_BOUND: Duration = Duration::from_hours(1);

/// The settings of a store whose database is a server.
pub(in crate::store) struct SqlStoreBuilder<DB> {
    url: String,
    table: String,
    replicas: Vec<String>,
    lag_bound: Duration,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Server> SqlStoreBuilder<DB> {
    pub(in crate::store) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            table: DEFAULT_TABLE.to_owned(),
            replicas: Vec::new(),
            lag_bound: LAG_BOUND,
            database: PhantomData,
        }
    }

    pub(in crate::store) fn with_table(mut self, name: &str) -> Result<Self, ConfigError> {
        table_name(name)?.clone_into(&mut self.table);
        Ok(self)
    }

    pub(in crate::store) fn with_replica(mut self, url: &str) -> Self {
        self.replicas.push(url.to_owned());
        self
    }

    pub(in crate::store) fn with_lag_bound(mut self, lag_bound: Duration) -> Self {
        self.lag_bound = lag_bound.min(LONGEST_LAG_BOUND);
        self
    }

    pub(in crate::store) async fn connect(self) -> Result<SqlStore<DB>, ConnectError>
    where
        <DB::Connection as Connection>::Options: ConnectOptions<Connection = DB::Connection>,
    {
        // A mistake in one of them is one before anything is made.
        check::<DB>(&self.url)?;
        let mut replicas = Vec::with_capacity(self.replicas.len());
        for url in &self.replicas {
            check::<DB>(url)?;
            let options = options::<DB>(url).map_err(DB::store_error)?;
            replicas.push(options.disable_statement_logging());
        }
        let mut store = SqlStore::connect(&self.url, &self.table).await?;
        if !replicas.is_empty() {
            let pools = replicas.into_iter().map(replica::<DB>).collect();
            let (primary, statements) = (store.writer.clone(), store.statements.clone());
            let replicas = Replicas::new(primary, statements, pools, self.lag_bound);
            replicas.start();
            store.replicas = Some(Arc::new(replicas));
        }
        Ok(store)
    }
}

/// Refuses the URL of another database, and one with options that would not be honoured.
fn check<DB: Server>(url: &str) -> Result<(), ConfigError> {
    if StoreKind::of_url(url).ok() != Some(DB::KIND) {
        return Err(ConfigError::StoreUrl { expected: DB::URL });
    }
    DB::url(url).map(drop)
}

/// Without URLs, which may hold passwords.
impl<DB> fmt::Debug for SqlStoreBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("table", &self.table)
            .field("replicas", &self.replicas.len())
            .field("lag_bound", &self.lag_bound)
            .finish_non_exhaustive()
    }
}
