//! What the SQL stores have in common. Their statements differ, and stay with them.

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) mod remote;
pub(super) mod row;
pub(super) mod schema;

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::ConfigError;

pub(super) const DEFAULT_TABLE: &str = "api_keys";

/// What a store says to its database, written once for its table.
///
/// Every statement is a transaction of its own: it happens wholly or not at all, a caller that
/// goes away leaves nothing open, and a writer never starts from a snapshot that is out of date.
pub(super) struct Statements {
    pub(super) table: Box<str>,
    pub(super) find: SqlStr,
    pub(super) get: SqlStr,
    pub(super) list: SqlStr,
    pub(super) list_of_owner: SqlStr,
    pub(super) insert: SqlStr,
    pub(super) update: SqlStr,
    pub(super) record_uses: SqlStr,
    pub(super) purge: SqlStr,
}

/// Shared, so that a call does not copy the text. Nothing but the checked table name is set into
/// it; values are bound.
pub(super) fn statement(sql: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}

/// A table name that can be set into statements: it cannot break out of its quotes, and names
/// made from it stay below the 63 bytes that PostgreSQL has for one.
pub(super) fn table_name(name: &str) -> Result<&str, ConfigError> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let other = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.len() <= 48 && name.starts_with(first) && name.chars().all(other);
    if good { Ok(name) } else { Err(ConfigError::TableName) }
}
