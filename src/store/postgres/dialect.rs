//! How PostgreSQL differs from other databases, and what errors mean.

use std::time::Duration;

use sqlx::{
    PgConnection, Postgres,
    pool::PoolConnection,
    postgres::{PgDatabaseError, PgQueryResult},
};

use super::statements;
use crate::{
    error::{ConfigError, StoreError, StoreErrorKind},
    store::{
        connect::StoreKind,
        sql::{
            Call, Calls, Dialect, LockStatements, OwnerLocks, Statements, Value,
            pooled_connection::answer,
            remote::{self, ANSWER, Said, Server},
            row, schema,
        },
    },
    url,
};

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const INVALID_TEXT_REPRESENTATION: &str = "22P02";
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK_DETECTED: &str = "40P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
const INVALID_SQL_STATEMENT_NAME: &str = "26000";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";

/// A statement was prepared on one connection and run on another, or the connection has those of
/// another client.
const POOLED: &str = "there is a pooler in between that gives out connections by transaction, such \
    as PgBouncer, and prepared statements do not last: use its session mode, connect to the server \
    itself, or set `max_prepared_statements` in PgBouncer 1.21 or later, which carries no \
    notifications to caches all the same";

impl Dialect for Postgres {
    // Every statement sees the latest rows, so that an update that came too late is stale. With
    // more, it would be an error, and be tried again.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";

    const ANSWER: Option<Duration> = Some(ANSWER);

    const HOLDS_NUL: bool = false;

    fn statements(table: &str) -> Statements {
        statements::statements(table)
    }

    fn with_placeholders(sql: String) -> String {
        statements::numbered(&sql)
    }

    async fn migrate(connection: &mut PgConnection, table: &str) -> Result<(), StoreError> {
        schema::migrate::<Self>(connection, table).await
    }

    fn affected(done: &PgQueryResult) -> u64 {
        done.rows_affected()
    }

    fn store_error(error: sqlx::Error) -> StoreError {
        let Some(database) = database_error(&error) else { return row::store_error(error) };
        let kind = match database.code() {
            LOCK_NOT_AVAILABLE | QUERY_CANCELED => StoreErrorKind::Timeout,
            // Scopes that are not JSON.
            INVALID_TEXT_REPRESENTATION => StoreErrorKind::Corrupt,
            INSUFFICIENT_PRIVILEGE => StoreErrorKind::Unavailable,
            DUPLICATE_PREPARED_STATEMENT | INVALID_SQL_STATEMENT_NAME => {
                let (code, message) = (database.code(), database.message());
                return StoreError::unavailable(format!("{POOLED}: {message} ({code})"));
            }
            // A statement that does not fit the schema gets these.
            code if code.starts_with("42") => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Unavailable,
        };
        let (code, message) = (database.code().to_owned(), database.message().to_owned());
        StoreError::new(kind).with_source(Said { code, message })
    }

    fn write_error(error: sqlx::Error, table: &str) -> StoreError {
        let violated = database_error(&error).and_then(PgDatabaseError::constraint);
        match violated.and_then(|name| name.strip_prefix(table)) {
            Some("_id" | "_digest" | "_request") => {
                Self::store_error(error).with_kind(StoreErrorKind::Duplicate)
            }
            _ => Self::store_error(error),
        }
    }

    fn collided(error: &sqlx::Error) -> bool {
        let code = database_error(error).map(PgDatabaseError::code);
        matches!(code, Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
    }

    /// Enough for owners to wait for each other rarely, and few enough for one transaction to take
    /// all of them.
    const OWNER_LOCKS: u32 = 64;

    async fn lock_owners(
        connection: &mut PgConnection,
        statements: &LockStatements,
        locks: &OwnerLocks,
    ) -> sqlx::Result<()> {
        let OwnerLocks { numbers, exclusive } = locks;
        let lock = if *exclusive { &statements.exclusive } else { &statements.shared };
        let Some(lock) = lock else { return Ok(()) };
        let call = Call::new(lock).with_all([Value::Made(row::json(numbers))]);
        answer::<Self, _>(Self::execute(connection, call)).await.map(drop)
    }

    fn give_back(connection: PoolConnection<Self>, is_open: bool) {
        remote::give_back(connection, is_open);
    }
}

impl Server for Postgres {
    /// A caller who gives up leaves a statement behind that waits for its lock. A server that ends it
    /// keeps connections from piling up behind an `ALTER TABLE`.
    ///
    /// A statement that sees the latest rows collides with no other. Nothing here needs more:
    /// updates compare the revision themselves.
    const SESSION: &'static str = "SET lock_timeout = '5s'; \
        SET default_transaction_isolation = 'read committed'";

    const READ_ONLY: &'static str = "SET default_transaction_read_only = on";

    const KIND: StoreKind = StoreKind::Postgres;

    const URL: &'static str =
        "a URL like `postgres://user:password@host/database`, of the primary and of each replica";

    const IS_STANDBY: &'static str = "SELECT pg_is_in_recovery()::int::bigint";

    fn url(url: &str) -> Result<String, ConfigError> {
        url::postgres(url)
    }
}
