//! How SQLite keeps the schema.

use sqlx::{Sqlite, SqliteConnection};

use super::store_error;
use crate::{
    error::StoreError,
    store::sql::{
        Call, Calls,
        schema::{Migration, Schema},
        statement,
    },
};

impl Schema for Sqlite {
    const MIGRATIONS: &'static [Migration] = &[
        Migration { makes: Some(""), sql: include_str!("1_keys.sql") },
        Migration { makes: Some("_events"), sql: include_str!("2_management.sql") },
        Migration { makes: Some("_credits"), sql: include_str!("3_credits.sql") },
        Migration { makes: Some("_usage"), sql: include_str!("4_usage.sql") },
        Migration { makes: None, sql: include_str!("5_owners.sql") },
        Migration { makes: Some("_requests"), sql: include_str!("6_requests.sql") },
        Migration { makes: None, sql: include_str!("7_needs.sql") },
        Migration { makes: Some("_watermarks"), sql: include_str!("8_watermarks.sql") },
    ];

    const BOOKKEEPING: &'static str = "CREATE TABLE IF NOT EXISTS \"api_keys_schema\" \
        (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT";

    /// The transaction has the only lock on writing from its start.
    async fn lock(_: &mut SqliteConnection, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn exists(connection: &mut SqliteConnection, name: &str) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE";
        let call = Call::new(&statement(sql.to_owned())).with(name);
        Ok(Self::fetch_number(connection, call).await.map_err(store_error)? > 0)
    }
}
