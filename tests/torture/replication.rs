//! The store and its replica: what the replica has received, and how it takes over.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row};
use tokio::{task::block_in_place, time::sleep};

use crate::{
    fleet::{Fleet, TIMEOUT},
    own::OwnServer,
    pairs,
    servers::Server,
};

/// Of which kind both are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replication {
    Postgres,
    MariaDb,
    /// It acknowledges only what a replica has received with plugins that it may not have.
    MySql,
}

impl Replication {
    pub(crate) async fn of(store: &OwnServer) -> Self {
        match store.server() {
            Server::Postgres => Self::Postgres,
            Server::MySql if pairs::is_maria_db(&mut mysql(store).await).await => Self::MariaDb,
            Server::MySql => Self::MySql,
            Server::Redis => panic!("a bus is no store"),
        }
    }

    /// Whether the replica can take over without a loss.
    pub(crate) fn fails_over(self) -> bool {
        self != Self::MySql
    }
}

impl Fleet {
    /// Whether the store acknowledges only what its replica has received: a fail-over loses nothing then.
    pub(crate) async fn is_synchronous(&self, is_so: bool) {
        match self.replication {
            Replication::Postgres => self.postgres_is_synchronous(is_so).await,
            Replication::MariaDb => self.maria_db_is_synchronous(is_so).await,
            Replication::MySql => {}
        }
    }

    async fn postgres_is_synchronous(&self, is_so: bool) {
        let mut session = PgConnection::connect(&self.store.url()).await.unwrap();
        if is_so {
            self.until_replica_is(&mut session, "streaming").await;
        }
        let names = if is_so { "*" } else { "" };
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        for statement in [set.as_str(), "SELECT pg_reload_conf()"] {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut session).await.unwrap();
        }
        if is_so {
            self.until_replica_is(&mut session, "streaming sync").await;
        }
    }

    async fn until_replica_is(&self, session: &mut PgConnection, state: &str) {
        let give_up = Instant::now() + TIMEOUT;
        let sql = "SELECT concat_ws(' ', state, sync_state) FROM pg_stat_replication";
        loop {
            let rows = sqlx::query(sql).fetch_all(&mut *session).await.unwrap();
            if rows.iter().any(|row| row.get::<String, _>(0).starts_with(state)) {
                return;
            }
            assert!(Instant::now() < give_up, "the replica is never {state}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn maria_db_is_synchronous(&self, is_so: bool) {
        let mut store = mysql(&self.store).await;
        if !is_so {
            return say(&mut store, "SET GLOBAL rpl_semi_sync_master_enabled = OFF").await;
        }
        say(&mut store, "SET GLOBAL rpl_semi_sync_master_enabled = ON").await;
        let mut replica = mysql(&self.replica).await;
        // A connection says what it has received if it began with that.
        say(&mut replica, "SET GLOBAL rpl_semi_sync_slave_enabled = ON").await;
        say(&mut replica, "STOP REPLICA IO_THREAD").await;
        say(&mut replica, "START REPLICA IO_THREAD").await;
        let give_up = Instant::now() + TIMEOUT;
        let sql = "SELECT variable_value FROM information_schema.global_status \
                   WHERE variable_name = 'RPL_SEMI_SYNC_MASTER_CLIENTS'";
        while sqlx::query_scalar::<_, String>(sql).fetch_one(&mut store).await.unwrap() == "0" {
            assert!(Instant::now() < give_up, "the replica never says what it has received");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The replica takes over from the store, which is killed. Nothing that was acknowledged is lost.
    pub(crate) async fn store_fails_over(&mut self) {
        block_in_place(|| self.store.kill());
        match self.replication {
            Replication::Postgres => self.postgres_is_promoted().await,
            Replication::MariaDb => self.maria_db_is_promoted().await,
            Replication::MySql => panic!("it does not fail over"),
        }
        std::mem::swap(&mut self.store, &mut self.replica);
        // It would wait for a replica of its own.
        self.is_synchronous(false).await;
        for node in &self.nodes {
            node.store.lead_to(&self.store.url());
        }
    }

    async fn postgres_is_promoted(&self) {
        // A statement that waited for it would hold up changes that are still to be applied.
        self.replica_says("SELECT pg_promote(false)::text").await;
        let give_up = Instant::now() + TIMEOUT;
        while self.replica_says("SELECT pg_is_in_recovery()::text").await == "true" {
            assert!(Instant::now() < give_up, "it is not promoted");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// It applies first what it has received, which is two seconds late.
    async fn maria_db_is_promoted(&self) {
        let mut replica = mysql(&self.replica).await;
        say(&mut replica, "STOP REPLICA IO_THREAD").await;
        let status = sqlx::raw_sql("SHOW REPLICA STATUS").fetch_one(&mut replica).await.unwrap();
        let received: String = status.get("Gtid_IO_Pos");
        let applied = sqlx::query_scalar::<_, i64>("SELECT MASTER_GTID_WAIT(?, ?)")
            .bind(&received)
            .bind(TIMEOUT.as_secs())
            .fetch_one(&mut replica)
            .await;
        assert_eq!(applied.unwrap(), 0, "{received} is not applied");
        for statement in ["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only = OFF"] {
            say(&mut replica, statement).await;
        }
    }

    /// The text that the replica, a PostgreSQL, answers. Changes that it applies may end the statement.
    pub(crate) async fn replica_says(&self, sql: &'static str) -> String {
        let give_up = Instant::now() + TIMEOUT;
        let attempt = async || {
            let mut session = PgConnection::connect(&self.replica.url()).await?;
            sqlx::query_scalar(sql).fetch_one(&mut session).await
        };
        loop {
            match attempt().await {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < give_up, "{error}"),
            }
        }
    }

    /// After a fail-over, there is a replica again.
    pub(crate) async fn store_is_copied(&mut self) {
        self.replica = block_in_place(|| {
            let runtime = tokio::runtime::Handle::current();
            runtime.block_on(pairs::replica(&self.store))
        });
        for node in &self.nodes {
            node.replica.lead_to(&self.replica.url());
        }
        self.is_synchronous(true).await;
    }
}

async fn mysql(server: &OwnServer) -> MySqlConnection {
    MySqlConnection::connect(&server.url()).await.unwrap()
}

async fn say(session: &mut MySqlConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(session).await.unwrap();
}
