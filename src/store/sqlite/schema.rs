//! The tables and how they come to be.
//!
//! The version is kept in a table beside the keys, `api_keys_schema`, and not where an
//! application's own migrations keep theirs (`_sqlx_migrations`, `PRAGMA user_version`).

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, SqlitePool};

use super::store_error;
use crate::{
    Clock, SystemClock,
    store::{
        StoreError, StoreErrorKind,
        sql::schema::{self, foreign_table},
    },
};

/// What leads from one version to the next, with the default table name.
const MIGRATIONS: [&str; 1] = [include_str!("1_keys.sql")];

/// Brings the tables up to date. Safe when several processes do it at once.
pub(super) async fn migrate(pool: &SqlitePool, table: &str) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(store_error)?;
    // A table that is up to date needs no lock: a read-only database can be opened, too.
    if version(&mut connection, table).await? == MIGRATIONS.len() {
        return Ok(());
    }
    let result = upgrade(&mut connection, table).await;
    // When a disk is full, SQLite rolls back by itself, and sqlx loses count of its transactions.
    if result.as_ref().is_err_and(|error| error.kind() != StoreErrorKind::Corrupt) {
        connection.close_on_drop();
    }
    result
}

async fn upgrade(connection: &mut SqliteConnection, table: &str) -> Result<(), StoreError> {
    // The write lock from the start: whoever comes second finds the work done.
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(store_error)?;
    let version = version(&mut transaction, table).await?;
    if version == 0 && exists(&mut transaction, table).await? {
        return Err(foreign_table(table));
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS).skip(version) {
        let sql = migration.replace("api_keys", table);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(store_error)?;
        record_version(&mut transaction, table, number).await.map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)
}

/// How many migrations were made. More than this crate knows are an error.
async fn version(connection: &mut SqliteConnection, table: &str) -> Result<usize, StoreError> {
    if !exists(connection, &format!("{table}_schema")).await? {
        return Ok(0);
    }
    let sql = format!("SELECT coalesce(max(version), 0) FROM \"{table}_schema\"");
    let found = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(connection).await;
    schema::version(table, found.map_err(store_error)?, MIGRATIONS.len())
}

async fn record_version(
    connection: &mut SqliteConnection,
    table: &str,
    version: i64,
) -> sqlx::Result<()> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS \"{table}_schema\" \
         (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT"
    );
    sqlx::query(AssertSqlSafe(create)).execute(&mut *connection).await?;
    let insert = format!("INSERT INTO \"{table}_schema\" (version, applied_at) VALUES (?, ?)");
    sqlx::query(AssertSqlSafe(insert))
        .bind(version)
        .bind(SystemClock.now().as_unix_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the name is taken, by a table or by anything else.
async fn exists(connection: &mut SqliteConnection, name: &str) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE";
    let count = sqlx::query_scalar::<_, i64>(sql).bind(name).fetch_one(connection).await;
    Ok(count.map_err(store_error)? > 0)
}
