//! A primary that another server took over from, while its connections stay.

use std::time::Duration;

use tower_api_key::store::{
    Announcement, Invalidations, KeyRepository, KeyStore, RedisInvalidations, RedisStore,
    StoreError, StoreErrorKind,
};

use super::{
    run,
    server::{OwnServer, wait_until},
    texts,
};
use crate::{
    conformance::{digest, record},
    proxy::Proxy,
};

/// Two servers, the second a copy of the first. None when the tests with Redis are left out.
fn two_servers() -> Option<(OwnServer, OwnServer)> {
    let first = OwnServer::start(&["--repl-diskless-sync-delay", "0"])?;
    let port = first.port().to_string();
    let second = OwnServer::start(&["--replicaof", "127.0.0.1", &port]).unwrap();
    wait_until(|| second.info(&["INFO", "replication"], "master_link_status") == "up");
    Some((first, second))
}

/// `successor` takes over, and `server` copies it from now on.
fn fail_over(server: &OwnServer, successor: &OwnServer) {
    let _: () = run(&mut successor.connect(), &["REPLICAOF", "NO", "ONE"]);
    let port = successor.port().to_string();
    let _: () = run(&mut server.connect(), &["REPLICAOF", "127.0.0.1", &port]);
}

#[track_caller]
fn assert_replica(error: &StoreError) {
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(texts(error).contains("replica"), "{error:?}");
}

/// What is published to a replica stays there, and it says OK.
#[tokio::test]
async fn what_is_published_reaches_the_successor_or_is_an_error() {
    let Some((server, successor)) = two_servers() else { return };
    let name = Proxy::before(&server.url());
    let bus = RedisInvalidations::connect(name.url()).await.unwrap();
    bus.publish(&[digest(1)].into()).await.unwrap();
    fail_over(&server, &successor);
    for _ in 0..3 {
        assert_replica(&bus.publish(&[digest(2)].into()).await.unwrap_err());
    }
    let listener = RedisInvalidations::connect(&successor.url()).await.unwrap();
    let mut subscription = listener.subscribe().await.unwrap();
    name.lead_to(&successor.url());
    bus.publish(&[digest(3)].into()).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Announcement::from([digest(3)]));
}

#[tokio::test]
async fn a_subscription_does_not_stay_with_a_replica() {
    let Some((server, successor)) = two_servers() else { return };
    let name = Proxy::before(&server.url());
    let bus = RedisInvalidations::connect(name.url()).await.unwrap();
    let bus = bus.with_keep_alive(Duration::from_millis(50), Duration::from_mins(1));
    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&[digest(1)].into()).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Announcement::from([digest(1)]));
    fail_over(&server, &successor);
    assert_replica(&subscription.next().await.unwrap_err());
    assert_replica(&bus.subscribe().await.err().unwrap());
    name.lead_to(&successor.url());
    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&[digest(2)].into()).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Announcement::from([digest(2)]));
}

/// A replica answers from the past: a key that was revoked is still good there.
#[tokio::test]
async fn lookups_do_not_stay_with_a_replica() {
    let Some((server, successor)) = two_servers() else { return };
    let name = Proxy::before(&server.url());
    let store = RedisStore::connect(name.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    wait_until(|| {
        let keys: usize = run(&mut successor.connect(), &["HLEN", "{api_keys}:keys"]);
        keys == 1
    });
    fail_over(&server, &successor);
    // The server has its data, and the connection is there.
    for _ in 0..3 {
        assert_replica(&store.find(&digest(1)).await.unwrap_err());
        assert_replica(&store.get(record(1).id).await.unwrap_err());
    }
    name.lead_to(&successor.url());
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
}

/// A cluster carries messages from any of its nodes to all.
#[tokio::test]
async fn a_replica_in_a_cluster_carries_messages() {
    let Some(server) = super::server::start_node(&["0", "16383"]) else { return };
    let replica = OwnServer::start(&["--cluster-enabled", "yes"]).unwrap();
    let nodes: String = run(&mut server.connect(), &["CLUSTER", "NODES"]);
    let bus = nodes.split([' ', ',']).nth(1).unwrap().split_once('@').unwrap().1.to_owned();
    let port = server.port().to_string();
    let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
    let _: () = run(&mut replica.connect(), &meet);
    let id: String = run(&mut server.connect(), &["CLUSTER", "MYID"]);
    wait_until(|| {
        let nodes: String = run(&mut replica.connect(), &["CLUSTER", "NODES"]);
        nodes.contains(&id)
    });
    let _: () = run(&mut replica.connect(), &["CLUSTER", "REPLICATE", &id]);
    // The primary knows it, too.
    wait_until(|| {
        let nodes: String = run(&mut server.connect(), &["CLUSTER", "NODES"]);
        nodes.contains("slave") && !nodes.contains("handshake")
    });
    let bus = RedisInvalidations::connect(&replica.url()).await.unwrap();
    let of_primary = RedisInvalidations::connect(&server.url()).await.unwrap();
    let mut subscription = of_primary.subscribe().await.unwrap();
    bus.subscribe().await.unwrap();
    bus.publish(&[digest(1)].into()).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Announcement::from([digest(1)]));
}
