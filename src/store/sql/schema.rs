//! The tables and how they come to be.
//!
//! The version is kept in a table beside the keys, `api_keys_schema`, and not where an
//! application's own migrations keep theirs (`_sqlx_migrations`, `PRAGMA user_version`).

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::{call::Call, dialect::Dialect};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::StoreError,
};

/// The step from one version to the next.
pub(in crate::store) struct Migration {
    /// The table that it makes, if it makes one, is named after that of the keys, with this at the
    /// end.
    pub(in crate::store) makes: Option<&'static str>,
    /// Statements, with the default table name.
    pub(in crate::store) sql: &'static str,
}

impl Migration {
    pub(in crate::store) fn sql(&self, table: &str) -> String {
        self.sql.replace("api_keys", table)
    }
}

/// How a database keeps its schema.
pub(in crate::store) trait Schema: Dialect {
    /// The steps from each version to the next.
    const MIGRATIONS: &'static [Migration];

    /// Makes the table `api_keys_schema`, if it is not there. A row whose `applied_at` is empty is
    /// a migration that was begun.
    const BOOKKEEPING: &'static str;

    /// The quote around names.
    const QUOTE: char = '"';

    /// Lets one node after the other pass, until the end of its transaction or connection.
    fn lock(
        connection: &mut Self::Connection,
        table: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether the name is taken where new tables go, by a table or by anything else.
    fn exists(
        connection: &mut Self::Connection,
        name: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// Brings the tables up to date, in a transaction. Safe when several nodes do it at once.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(in crate::store) async fn migrate<DB: Schema>(
    connection: &mut DB::Connection,
    table: &str,
) -> Result<(), StoreError> {
    // A table that is up to date needs no lock, nor the right to change it.
    if version::<DB>(connection, table).await? == DB::MIGRATIONS.len() {
        return Ok(());
    }
    DB::run(connection, DB::BEGIN.to_owned()).await.map_err(DB::store_error)?;
    DB::lock(connection, table).await?;
    let version = version::<DB>(connection, table).await?;
    for (number, migration) in (1..).zip(DB::MIGRATIONS).skip(version) {
        refuse_foreign::<DB>(connection, table, migration).await?;
        DB::run(connection, migration.sql(table)).await.map_err(DB::store_error)?;
        let bookkeeping = DB::BOOKKEEPING.replace("api_keys", table);
        DB::run(connection, bookkeeping).await.map_err(DB::store_error)?;
        let record = bookkeeping_call::<DB>(
            "INSERT INTO api_keys_schema (version, applied_at) VALUES (?, ?)",
            table,
        );
        let record = record.with(number).with(now());
        DB::execute(connection, record).await.map_err(DB::store_error)?;
    }
    DB::run(connection, "COMMIT".to_owned()).await.map_err(DB::store_error)
}

/// A statement about `api_keys_schema`.
pub(in crate::store) fn bookkeeping_call<DB: Schema>(sql: &str, table: &str) -> Call<'static> {
    let name = format!("{quote}{table}_schema{quote}", quote = DB::QUOTE);
    let sql = DB::with_placeholders(sql.replace("api_keys_schema", &name));
    Call::new(&AssertSqlSafe(sql).into_sql_str())
}

pub(in crate::store) fn now() -> Timestamp {
    SystemClock.now()
}

/// How many migrations were made. More than this crate knows are an error: this program is older
/// than the table.
pub(in crate::store) async fn version<DB: Schema>(
    connection: &mut DB::Connection,
    table: &str,
) -> Result<usize, StoreError> {
    if !DB::exists(connection, &format!("{table}_schema")).await? {
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(version), 0) FROM api_keys_schema WHERE applied_at IS NOT NULL";
    let found = DB::fetch_number(connection, bookkeeping_call::<DB>(sql, table)).await;
    let (found, known) = (found.map_err(DB::store_error)?, DB::MIGRATIONS.len());
    let version = usize::try_from(found).ok().filter(|version| *version <= known);
    version.ok_or_else(|| {
        StoreError::corrupt(format!(
            "the table {table} has schema version {found}; this version of tower-api-key knows \
             versions up to {known}"
        ))
    })
}

/// Refuses to make a table whose name is taken, and not by us.
pub(in crate::store) async fn refuse_foreign<DB: Schema>(
    connection: &mut DB::Connection,
    table: &str,
    migration: &Migration,
) -> Result<(), StoreError> {
    let Some(makes) = migration.makes else { return Ok(()) };
    let name = format!("{table}{makes}");
    if !DB::exists(connection, &name).await? {
        return Ok(());
    }
    Err(StoreError::corrupt(format!(
        "there is a table {name} already that tower-api-key did not make; \
         give the store another table name"
    )))
}
