//! How MySQL keeps the schema.
//!
//! It cannot take back the making of a table. So a migration is written down before it is made,
//! without a time, and again when it is done: one that was interrupted is made again. Its
//! statements bear that, but for a last one that adds columns: MySQL does that wholly or not at
//! all, and a column that is there already says that it was done.

use sqlx::{MySql, MySqlConnection};

use super::dialect::{DUP_FIELDNAME, NO_SUCH_TABLE, number};
use crate::{
    error::StoreError,
    store::sql::{
        Call, Calls, Dialect,
        schema::{Migration, Schema, bookkeeping_call, now, refuse_foreign, version},
        statement,
    },
};

impl Schema for MySql {
    const MIGRATIONS: &'static [Migration] = &[
        Migration { makes: Some(""), sql: include_str!("1_keys.sql") },
        Migration { makes: Some("_events"), sql: include_str!("2_management.sql") },
        Migration { makes: Some("_credits"), sql: include_str!("3_credits.sql") },
        Migration { makes: Some("_usage"), sql: include_str!("4_usage.sql") },
        Migration { makes: None, sql: include_str!("5_owners.sql") },
        Migration { makes: Some("_requests"), sql: include_str!("6_requests.sql") },
        Migration { makes: None, sql: include_str!("7_needs.sql") },
        Migration { makes: Some("_heartbeat"), sql: include_str!("8_heartbeat.sql") },
        Migration { makes: Some("_watermarks"), sql: include_str!("9_watermarks.sql") },
    ];

    const BOOKKEEPING: &'static str = "CREATE TABLE IF NOT EXISTS `api_keys_schema` \
        (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT) ENGINE = InnoDB";

    const QUOTE: char = '`';

    /// These locks are the server's, not the database's, and their names have at most 64
    /// characters.
    async fn lock(connection: &mut MySqlConnection, table: &str) -> Result<(), StoreError> {
        let sql = "SELECT coalesce(get_lock( \
                   concat('tower-api-key ', sha1(concat(database(), '.', ?))), 60), 0)";
        let call = Call::new(&statement(sql.to_owned())).with(table);
        match Self::fetch_number(connection, call).await.map_err(Self::store_error)? {
            1 => Ok(()),
            _ => {
                Err(StoreError::timeout().with_source("another node does not finish its migration"))
            }
        }
    }

    /// Asks the server itself, which alone knows whether capitals matter to it.
    async fn exists(connection: &mut MySqlConnection, name: &str) -> Result<bool, StoreError> {
        match Self::run(connection, format!("SELECT 1 FROM `{name}` LIMIT 0")).await {
            Ok(()) => Ok(true),
            Err(error) if number(&error) == Some(NO_SUCH_TABLE) => Ok(false),
            Err(error) => Err(Self::store_error(error)),
        }
    }
}

/// Brings the tables up to date. Safe when several nodes do it at once.
///
/// The connection must be closed afterwards: it may still hold the lock.
pub(super) async fn migrate(
    connection: &mut MySqlConnection,
    table: &str,
) -> Result<(), StoreError> {
    refuse_other_charset(connection).await?;
    // A table that is up to date needs no lock, nor the right to change it.
    if version::<MySql>(connection, table).await? == MySql::MIGRATIONS.len() {
        return Ok(());
    }
    MySql::lock(connection, table).await?;
    let version = version::<MySql>(connection, table).await?;
    let missing = || (1..).zip(MySql::MIGRATIONS).skip(version);
    for (number, migration) in missing() {
        if !is_begun(connection, table, number).await? {
            refuse_foreign::<MySql>(connection, table, migration).await?;
        }
    }
    let bookkeeping = MySql::BOOKKEEPING.replace("api_keys", table);
    MySql::run(connection, bookkeeping).await.map_err(MySql::store_error)?;
    for (number, migration) in missing() {
        let begin = "INSERT IGNORE INTO api_keys_schema (version) VALUES (?)";
        let begin = bookkeeping_call::<MySql>(begin, table).with(number);
        MySql::execute(connection, begin).await.map_err(MySql::store_error)?;
        make(connection, &migration.sql(table)).await?;
        let finish = "UPDATE api_keys_schema SET applied_at = ? WHERE version = ?";
        let finish = bookkeeping_call::<MySql>(finish, table).with(now()).with(number);
        MySql::execute(connection, finish).await.map_err(MySql::store_error)?;
    }
    Ok(())
}

/// Refuses the pool of an application whose connections speak another character set than `utf8mb4`:
/// names in other scripts would be lost, or come back as something else.
async fn refuse_other_charset(connection: &mut MySqlConnection) -> Result<(), StoreError> {
    let sql = "SELECT CAST(@@character_set_client = 'utf8mb4' \
        AND @@character_set_connection = 'utf8mb4' AS SIGNED)";
    let call = Call::new(&statement(sql.to_owned()));
    if MySql::fetch_number(connection, call).await.map_err(MySql::store_error)? == 1 {
        return Ok(());
    }
    let text = "the pool's connections have another character set than utf8mb4";
    Err(StoreError::unavailable(text))
}

async fn make(connection: &mut MySqlConnection, sql: &str) -> Result<(), StoreError> {
    match MySql::run(connection, sql.to_owned()).await {
        Err(error) if self::number(&error) == Some(DUP_FIELDNAME) => Ok(()),
        result => result.map_err(MySql::store_error),
    }
}

/// Whether a migration was interrupted.
async fn is_begun(
    connection: &mut MySqlConnection,
    table: &str,
    number: i64,
) -> Result<bool, StoreError> {
    if !MySql::exists(connection, &format!("{table}_schema")).await? {
        return Ok(false);
    }
    let sql = "SELECT count(*) FROM api_keys_schema WHERE version = ?";
    let call = bookkeeping_call::<MySql>(sql, table).with(number);
    Ok(MySql::fetch_number(connection, call).await.map_err(MySql::store_error)? > 0)
}
