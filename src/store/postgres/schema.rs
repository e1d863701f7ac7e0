//! How PostgreSQL keeps the schema.

use sqlx::{PgConnection, Postgres};

use crate::{
    error::StoreError,
    store::sql::{
        Call, Calls, Dialect,
        schema::{Migration, Schema},
        statement,
    },
};

impl Schema for Postgres {
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

    const BOOKKEEPING: &'static str = "CREATE TABLE IF NOT EXISTS \"api_keys_schema\" \
        (version bigint NOT NULL PRIMARY KEY, applied_at bigint NOT NULL)";

    async fn lock(connection: &mut PgConnection, table: &str) -> Result<(), StoreError> {
        let sql = "SELECT pg_advisory_xact_lock( \
                   hashtextextended('tower-api-key ' || current_schema() || '.' || $1, 0))";
        let call = Call::new(&statement(sql.to_owned())).with(table);
        Self::execute(connection, call).await.map(drop).map_err(Self::store_error)
    }

    async fn exists(connection: &mut PgConnection, name: &str) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM pg_catalog.pg_class \
                   WHERE relname = $1 AND relnamespace = current_schema()::regnamespace";
        let call = Call::new(&statement(sql.to_owned())).with(name);
        Ok(Self::fetch_number(connection, call).await.map_err(Self::store_error)? > 0)
    }
}
