//! [`Fleet`]: real servers, three nodes as processes, and a network between them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{Client, cmd};
use tokio::task::block_in_place;

use crate::{
    node, own::OwnServer, pairs, process, proxy::Proxy, record::Record, replication::Replication,
    servers::Server,
};

pub(crate) const NODES: usize = 3;

/// Far longer than anything takes, also on a machine that is busy with something else.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

/// Where nodes are, while they are there.
pub(crate) type Addresses = Arc<[Mutex<Option<SocketAddr>>; NODES]>;

pub(crate) struct Fleet {
    // Before the servers, which are ended after them.
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: OwnServer,
    /// Applies each change two seconds late.
    pub(crate) replica: OwnServer,
    pub(crate) replication: Replication,
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
        let replication = Replication::of(&store).await;
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
        let fleet = Self {
            nodes,
            store,
            replica,
            replication,
            bus,
            bus_copy,
            addresses,
            record,
            has_floors: true,
        };
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
