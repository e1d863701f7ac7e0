//! What the errors of PostgreSQL mean.

use sqlx::postgres::PgDatabaseError;

use crate::store::{
    StoreError, StoreErrorKind,
    sql::{remote::Said, row},
};

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK_DETECTED: &str = "40P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";

/// The server gave this transaction up in favour of another.
pub(super) fn collided(error: &sqlx::Error) -> bool {
    let code = database_error(error).map(PgDatabaseError::code);
    matches!(code, Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
}

/// What an error means, without the parts of it that may quote rows.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let Some(database) = database_error(&error) else { return row::store_error(error) };
    let kind = match database.code() {
        LOCK_NOT_AVAILABLE | QUERY_CANCELED => StoreErrorKind::Timeout,
        INSUFFICIENT_PRIVILEGE => StoreErrorKind::Unavailable,
        // What a statement gets that does not fit the schema.
        code if code.starts_with("42") => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    };
    let (code, message) = (database.code().to_owned(), database.message().to_owned());
    StoreError::new(kind).with_source(Said { code, message })
}

/// What an error means that came of writing to `table`. Of the unique indexes that an application
/// may have added, ours alone tell of a duplicate.
pub(super) fn write_error(error: sqlx::Error, table: &str) -> StoreError {
    let violated = database_error(&error).and_then(PgDatabaseError::constraint);
    match violated.and_then(|name| name.strip_prefix(table)) {
        Some("_id" | "_digest" | "_request") => {
            store_error(error).with_kind(StoreErrorKind::Duplicate)
        }
        _ => store_error(error),
    }
}
