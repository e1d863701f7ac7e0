//! Servers that take no changes: replicas, and primaries in maintenance.

use std::time::{Duration, Instant};

use tower_api_key::store::{KeyRepository, KeyStore, MySqlStore, StoreErrorKind};

use super::MySql;
use crate::{
    conformance::{digest, record},
    own::OwnServer,
    remote::{Remote, Session},
    servers::Server,
    support::texts,
};

#[tokio::test]
async fn a_server_that_is_read_only_is_not_asked() {
    if Server::MySql.url().is_none() {
        return;
    }
    let server = OwnServer::start(Server::MySql).expect("the programs of MariaDB or MySQL");
    let store = MySqlStore::connect(&server.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    assert!(store.find(&digest(1)).await.unwrap().is_some());

    let mut session = MySql::session(&server.url()).await;
    session.run("SET GLOBAL read_only = 1").await.unwrap();
    for pool in [MySql::connect(&server.url()).await, {
        let store = MySql::from_pool(&server.url()).await;
        store.migrate().await.map(|()| store)
    }] {
        let error = pool.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(texts(&error).contains("read-only"), "{error:?}");
    }
    // Connections in use are asked once a second, while there are lookups all the time.
    let give_up = Instant::now() + Duration::from_mins(1);
    while store.find(&digest(1)).await.is_ok() {
        assert!(Instant::now() < give_up, "the server is read-only, and still asked");
    }
    for _ in 0..2 {
        let kind = store.find(&digest(1)).await.unwrap_err().kind();
        assert!(matches!(kind, StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "{kind:?}");
    }

    session.run("SET GLOBAL read_only = 0").await.unwrap();
    // One lookup a second finds out whether the server answers again.
    while store.find(&digest(1)).await.is_err() {
        assert!(Instant::now() < give_up, "the server takes writes, and is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
    store.insert(&record(2)).await.unwrap();
}
