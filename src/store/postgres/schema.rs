//! The tables and how they come to be.
//!
//! The version is kept in a table beside the keys, `api_keys_schema`, and not where an
//! application's own migrations keep theirs (`_sqlx_migrations`).

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::error::store_error;
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
pub(super) async fn migrate(connection: &mut PgConnection, table: &str) -> Result<(), StoreError> {
    // A table that is up to date needs no lock, nor the right to change it.
    if version(connection, table).await? == MIGRATIONS.len() {
        return Ok(());
    }
    // What others did while this one waited for the lock has to be seen.
    let begun = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await;
    let mut transaction = begun.map_err(store_error)?;
    lock(&mut transaction, table).await.map_err(store_error)?;
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

/// Lets one node after the other pass, until it commits.
async fn lock(connection: &mut PgConnection, table: &str) -> sqlx::Result<()> {
    let sql = "SELECT pg_advisory_xact_lock( \
               hashtextextended('tower-api-key ' || current_schema() || '.' || $1, 0))";
    sqlx::query(sql).bind(table).execute(connection).await.map(drop)
}

/// How many migrations were made. More than this crate knows are an error.
async fn version(connection: &mut PgConnection, table: &str) -> Result<usize, StoreError> {
    if !exists(connection, &format!("{table}_schema")).await? {
        return Ok(0);
    }
    let sql = format!("SELECT coalesce(max(version), 0) FROM \"{table}_schema\"");
    let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await;
    schema::version(table, found.map_err(store_error)?, MIGRATIONS.len())
}

async fn record_version(
    connection: &mut PgConnection,
    table: &str,
    version: i64,
) -> sqlx::Result<()> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS \"{table}_schema\" \
         (version bigint NOT NULL PRIMARY KEY, applied_at bigint NOT NULL)"
    );
    // Sent as text, which answers with a notice if it is there, and that is nobody's concern.
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
    let insert = format!("INSERT INTO \"{table}_schema\" (version, applied_at) VALUES ($1, $2)");
    sqlx::query(AssertSqlSafe(insert))
        .bind(version)
        .bind(SystemClock.now().as_unix_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the name is taken where new tables go, by a table or by anything else.
async fn exists(connection: &mut PgConnection, name: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class \
               WHERE relname = $1 AND relnamespace = current_schema()::regnamespace)";
    let exists = sqlx::query_scalar(sql).bind(name).fetch_one(connection).await;
    exists.map_err(store_error)
}
