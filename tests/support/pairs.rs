//! Servers of a test's own that copy one another: the copy applies each change two seconds late.

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use crate::{own::OwnServer, servers::Server};

/// Of a server that may become the primary. MariaDB acknowledges what a replica has received once it is told
/// to, whatever time that takes.
const LOGS: [&str; 5] = [
    "--log-bin=changes",
    "--binlog-format=ROW",
    "--log-slave-updates=ON",
    "--loose-rpl-semi-sync-master-wait-point=AFTER_SYNC",
    "--loose-rpl-semi-sync-master-timeout=600000",
];

/// A server that others can copy.
pub(crate) fn primary(server: Server) -> OwnServer {
    let options: &[&str] = match server {
        // Or a second base backup has it drop changes that a slow first replica has not received.
        Server::Postgres => &["-c", "wal_keep_size=1GB"],
        Server::MySql => &[&["--server-id=1"], &LOGS[..]].concat(),
        Server::Redis => panic!("a copy of Redis is not late"),
    };
    let primary = OwnServer::start_with(server, options);
    primary.unwrap_or_else(|| panic!("the programs of {server:?} must be installed"))
}

/// A copy of it.
pub(crate) async fn replica(primary: &OwnServer) -> OwnServer {
    if primary.server() == Server::Postgres {
        let often = ["-c", "wal_keep_size=1GB", "-c", "wal_retrieve_retry_interval=500ms"];
        return primary
            .start_standby(&[&["-c", "recovery_min_apply_delay=2s"], &often[..]].concat());
    }
    let id = format!("--server-id={}", primary.port() + next_number());
    let options = [&[&id, "--read-only=1", "--relay-log=relayed"], &LOGS[..]].concat();
    let replica = OwnServer::start_with(Server::MySql, &options).unwrap();
    let mut session = MySqlConnection::connect(&replica.url()).await.unwrap();
    let port = primary.port();
    let copy = if is_maria_db(&mut session).await {
        format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
             MASTER_USER = 'root', MASTER_DELAY = 2, MASTER_CONNECT_RETRY = 1, \
             MASTER_USE_GTID = slave_pos"
        )
    } else {
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
             SOURCE_USER = 'root', SOURCE_DELAY = 2, SOURCE_CONNECT_RETRY = 1, \
             SOURCE_LOG_FILE = 'changes.000001', SOURCE_LOG_POS = 4"
        )
    };
    for statement in [copy.as_str(), "START REPLICA"] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut session).await.unwrap();
    }
    replica
}

/// In place of MySQL, which says other things in other words.
pub(crate) async fn is_maria_db(session: &mut MySqlConnection) -> bool {
    let version: String = sqlx::query_scalar("SELECT version()").fetch_one(session).await.unwrap();
    version.contains("MariaDB")
}

/// A number that no other replica has.
fn next_number() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Relaxed)
}
