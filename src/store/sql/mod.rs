//! The common part of the SQL stores. Their statements differ, and stay with them.

mod balance;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod builder;
mod call;
mod dialect;
mod event;
mod filter;
mod find_many;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod heartbeat;
mod identity;
mod kept;
mod key_row;
mod known;
mod owner_lock;
pub(super) mod pooled_connection;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) mod remote;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod replicas;
mod repository;
mod requests;
pub(super) mod row;
pub(super) mod schema;
mod selected;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod standby;
mod statements;
mod store;
mod usage;
mod watermarks;

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) use self::builder::SqlStoreBuilder;
#[allow(unused_imports, reason = "every database uses its own part of this")]
pub(super) use self::{
    balance::BALANCE,
    call::{Call, Calls, Value},
    dialect::Dialect,
    event::EVENT,
    filter::Filters,
    key_row::Selected,
    owner_lock::OwnerLocks,
    pooled_connection::PooledConnection,
    repository::repository,
    requests::REQUEST,
    row::{CHANGING, columns},
    statements::{
        DEFAULT_TABLE, HeartbeatStatements, Inserts, KnownStatements, LockStatements,
        RequestStatements, Statements, WatermarkStatements, each, statement, table_name,
    },
    store::{SqlStore, lookups},
    watermarks::{ended_at, revoked_at},
};

#[cfg(test)]
pub(super) use self::filter::queries;
