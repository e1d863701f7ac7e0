//! [`Fleet`]: real servers, three nodes as processes, and a network between them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use redis::{Client, cmd};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::{task::block_in_place, time::sleep};

use crate::{node, own::OwnServer, pairs, process, proxy::Proxy, record::Record, servers::Server};

pub(crate) const NODES: usize = 3;

/// Far longer than anything takes, also on a machine that is busy with something else.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Where nodes are, while they are there.
pub(crate) type Addresses = Arc<[Mutex<Option<SocketAddr>>; NODES]>;

pub(crate) struct Fleet {
    // Before the servers, which are ended after them.
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: OwnServer,
    /// Applies each change two seconds late.
    pub(crate) replica: OwnServer,
    pub(crate) bus: OwnServer,
    pub(crate) bus_copy: OwnServer,
    pub(crate) addresses: Addresses,
    pub(crate) record: Arc<Record>,
    has_floors: bool,
}

/// A node, and its own way to each server.
pub(crate) struct Node {
    pub(crate) process: Option<process::Server>,
    pub(crate) store: Proxy,
    pub(crate) replica: Proxy,
    pub(crate) bus: Proxy,
}

impl Fleet {
    /// `None` when the tests of one of the servers are left out.
    pub(crate) async fn start(kind: Server) -> Option<Self> {
        kind.url()?;
        Server::Redis.url()?;
        let store = pairs::primary(kind);
        let replica = pairs::replica(&store).await;
        let bus = OwnServer::start(Server::Redis).expect("the programs of Redis must be installed");
        let bus_copy = OwnServer::start(Server::Redis).unwrap();
        let nodes = (0..NODES).map(|_| Node {
            process: None,
            store: Proxy::before(&store.url()),
            replica: Proxy::before(&replica.url()),
            bus: Proxy::before(&bus.url()),
        });
        let nodes = nodes.collect();
        let (addresses, record) = (Addresses::default(), Arc::new(Record::new()));
        let fleet =
            Self { nodes, store, replica, bus, bus_copy, addresses, record, has_floors: true };
        fleet.copies_bus();
        fleet.is_synchronous(true).await;
        Some(fleet)
    }

    /// Starts all nodes anew, with floors or without them, and returns when they listen. What was known of
    /// earlier ones is forgotten.
    pub(crate) fn start_nodes(&mut self, has_floors: bool) {
        for number in 0..NODES {
            self.kill_node(number);
        }
        (self.record, self.has_floors) = (Arc::new(Record::new()), has_floors);
        for number in 0..NODES {
            self.start_node(number);
        }
        for node in &self.nodes {
            let process = node.process.as_ref().unwrap();
            block_in_place(|| {
                process.wait_for_stdout(|line| line.ends_with(" listens").then_some(()));
            });
        }
    }

    pub(crate) fn kill_node(&mut self, number: usize) {
        *self.addresses[number].lock().unwrap() = None;
        if let Some(process) = self.nodes[number].process.take() {
            let said = process.stdout();
            process.kill();
            self.record.node_said(number, &said);
        }
    }

    pub(crate) fn start_node(&mut self, number: usize) {
        self.record.node_starts(number);
        let node = &mut self.nodes[number];
        let (store, replica, bus) = (node.store.url(), node.replica.url(), node.bus.url());
        let mut command = node::command(store, replica, bus, self.has_floors);
        let process = block_in_place(|| process::Server::start(&mut command));
        *self.addresses[number].lock().unwrap() = Some(process.address());
        node.process = Some(process);
    }

    /// The end of a run: takes down what the nodes have said.
    pub(crate) fn stop_nodes(&mut self) {
        for number in 0..NODES {
            self.kill_node(number);
        }
    }

    /// Whether the store acknowledges only what its replica has received: a fail-over loses nothing then.
    pub(crate) async fn is_synchronous(&self, is_so: bool) {
        if self.store.server() != Server::Postgres {
            return;
        }
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

    /// The replica takes over from the store, which is killed. Nothing that was acknowledged is lost.
    pub(crate) async fn store_fails_over(&mut self) {
        block_in_place(|| self.store.kill());
        // A statement that waited for it would hold up changes that are still to be applied.
        self.replica_says("SELECT pg_promote(false)::text").await;
        let give_up = Instant::now() + TIMEOUT;
        while self.replica_says("SELECT pg_is_in_recovery()::text").await == "true" {
            assert!(Instant::now() < give_up, "it is not promoted");
            sleep(Duration::from_millis(10)).await;
        }
        std::mem::swap(&mut self.store, &mut self.replica);
        // It would wait for a replica of its own.
        self.is_synchronous(false).await;
        for node in &self.nodes {
            node.store.lead_to(&self.store.url());
        }
    }

    /// The text that the replica answers. Changes that it applies may end the statement.
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

    /// The copy takes over from the bus, which is killed.
    pub(crate) fn bus_fails_over(&mut self) {
        self.bus.kill();
        tell(&self.bus_copy, &["REPLICAOF", "NO", "ONE"]);
        std::mem::swap(&mut self.bus, &mut self.bus_copy);
        for node in &self.nodes {
            node.bus.lead_to(&self.bus.url());
        }
    }

    /// The other server copies the bus.
    pub(crate) fn copies_bus(&self) {
        let port = self.bus.port().to_string();
        tell(&self.bus_copy, &["REPLICAOF", "127.0.0.1", &port]);
    }
}

fn tell(redis: &OwnServer, command: &[&str]) {
    let mut connection = Client::open(redis.url()).unwrap().get_connection().unwrap();
    let () = cmd(command[0]).arg(&command[1..]).query(&mut connection).unwrap();
}
