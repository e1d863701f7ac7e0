//! The statements of a store.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::filter::Filters;
use crate::error::ConfigError;

pub(in crate::store) const DEFAULT_TABLE: &str = "api_keys";

/// The statements of a store, written once for its table.
///
/// Each statement happens wholly or not at all; several that belong together are made one
/// transaction by [`SqlStore::apply`](super::SqlStore::apply).
pub(in crate::store) struct Statements {
    pub(in crate::store) table: Box<str>,
    pub(in crate::store) find: SqlStr,
    /// The same, of many digests.
    pub(in crate::store) find_many: SqlStr,
    /// By which replicas are asked; none in a database that has no replicas.
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code))]
    pub(in crate::store) heartbeat: Option<HeartbeatStatements>,
    pub(in crate::store) get: SqlStr,
    /// Those of many keys that are there, for a transaction that changes them.
    pub(in crate::store) get_many: SqlStr,
    pub(in crate::store) known: KnownStatements,
    pub(in crate::store) insert: Inserts,
    /// Replaces a key that has a revision; and, unless the last value is true, that no watermark covers.
    pub(in crate::store) update: SqlStr,
    pub(in crate::store) owner_locks: LockStatements,
    pub(in crate::store) record_uses: SqlStr,
    pub(in crate::store) insert_event: Inserts,
    /// Adds balances. Where a lineage has one already, it must not count as one row written.
    pub(in crate::store) insert_balance: Inserts,
    /// Writes nothing before the time in its last value, by the server's clock.
    pub(in crate::store) update_balance: SqlStr,
    /// Reads balances, and the time by the server's clock: in a row without a balance, if there is
    /// none.
    pub(in crate::store) balances: SqlStr,
    /// Removes the balances of lineages that have no key.
    pub(in crate::store) purge_balances: SqlStr,
    pub(in crate::store) requests: RequestStatements,
    pub(in crate::store) watermarks: WatermarkStatements,
    pub(in crate::store) record_usage: SqlStr,
    pub(in crate::store) forget_usage: SqlStr,
    /// From which lists of keys and of events are made, sums of usage, and purges.
    pub(in crate::store) filters: Filters,
}

/// About the beat that a replica shows, by which it proves how far behind it is.
#[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code))]
pub(in crate::store) struct HeartbeatStatements {
    /// Reads the beat, the one before it, and how many milliseconds old it is by the server's clock.
    pub(in crate::store) read: SqlStr,
    /// Writes a beat in place of the one that was read.
    pub(in crate::store) write: SqlStr,
    /// Finds many keys. Behind the columns of a key, each row has the beat and the one before it: of the
    /// state from which the key is. There is a row without a key where none is found.
    pub(in crate::store) find_many: SqlStr,
}

/// About the digests of all keys.
pub(in crate::store) struct KnownStatements {
    /// How many keys there are: an estimate, where to count takes long.
    pub(in crate::store) count: SqlStr,
    /// Digests of keys that are not deleted, after one of them.
    pub(in crate::store) page: SqlStr,
    /// Ids and digests of keys that are not deleted, after an id.
    pub(in crate::store) added: SqlStr,
}

/// The statements that take the [locks](super::OwnerLocks) of owners; none in a database that
/// lets only one transaction write at a time.
#[derive(Default)]
pub(in crate::store) struct LockStatements {
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code))]
    pub(in crate::store) shared: Option<SqlStr>,
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code))]
    pub(in crate::store) exclusive: Option<SqlStr>,
}

/// About requests that are done once.
pub(in crate::store) struct RequestStatements {
    /// Adds requests. One that its lineage has already must not count as one row written.
    pub(in crate::store) insert: Inserts,
    pub(in crate::store) find: SqlStr,
    /// Removes those from before a time that are older than so many milliseconds.
    pub(in crate::store) purge: SqlStr,
}

/// About keys that were revoked by the time of their creation.
pub(in crate::store) struct WatermarkStatements {
    /// Reads the time by the server's clock.
    pub(in crate::store) clock: SqlStr,
    /// Adds a watermark, unless it is there.
    pub(in crate::store) insert: SqlStr,
    /// Reads all of them.
    pub(in crate::store) current: SqlStr,
    pub(in crate::store) remove: SqlStr,
}

/// A statement that adds one row, and one that adds many.
pub(in crate::store) struct Inserts {
    pub(in crate::store) one: SqlStr,
    pub(in crate::store) many: SqlStr,
}

impl Inserts {
    /// How many rows are added by `many`: enough for the way to the database and back not to
    /// matter, few enough for its limits on the values and the size of a statement.
    pub(in crate::store) const MANY: usize = 50;

    /// From `INSERT INTO "table" (column, …) VALUES` and `(?, …)`.
    pub(in crate::store) fn new(
        into: &str,
        row: &str,
        statement: impl Fn(String) -> SqlStr,
    ) -> Self {
        Self::ending(into, row, "", statement)
    }

    /// The same, with what is to be done about rows that are there already.
    pub(in crate::store) fn ending(
        into: &str,
        row: &str,
        end: &str,
        statement: impl Fn(String) -> SqlStr,
    ) -> Self {
        let rows = vec![row; Self::MANY].join(", ");
        let statement = |rows: &str| statement(format!("{into} {rows}{end}"));
        Self { one: statement(row), many: statement(&rows) }
    }
}

/// Shared, so that a call does not copy the text. Nothing but the checked table name is set into
/// it; values are bound.
pub(in crate::store) fn statement(sql: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}

/// For each column, with commas in between.
pub(in crate::store) fn each<S: AsRef<str>>(
    columns: &[&'static str],
    part: impl Fn(&'static str) -> S,
) -> String {
    let parts: Vec<S> = columns.iter().copied().map(part).collect();
    parts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// A table name that can be set into statements: it cannot break out of its quotes, and names
/// made from it stay below the 63 bytes that PostgreSQL has for one.
pub(in crate::store) fn table_name(name: &str) -> Result<&str, ConfigError> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let other = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.len() <= 48 && name.starts_with(first) && name.chars().all(other);
    if good { Ok(name) } else { Err(ConfigError::TableName) }
}
