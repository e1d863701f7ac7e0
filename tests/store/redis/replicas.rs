//! Servers that copy another one.

use tower_api_key::{
    ApiKeyLayer,
    store::{KeyRepository, KeyStore, RedisStore, StoreErrorKind},
};

use super::{
    assert_outage, assert_unavailable, run,
    server::{OwnServer, wait_until},
    texts,
};
use crate::{
    conformance::{digest, record, stored},
    support::ask,
};

/// It may not know yet that a key was revoked.
#[tokio::test]
async fn a_replica_is_not_asked() {
    let Some(server) = OwnServer::start(&["--repl-diskless-sync-delay", "0"]) else { return };
    let port = server.port().to_string();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();

    let replica = OwnServer::start(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let error = RedisStore::connect(&replica.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(texts(&error).contains("replica"), "{error:?}");
    let of_replica = RedisStore::new(&replica.url()).unwrap();
    assert_outage(&of_replica).await;
    let layer = ApiKeyLayer::new(of_replica.clone());
    assert_unavailable(ask(&layer, "key_that_nobody_ever_had_before").await);

    // It takes over.
    wait_until(|| replica.info(&["INFO", "replication"], "master_link_status") == "up");
    let _: () = run(&mut replica.connect(), &["REPLICAOF", "NO", "ONE"]);
    assert_eq!(of_replica.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
    of_replica.insert(&record(2)).await.unwrap();
}

/// A server that another took over from.
#[tokio::test]
async fn a_server_that_became_a_replica_is_an_outage() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    let other = OwnServer::start(&[]).unwrap();
    let port = other.port().to_string();
    let _: () = run(&mut server.connect(), &["REPLICAOF", "127.0.0.1", &port]);
    let error = store.find(&digest(1)).await.unwrap_err();
    assert!(texts(&error).contains("replica"), "{error:?}");
    let error = store.insert(&record(2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_outage(&store).await;

    let _: () = run(&mut server.connect(), &["REPLICAOF", "NO", "ONE"]);
    let _: () = run(&mut server.connect(), &["FLUSHALL"]);
    store.migrate().await.unwrap();
    store.insert(&record(3)).await.unwrap();
    assert_eq!(stored(&store, record(3).id).await, record(3));
}
