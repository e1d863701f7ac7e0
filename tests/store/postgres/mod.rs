//! PostgreSQL: how the tests of [`remote`](crate::remote) reach it, and what is special about it.

mod pooler;
mod settings;
mod standby;

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row, postgres::PgPoolOptions};
use tower_api_key::{
    ConfigError,
    store::{PostgresStore, StoreError},
};

use crate::{
    remote::{Remote, Session},
    servers::{Database, Server},
};

/// A store in a database of its own.
pub(crate) async fn open() -> Option<(PostgresStore, Database)> {
    let database = Database::new(Server::Postgres).await?;
    Some((PostgresStore::connect(database.url()).await.unwrap(), database))
}

pub(crate) struct Postgres;

impl Remote for Postgres {
    const SERVER: Server = Server::Postgres;

    type Store = PostgresStore;
    type Session = PgConnection;

    async fn connect(url: &str) -> Result<PostgresStore, StoreError> {
        PostgresStore::connect(url).await
    }

    async fn from_pool(url: &str) -> PostgresStore {
        PostgresStore::from_pool(PgPool::connect(url).await.unwrap())
    }

    async fn exhausted(url: &str) -> (PostgresStore, Box<dyn Send>) {
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_millis(50));
        let pool = pool.connect(url).await.unwrap();
        let taken = pool.acquire().await.unwrap();
        (PostgresStore::from_pool(pool), Box::new(taken))
    }

    fn with_table(store: PostgresStore, name: &str) -> Result<PostgresStore, ConfigError> {
        store.with_table(name)
    }

    async fn migrate(store: &PostgresStore) -> Result<(), StoreError> {
        store.migrate().await
    }

    async fn close(store: &PostgresStore) {
        store.close().await;
    }

    async fn session(url: &str) -> PgConnection {
        PgConnection::connect(url).await.unwrap()
    }

    const SCHEMA: &str = "
        SELECT concat_ws(' ', c.relname, c.oid, c.relkind, a.attname, a.atttypid::regtype)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname, a.attnum";
    const KILL: &str = "
        SELECT format('SELECT pg_terminate_backend(%s)', pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    const LOCK: &str = "BEGIN; LOCK TABLE api_keys";
    const WAITING: &str = "
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    const UNIQUE_NAMES: &str = "CREATE UNIQUE INDEX names ON api_keys (name)";
    const FOREIGN_ROW: &str = "
        INSERT INTO api_keys (id, digest, name, created_at, updated_at)
        VALUES ('{id}', '\\x{digest}', 'partner', 0, 0)";
    const NO_TABLE: &str = "relation \"api_keys\" does not exist";
    const FIRST_VERSION: &str = include_str!("../../../src/store/postgres/1_keys.sql");
    const SECOND_VERSION: &str = include_str!("../../../src/store/postgres/2_management.sql");
    const READABLE: &str = include_str!("../../../src/store/postgres/readable.sql");

    fn id(hex: &str) -> String {
        format!("'{hex}'")
    }
}

impl Session for PgConnection {
    async fn run(&mut self, sql: &str) -> Result<(), String> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn rows(&mut self, sql: &str) -> Vec<String> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self).await.unwrap();
        rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect()
    }
}

remote!(as_every_remote_store, super::Postgres);
