//! The tables and how they come to be.
//!
//! The version is kept in a table beside the keys, `api_keys_schema`, and not where an
//! application's own migrations keep theirs (`_sqlx_migrations`).
//!
//! MySQL cannot take back the making of a table. So a migration is written down before it is made,
//! without a time, and again when it is done: one that was interrupted is made again.

use sqlx::{AssertSqlSafe, MySqlConnection};

use super::error::{NO_SUCH_TABLE, number, store_error};
use crate::{
    Clock, SystemClock,
    store::{
        StoreError,
        sql::schema::{self, foreign_table},
    },
};

/// What leads from one version to the next, with the default table name.
const MIGRATIONS: [&str; 1] = [include_str!("1_keys.sql")];

/// Brings the tables up to date. Safe when several nodes do it at once.
///
/// The connection must be closed afterwards: it may still hold the lock.
pub(super) async fn migrate(
    connection: &mut MySqlConnection,
    table: &str,
) -> Result<(), StoreError> {
    // A table that is up to date needs no lock, nor the right to change it.
    if version(connection, table).await? == Some(MIGRATIONS.len()) {
        return Ok(());
    }
    lock(connection, table).await?;
    let version = version(connection, table).await?;
    let ours = version.is_some_and(|version| version > 0) || is_begun(connection, table).await?;
    if !ours && exists(connection, table).await? {
        return Err(foreign_table(table));
    }
    create_bookkeeping(connection, table).await.map_err(store_error)?;
    for (number, migration) in (1_i64..).zip(MIGRATIONS).skip(version.unwrap_or(0)) {
        begin(connection, table, number).await.map_err(store_error)?;
        let sql = migration.replace("api_keys", table);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(store_error)?;
        finish(connection, table, number).await.map_err(store_error)?;
    }
    Ok(())
}

/// Lets one node after the other pass, until its connection ends. These locks are the server's, not
/// the database's, and their names have at most 64 characters.
async fn lock(connection: &mut MySqlConnection, table: &str) -> Result<(), StoreError> {
    let sql = "SELECT get_lock(concat('tower-api-key ', sha1(concat(database(), '.', ?))), 60)";
    let locked = sqlx::query_scalar::<_, Option<i64>>(sql).bind(table).fetch_one(connection).await;
    match locked.map_err(store_error)? {
        Some(1) => Ok(()),
        _ => Err(StoreError::timeout().with_source("another node does not finish its migration")),
    }
}

/// How many migrations were made. More than this crate knows are an error. `None` when there is
/// no bookkeeping.
async fn version(
    connection: &mut MySqlConnection,
    table: &str,
) -> Result<Option<usize>, StoreError> {
    if !exists(connection, &format!("{table}_schema")).await? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT coalesce(max(version), 0) FROM `{table}_schema` WHERE applied_at IS NOT NULL"
    );
    let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await;
    schema::version(table, found.map_err(store_error)?, MIGRATIONS.len()).map(Some)
}

async fn create_bookkeeping(connection: &mut MySqlConnection, table: &str) -> sqlx::Result<()> {
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS `{table}_schema` \
         (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT) ENGINE = InnoDB"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// Whether a migration was interrupted.
async fn is_begun(connection: &mut MySqlConnection, table: &str) -> Result<bool, StoreError> {
    if !exists(connection, &format!("{table}_schema")).await? {
        return Ok(false);
    }
    let sql = format!("SELECT count(*) > 0 FROM `{table}_schema` WHERE applied_at IS NULL");
    let begun = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await;
    begun.map_err(store_error)
}

async fn begin(connection: &mut MySqlConnection, table: &str, version: i64) -> sqlx::Result<()> {
    let sql = format!("INSERT IGNORE INTO `{table}_schema` (version) VALUES (?)");
    sqlx::query(AssertSqlSafe(sql)).bind(version).execute(connection).await.map(drop)
}

async fn finish(connection: &mut MySqlConnection, table: &str, version: i64) -> sqlx::Result<()> {
    let sql = format!("UPDATE `{table}_schema` SET applied_at = ? WHERE version = ?");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(SystemClock.now().as_unix_millis());
    query.bind(version).execute(connection).await.map(drop)
}

/// Whether the name is taken, by a table or a view: to the server itself, which alone knows
/// whether capitals matter to it.
async fn exists(connection: &mut MySqlConnection, name: &str) -> Result<bool, StoreError> {
    let sql = AssertSqlSafe(format!("SELECT 1 FROM `{name}` LIMIT 0"));
    match sqlx::raw_sql(sql).execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if number(&error) == Some(NO_SUCH_TABLE) => Ok(false),
        Err(error) => Err(store_error(error)),
    }
}
