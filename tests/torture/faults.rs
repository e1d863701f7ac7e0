//! What goes wrong.

use std::{fmt, time::Duration};

use tokio::task::block_in_place;

use crate::{
    clock::now,
    fleet::{Fleet, NODES},
    history::Moment,
    proxy::Proxy,
    random::Random,
    replication::Replication,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NodeStops(usize),
    NodeIsKilled(usize),
    Network(usize, Way, Trouble),
    BusStops,
    BusIsKilled,
    BusFailsOver,
    StoreStops,
    StoreIsKilled,
    StoreFailsOver,
    ReplicaStops,
    ReplicaIsKilled,
}

/// A node's way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Store,
    Replica,
    Bus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    IsCut,
    /// Nothing gets through any more, and no side is told.
    IsHalfOpen,
    IsSlow(Duration),
    LosesPackets,
}

impl Fault {
    pub(crate) fn by_chance(random: &mut Random, replication: Replication) -> Self {
        let node = random.below(NODES);
        let way = [Way::Store, Way::Replica, Way::Bus, Way::Bus][random.below(4)];
        let trouble = match random.below(4) {
            0 => Trouble::IsCut,
            1 => Trouble::IsHalfOpen,
            2 => Trouble::IsSlow(Duration::from_millis(20 + random.below(400) as u64)),
            _ => Trouble::LosesPackets,
        };
        match random.below(16) {
            0 | 1 => Self::NodeStops(node),
            2 => Self::NodeIsKilled(node),
            3..7 => Self::Network(node, way, trouble),
            7 => Self::BusStops,
            8 => Self::BusIsKilled,
            9 | 10 => Self::BusFailsOver,
            11 => Self::StoreStops,
            12 => Self::StoreIsKilled,
            13 => Self::ReplicaStops,
            14 => Self::ReplicaIsKilled,
            _ if replication.fails_over() => Self::StoreFailsOver,
            _ => Self::StoreIsKilled,
        }
    }

    /// Whether both are about the same servers, so that they cannot happen at the same time.
    pub(crate) fn excludes(self, other: Self) -> bool {
        let place = |fault| match fault {
            Self::NodeStops(node) | Self::NodeIsKilled(node) => node,
            Self::Network(..) => NODES,
            Self::BusStops | Self::BusIsKilled | Self::BusFailsOver => NODES + 1,
            _ => NODES + 2,
        };
        place(self) == place(other)
    }

    pub(crate) async fn begin(self, fleet: &mut Fleet) -> Moment {
        let began = now();
        match self {
            Self::NodeStops(node) => fleet.nodes[node].process.as_ref().unwrap().signal("STOP"),
            Self::NodeIsKilled(node) => block_in_place(|| fleet.kill_node(node)),
            Self::Network(node, way, trouble) => {
                let proxy = way.of(fleet, node);
                match trouble {
                    Trouble::IsCut => proxy.cut().await,
                    Trouble::IsHalfOpen => proxy.freeze(),
                    Trouble::IsSlow(delay) => proxy.delay(delay),
                    Trouble::LosesPackets => proxy.lose(5),
                }
            }
            Self::BusStops => fleet.bus.freeze(),
            Self::BusIsKilled => fleet.bus.kill(),
            Self::BusFailsOver => block_in_place(|| fleet.bus_fails_over()),
            Self::StoreStops => fleet.store.freeze(),
            Self::StoreIsKilled => block_in_place(|| fleet.store.kill()),
            Self::StoreFailsOver => fleet.store_fails_over().await,
            // The store would wait for it.
            Self::ReplicaStops => {
                fleet.is_synchronous(false).await;
                fleet.replica.freeze();
            }
            Self::ReplicaIsKilled => {
                fleet.is_synchronous(false).await;
                block_in_place(|| fleet.replica.kill());
            }
        }
        began
    }

    /// Has it end, and takes down for how long it has been. Others may go on.
    pub(crate) async fn end(self, fleet: &mut Fleet, began: Moment) {
        match self {
            Self::NodeStops(node) => fleet.nodes[node].process.as_ref().unwrap().signal("CONT"),
            Self::NodeIsKilled(node) => fleet.start_node(node),
            Self::Network(node, way, _) => way.of(fleet, node).pass(),
            Self::BusStops => fleet.bus.thaw(),
            Self::BusIsKilled => {
                block_in_place(|| fleet.bus.start_again());
                fleet.copies_bus();
            }
            Self::BusFailsOver => {
                block_in_place(|| fleet.bus_copy.start_again());
                fleet.copies_bus();
            }
            Self::StoreStops => fleet.store.thaw(),
            Self::StoreIsKilled => {
                block_in_place(|| fleet.store.start_again());
                fleet.is_synchronous(true).await;
            }
            Self::StoreFailsOver => fleet.store_is_copied().await,
            Self::ReplicaStops => {
                fleet.replica.thaw();
                fleet.is_synchronous(true).await;
            }
            Self::ReplicaIsKilled => {
                block_in_place(|| fleet.replica.start_again());
                fleet.is_synchronous(true).await;
            }
        }
        let record = &fleet.record;
        match self {
            Self::NodeStops(node) => {
                record.bus_failed(Some(node), began);
                record.store_failed(began);
            }
            Self::NodeIsKilled(_) => {}
            Self::Network(node, Way::Bus, _) => record.bus_failed(Some(node), began),
            Self::BusStops | Self::BusIsKilled | Self::BusFailsOver => {
                record.bus_failed(None, began);
            }
            Self::Network(..)
            | Self::StoreStops
            | Self::StoreIsKilled
            | Self::StoreFailsOver
            | Self::ReplicaStops
            | Self::ReplicaIsKilled => record.store_failed(began),
        }
    }
}

impl Way {
    fn of(self, fleet: &mut Fleet, node: usize) -> &mut Proxy {
        let node = &mut fleet.nodes[node];
        match self {
            Self::Store => &mut node.store,
            Self::Replica => &mut node.replica,
            Self::Bus => &mut node.bus,
        }
    }
}

/// Without the numbers of nodes, to count alike ones.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeStops(_) => "a node stopped",
            Self::NodeIsKilled(_) => "a node was killed",
            Self::Network(_, _, Trouble::IsCut) => "a connection was cut",
            Self::Network(_, _, Trouble::IsHalfOpen) => "a connection was half open",
            Self::Network(_, _, Trouble::IsSlow(_)) => "a connection was slow",
            Self::Network(_, _, Trouble::LosesPackets) => "a connection lost packets",
            Self::BusStops => "the bus stopped",
            Self::BusIsKilled => "the bus was killed",
            Self::BusFailsOver => "the bus failed over",
            Self::StoreStops => "the store stopped",
            Self::StoreIsKilled => "the store was killed",
            Self::StoreFailsOver => "the store failed over",
            Self::ReplicaStops => "the replica stopped",
            Self::ReplicaIsKilled => "the replica was killed",
        })
    }
}
