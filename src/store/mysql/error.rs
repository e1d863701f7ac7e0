//! What the errors of MySQL and MariaDB mean.

use sqlx::{
    error::{DatabaseError, ErrorKind},
    mysql::MySqlDatabaseError,
};

use crate::store::{
    StoreError, StoreErrorKind,
    sql::{remote::Said, row},
};

fn database_error(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The number of the error, if it is the server's.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    database_error(error).map(MySqlDatabaseError::number)
}

// https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
const CHECKREAD: u16 = 1020;
const BAD_FIELD_ERROR: u16 = 1054;
pub(super) const DUP_FIELDNAME: u16 = 1060;
pub(super) const NO_SUCH_TABLE: u16 = 1146;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const LOCK_DEADLOCK: u16 = 1213;
const QUERY_INTERRUPTED: u16 = 1317;
const QUERY_TIMEOUT: u16 = 3024;
/// <https://mariadb.com/kb/en/e1969/>
const STATEMENT_TIMEOUT: u16 = 1969;

/// The server gave this transaction up in favour of another.
pub(super) fn collided(error: &sqlx::Error) -> bool {
    // The second is what MariaDB says with `innodb_snapshot_isolation`.
    matches!(number(error), Some(LOCK_DEADLOCK | CHECKREAD))
}

/// What an error means, without the parts of it that may quote rows.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let Some(database) = database_error(&error) else { return row::store_error(error) };
    let kind = match database.number() {
        LOCK_WAIT_TIMEOUT | QUERY_INTERRUPTED | QUERY_TIMEOUT | STATEMENT_TIMEOUT => {
            StoreErrorKind::Timeout
        }
        // What a statement gets that does not fit the schema.
        BAD_FIELD_ERROR | NO_SUCH_TABLE => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Unavailable,
    };
    // The text about a duplicate quotes the digest.
    let message = match database.kind() {
        ErrorKind::UniqueViolation => "duplicate entry for a unique key",
        _ => database.message(),
    };
    let (code, message) = (database.number().to_string(), message.to_owned());
    StoreError::new(kind).with_source(Said { code, message })
}

/// What an error means that came of writing to `table`. Of the unique indexes that an application
/// may have added, ours alone tell of a duplicate.
pub(super) fn write_error(error: sqlx::Error, table: &str) -> StoreError {
    let duplicate =
        database_error(&error).filter(|database| database.kind() == ErrorKind::UniqueViolation);
    let Some(database) = duplicate else { return store_error(error) };
    // The message is of the server's language, and the name of the key the last it quotes:
    // `Duplicate entry '…' for key 'api_keys.api_keys_digest'`, without the table in MariaDB.
    let key = database.message().rsplit('\'').nth(1).unwrap_or_default();
    let key = key.rsplit('.').next().unwrap_or_default();
    let ours = key == "PRIMARY" || matches!(key.strip_prefix(table), Some("_digest" | "_request"));
    let error = store_error(error);
    if ours { error.with_kind(StoreErrorKind::Duplicate) } else { error }
}
