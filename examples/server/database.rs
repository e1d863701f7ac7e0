//! The store behind `DATABASE_URL`.

use std::sync::Arc;

use tower_api_key::store::{KeyRepository, MemoryStore, SqliteStore, StoreError};

use crate::config::DatabaseUrl;

/// An open store.
pub(crate) enum Database {
    Memory(MemoryStore),
    Sqlite(SqliteStore),
}

impl Database {
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Ok(match url {
            DatabaseUrl::Memory => Self::Memory(MemoryStore::new()),
            DatabaseUrl::Sqlite(path) => Self::Sqlite(SqliteStore::open(path).await?),
        })
    }

    pub(crate) fn repository(&self) -> Arc<dyn KeyRepository> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Lets go of it in good order: what is in a write-ahead log goes to the file.
    pub(crate) async fn close(self) {
        match self {
            Self::Memory(_) => {}
            Self::Sqlite(store) => store.close().await,
        }
    }
}
