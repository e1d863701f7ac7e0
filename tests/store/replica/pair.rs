//! [`Pair`]: a primary, and a server that copies it.

use tower_api_key::store::{ConnectError, KeyRepository, MySqlStore, PostgresStore};

use super::{LAG_BOUND, next_number, until};
use crate::{
    conformance::{hex_of, record},
    mysql::MySql,
    own::OwnServer,
    postgres::Postgres,
    remote::{Remote, Session},
    servers::Server,
};

/// A kind of server, and how one copies another.
pub(super) trait Replicated: Remote {
    async fn build(primary: &str, replicas: &[&str]) -> Result<Self::Store, ConnectError>;

    fn start_primary() -> OwnServer;

    async fn start_replica(primary: &OwnServer) -> OwnServer;

    /// Has a replica apply no changes, and apply them again.
    const STOP: &str;
    const GO_ON: &str;
    /// Makes it a server of its own.
    const PROMOTE: &str;
}

impl Replicated for Postgres {
    async fn build(primary: &str, replicas: &[&str]) -> Result<PostgresStore, ConnectError> {
        let builder = PostgresStore::builder(primary).with_lag_bound(LAG_BOUND);
        replicas.iter().fold(builder, |builder, url| builder.with_replica(url)).connect().await
    }

    fn start_primary() -> OwnServer {
        // Or a second base backup has it drop changes that a slow first replica has not received.
        let primary = OwnServer::start_with(Server::Postgres, &["-c", "wal_keep_size=1GB"]);
        primary.expect("the programs of PostgreSQL")
    }

    async fn start_replica(primary: &OwnServer) -> OwnServer {
        primary.start_standby(&["-c", "recovery_min_apply_delay=2s"])
    }

    const STOP: &str = "SELECT pg_wal_replay_pause()";
    const GO_ON: &str = "SELECT pg_wal_replay_resume()";
    const PROMOTE: &str = "SELECT pg_promote()";
}

impl Replicated for MySql {
    async fn build(primary: &str, replicas: &[&str]) -> Result<MySqlStore, ConnectError> {
        let builder = MySqlStore::builder(primary).with_lag_bound(LAG_BOUND);
        replicas.iter().fold(builder, |builder, url| builder.with_replica(url)).connect().await
    }

    fn start_primary() -> OwnServer {
        let options = ["--server-id=1", "--log-bin=changes", "--binlog-format=ROW"];
        let primary = OwnServer::start_with(Server::MySql, &options);
        primary.expect("the programs of MariaDB or MySQL")
    }

    async fn start_replica(primary: &OwnServer) -> OwnServer {
        let id = format!("--server-id={}", primary.port() + u16::try_from(next_number()).unwrap());
        let options = [&id, "--read-only=1", "--relay-log=relayed"];
        let replica = OwnServer::start_with(Server::MySql, &options).unwrap();
        let mut session = Self::session(&replica.url()).await;
        let is_maria_db = session.rows("SELECT version()").await[0].contains("MariaDB");
        let port = primary.port();
        let copy = if is_maria_db {
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
        session.run(&copy).await.unwrap();
        session.run("START REPLICA").await.unwrap();
        replica
    }

    const STOP: &str = "STOP REPLICA SQL_THREAD";
    const GO_ON: &str = "START REPLICA SQL_THREAD";
    const PROMOTE: &str = "STOP REPLICA; SET GLOBAL read_only = 0";
}

/// Two servers, and a store that knows both.
pub(super) struct Pair<R: Replicated> {
    pub(super) primary: OwnServer,
    pub(super) replica: OwnServer,
    pub(super) store: R::Store,
}

impl<R: Replicated> Pair<R> {
    /// `None` when the tests of this server are left out.
    pub(super) async fn start() -> Option<Self> {
        R::SERVER.url()?;
        let primary = R::start_primary();
        let replica = R::start_replica(&primary).await;
        let store = R::build(&primary.url(), &[&replica.url()]).await.unwrap();
        Some(Self { primary, replica, store })
    }

    /// Another node.
    pub(super) async fn node(&self) -> R::Store {
        R::build(&self.primary.url(), &[&self.replica.url()]).await.unwrap()
    }

    /// A store that does not know the replica.
    pub(super) async fn plain(&self) -> R::Store {
        R::connect(&self.primary.url()).await.unwrap()
    }

    /// Does this on the replica.
    pub(super) async fn tell_replica(&self, sql: &str) {
        R::session(&self.replica.url()).await.run(sql).await.unwrap();
    }

    /// The number of a key that both have.
    pub(super) async fn known(&self) -> u64 {
        let number = next_number();
        self.store.insert(&record(number)).await.unwrap();
        let mut session = R::session(&self.replica.url()).await;
        let (_, digits) = hex_of(&record(number));
        let literal = match R::SERVER {
            Server::Postgres => format!("'\\x{digits}'"),
            _ => format!("x'{digits}'"),
        };
        let sql = format!("SELECT name FROM api_keys WHERE digest = {literal}");
        // The tables come late as well.
        until(async || session.run(&sql).await.is_ok()).await;
        until(async || !session.rows(&sql).await.is_empty()).await;
        number
    }
}
