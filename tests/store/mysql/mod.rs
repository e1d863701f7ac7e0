//! MySQL and MariaDB: how the tests of [`remote`](crate::remote) reach them, and what is special
//! about them.

mod charset;
mod collations;
mod flushes;
mod interrupted;
mod read_only;

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, MySqlPool, Row, mysql::MySqlPoolOptions};
use tower_api_key::{
    ConfigError,
    store::{MySqlStore, StoreError},
};

use crate::{
    remote::{Remote, Session},
    servers::{Database, Server},
};

/// A store in a database of its own.
pub(crate) async fn open() -> Option<(MySqlStore, Database)> {
    let database = Database::new(Server::MySql).await?;
    Some((MySqlStore::connect(database.url()).await.unwrap(), database))
}

pub(crate) struct MySql;

impl Remote for MySql {
    const SERVER: Server = Server::MySql;

    type Store = MySqlStore;
    type Session = MySqlConnection;

    async fn connect(url: &str) -> Result<MySqlStore, StoreError> {
        MySqlStore::connect(url).await
    }

    async fn from_pool(url: &str) -> MySqlStore {
        MySqlStore::from_pool(MySqlPool::connect(url).await.unwrap())
    }

    async fn exhausted(url: &str) -> (MySqlStore, Box<dyn Send>) {
        let pool =
            MySqlPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_millis(50));
        let pool = pool.connect(url).await.unwrap();
        let taken = pool.acquire().await.unwrap();
        (MySqlStore::from_pool(pool), Box::new(taken))
    }

    fn with_table(store: MySqlStore, name: &str) -> Result<MySqlStore, ConfigError> {
        store.with_table(name)
    }

    async fn migrate(store: &MySqlStore) -> Result<(), StoreError> {
        store.migrate().await
    }

    async fn close(store: &MySqlStore) {
        store.close().await;
    }

    async fn session(url: &str) -> MySqlConnection {
        MySqlConnection::connect(url).await.unwrap()
    }

    const SCHEMA: &str = "
        SELECT concat_ws(' ', c.table_name, t.create_time, c.column_name, c.column_type,
            c.collation_name, c.column_key)
        FROM information_schema.columns c JOIN information_schema.tables t
            ON t.table_schema = c.table_schema AND t.table_name = c.table_name
        WHERE c.table_schema = database() ORDER BY c.table_name, c.ordinal_position";
    const KILL: &str = "
        SELECT concat('KILL ', id) FROM information_schema.processlist
        WHERE db = database() AND id <> connection_id()";
    const LOCK: &str = "LOCK TABLES api_keys WRITE";
    // The table is a copy that is made anew when nobody has looked for a tenth of a second.
    const WAITING: &str = "
        SELECT count(*) + sleep(0.2) FROM information_schema.innodb_trx t
        JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
        WHERE t.trx_state = 'LOCK WAIT' AND p.db = database()";
    const UNIQUE_NAMES: &str = "CREATE UNIQUE INDEX names ON api_keys (name(100))";
    const FOREIGN_ROW: &str = "
        INSERT INTO api_keys (id, digest, name, created_at, updated_at)
        VALUES (x'{id}', x'{digest}', 'partner', 0, 0)";
    const NO_TABLE: &str = "api_keys' doesn't exist";
    const FIRST_VERSION: &str = include_str!("../../../src/store/mysql/1_keys.sql");
    const SECOND_VERSION: &str = include_str!("../../../src/store/mysql/2_management.sql");
    const READABLE: &str = include_str!("../../../src/store/mysql/readable.sql");

    fn id(hex: &str) -> String {
        format!("x'{hex}'")
    }
}

impl Session for MySqlConnection {
    async fn run(&mut self, sql: &str) -> Result<(), String> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    async fn rows(&mut self, sql: &str) -> Vec<String> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self).await.unwrap();
        rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect()
    }
}

remote!(as_every_remote_store, super::MySql);
