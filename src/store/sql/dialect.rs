//! [`Dialect`]: how databases differ.

use std::time::Duration;

use sqlx::pool::PoolConnection;

use super::{
    call::Calls,
    owner_lock::OwnerLocks,
    statements::{LockStatements, Statements},
};
use crate::{error::StoreError, key::OwnerId};

/// How a database differs from the others.
pub(in crate::store) trait Dialect: Calls {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    /// How long a statement may take that reads or writes by an index, if there is a limit.
    const ANSWER: Option<Duration>;

    /// The same for sums of usage, which may read the hours of a month of thousands of keys.
    const SUM: Option<Duration> = match Self::ANSWER {
        Some(limit) => Some(limit.saturating_mul(6)),
        None => None,
    };

    /// Whether a text may have the character NUL in it. Where it may not, asking for one is an
    /// error.
    const HOLDS_NUL: bool = true;

    /// The statements for a table with this name, which was checked.
    fn statements(table: &str) -> Statements;

    /// Replaces the question marks that stand for values, where the database has something else.
    fn with_placeholders(sql: String) -> String {
        sql
    }

    /// Brings the tables up to date. Unless it is `Ok`, the connection may be left with an open
    /// transaction.
    fn migrate(
        connection: &mut Self::Connection,
        table: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How many rows were written.
    fn affected(done: &Self::QueryResult) -> u64;

    /// The meaning of an error to the caller of a store.
    fn store_error(error: sqlx::Error) -> StoreError;

    /// The meaning of an error of writing a key to `table`. Of the unique indexes that an
    /// application may have added, ours alone tell of a duplicate.
    fn write_error(error: sqlx::Error, table: &str) -> StoreError;

    /// Whether the database gave this transaction up in favour of another: it has written nothing
    /// and may be tried again.
    fn collided(error: &sqlx::Error) -> bool {
        let _ = error;
        false
    }

    /// Whether there is room for an owner.
    fn check(owner: Option<&OwnerId>) -> Result<(), StoreError> {
        let _ = owner;
        Ok(())
    }

    /// How many [locks](OwnerLocks) owners share.
    const OWNER_LOCKS: u32;

    /// Takes locks until the end of the transaction.
    fn lock_owners(
        connection: &mut Self::Connection,
        statements: &LockStatements,
        locks: &OwnerLocks,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Gives a connection back to its pool when its user is done, or has gone away. An open
    /// transaction must come to nothing.
    fn give_back(connection: PoolConnection<Self>, is_open: bool);
}
