//! How MySQL and MariaDB differ from other databases, and what errors mean.

use std::time::Duration;

use super::{schema, statements};
use crate::{
    error::{ConfigError, StoreError, StoreErrorKind},
    key::OwnerId,
    store::{
        connect::StoreKind,
        sql::{
            Call, Calls, Dialect, LockStatements, OwnerLocks, Statements,
            pooled_connection::answer,
            remote::{self, ANSWER, Said, Server},
            row,
        },
    },
    url,
};
use sqlx::{
    MySql, MySqlConnection,
    error::{DatabaseError, ErrorKind},
    mysql::{MySqlDatabaseError, MySqlQueryResult},
    pool::PoolConnection,
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

impl Dialect for MySql {
    const BEGIN: &'static str = "BEGIN";

    const ANSWER: Option<Duration> = Some(ANSWER);

    fn statements(table: &str) -> Statements {
        statements::statements(table)
    }

    async fn migrate(connection: &mut MySqlConnection, table: &str) -> Result<(), StoreError> {
        schema::migrate(connection, table).await
    }

    fn affected(done: &MySqlQueryResult) -> u64 {
        done.rows_affected()
    }

    fn store_error(error: sqlx::Error) -> StoreError {
        let Some(database) = database_error(&error) else { return row::store_error(error) };
        let kind = match database.number() {
            LOCK_WAIT_TIMEOUT | QUERY_INTERRUPTED | QUERY_TIMEOUT | STATEMENT_TIMEOUT => {
                StoreErrorKind::Timeout
            }
            // A statement that does not fit the schema gets these.
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

    fn write_error(error: sqlx::Error, table: &str) -> StoreError {
        let duplicate =
            database_error(&error).filter(|database| database.kind() == ErrorKind::UniqueViolation);
        let Some(database) = duplicate else { return Self::store_error(error) };
        // The message is of the server's language, and the name of the key the last it quotes:
        // `Duplicate entry '…' for key 'api_keys.api_keys_digest'`, without the table in MariaDB.
        let key = database.message().rsplit('\'').nth(1).unwrap_or_default();
        let key = key.rsplit('.').next().unwrap_or_default();
        let ours =
            key == "PRIMARY" || matches!(key.strip_prefix(table), Some("_digest" | "_request"));
        let error = Self::store_error(error);
        if ours { error.with_kind(StoreErrorKind::Duplicate) } else { error }
    }

    fn collided(error: &sqlx::Error) -> bool {
        // The second is what MariaDB says with `innodb_snapshot_isolation`.
        matches!(number(error), Some(LOCK_DEADLOCK | CHECKREAD))
    }

    /// A server that is not in strict mode would cut off the rest, and give the key to another
    /// owner.
    fn check(owner: Option<&OwnerId>) -> Result<(), StoreError> {
        let length = owner.map_or(0, |owner| owner.as_str().chars().count());
        if length <= 255 {
            return Ok(());
        }
        Err(StoreError::unavailable(format!(
            "the owner has {length} characters, and 255 have room"
        )))
    }

    const OWNER_LOCKS: u32 = 4;

    async fn lock_owners(
        connection: &mut MySqlConnection,
        statements: &LockStatements,
        locks: &OwnerLocks,
    ) -> sqlx::Result<()> {
        let OwnerLocks { numbers, exclusive } = locks;
        let lock = if *exclusive { &statements.exclusive } else { &statements.shared };
        let Some(lock) = lock else { return Ok(()) };
        for number in numbers {
            let call = Call::new(lock).with(i64::from(*number));
            let row = answer::<Self, _>(Self::fetch_optional(connection, call)).await?;
            // A row that is not there locks nothing.
            row.ok_or(sqlx::Error::RowNotFound)?;
        }
        Ok(())
    }

    fn give_back(connection: PoolConnection<Self>, is_open: bool) {
        remote::give_back(connection, is_open);
    }
}

impl Server for MySql {
    /// A caller who gives up leaves a statement behind that waits for its lock. A server that ends it
    /// keeps connections from piling up behind an `ALTER TABLE`.
    const SESSION: &'static str = "SET innodb_lock_wait_timeout = 5, lock_wait_timeout = 5";

    /// A statement sees one state of all tables, whatever the default of the server is.
    const READ_ONLY: &'static str =
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY";

    const KIND: StoreKind = StoreKind::MySql;

    const URL: &'static str =
        "a URL like `mysql://user:password@host/database`, of the primary and of each replica";

    /// A replica is read-only, as is a primary in maintenance, where nothing can be revoked. Amazon's
    /// Aurora sets `innodb_read_only` on its readers. As text, since MariaDB 12 has words for it.
    const IS_STANDBY: &'static str = "SELECT CAST(CAST(@@GLOBAL.read_only AS CHAR) NOT IN ('0', 'OFF') \
        OR CAST(@@GLOBAL.innodb_read_only AS CHAR) NOT IN ('0', 'OFF') AS SIGNED)";

    fn url(url: &str) -> Result<String, ConfigError> {
        url::mysql(url)
    }
}
