//! What is special about SQLite: files, other people's tables, and trouble with both.

mod authenticate;
mod faults;
mod files;
mod migrations;
mod rows;
mod secrets;
mod watched;

use std::{path::PathBuf, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;
use tower_api_key::store::SqliteStore;

use crate::support::texts;

/// A database file, removed with its directory when dropped.
pub(crate) struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        Self { _directory: directory, path }
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path).await.unwrap()
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.path).create_if_missing(true)
    }

    /// As another program would open it.
    pub(crate) async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect_with(&self.options()).await.unwrap()
    }

    /// As an application opens it that brings its own pool.
    async fn pool(&self) -> SqlitePool {
        pool(self.options()).await
    }

    /// One that is quick to give up: for tests of locks, which wait until it does.
    async fn impatient_pool(&self) -> SqlitePool {
        pool(self.options().busy_timeout(Duration::from_millis(50))).await
    }
}

/// A pool of one connection, so that what a test sets on it holds for the store.
async fn pool(options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

pub(crate) async fn run(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

async fn number(connection: &mut SqliteConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

/// Everything in the schema, as SQL.
async fn schema(connection: &mut SqliteConnection) -> Vec<String> {
    let sql =
        "SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema ORDER BY name";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}
