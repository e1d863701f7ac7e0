//! [`Pair`]: a primary, and a server that copies it.

use tower_api_key::store::{ConnectError, KeyRepository, MySqlStore, PostgresStore};

use super::{LAG_BOUND, next_number, until};
use crate::{
    conformance::record,
    first_version::hex_of,
    mysql::MySql,
    own::OwnServer,
    pairs,
    postgres::Postgres,
    remote::{Remote, Session},
    servers::Server,
};

/// A kind of server, and how one copies another.
pub(super) trait Replicated: Remote {
    async fn build(primary: &str, replicas: &[&str]) -> Result<Self::Store, ConnectError>;

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

    const STOP: &str = "SELECT pg_wal_replay_pause()";
    const GO_ON: &str = "SELECT pg_wal_replay_resume()";
    const PROMOTE: &str = "SELECT pg_promote()";
}

impl Replicated for MySql {
    async fn build(primary: &str, replicas: &[&str]) -> Result<MySqlStore, ConnectError> {
        let builder = MySqlStore::builder(primary).with_lag_bound(LAG_BOUND);
        replicas.iter().fold(builder, |builder, url| builder.with_replica(url)).connect().await
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
        let primary = pairs::primary(R::SERVER);
        let replica = pairs::replica(&primary).await;
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
