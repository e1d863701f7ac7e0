//! Servers that end and come back.

use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey,
    store::{KeyRepository, KeyStore, RedisStore},
};

use super::{
    assert_outage, assert_unavailable, run,
    server::{OwnServer, wait_until},
};
use crate::{
    conformance::{digest, full, record, stored},
    support::ask,
};

/// Nothing that was acknowledged is lost, and the scripts that the server has forgotten are sent
/// again.
#[tokio::test]
async fn a_killed_server_is_an_outage_until_it_is_back() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let layer = ApiKeyLayer::new(store.clone());
    let issued = KeyManager::new(store.clone()).create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    store.insert(&full(2)).await.unwrap();

    for _ in 0..2 {
        assert_eq!(ask(&layer, key).await.unwrap(), id);
        server.kill();
        assert_unavailable(ask(&layer, key).await);
        assert_unavailable(ask(&layer, "key_that_nobody_ever_had_before").await);
        assert_outage(&store).await;

        server.start_again();
        assert_eq!(server.info(&["INFO", "memory"], "number_of_cached_scripts"), "0");
        assert_eq!(ask(&layer, key).await.unwrap(), id);
        assert_eq!(stored(&store, full(2).id).await, full(2));
    }
    assert!(store.get(record(1).id).await.unwrap().is_none());
}

/// Nobody was asking meanwhile, and nobody notices.
#[tokio::test]
async fn a_restart_between_two_lookups_is_not_seen() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&full(1)).await.unwrap();
    for _ in 0..3 {
        server.kill();
        server.start_again();
        assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
    }
}

#[tokio::test]
async fn scripts_that_were_flushed_are_sent_again() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    for number in 1..=3 {
        let _: () = run(&mut server.connect(), &["SCRIPT", "FLUSH"]);
        store.insert(&record(number)).await.unwrap();
        assert_eq!(stored(&store, record(number).id).await, record(number));
    }
}

/// A node may start before its Redis does.
#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    server.kill();
    let store = RedisStore::new(&server.url()).unwrap();
    assert_outage(&store).await;
    server.start_again();
    store.migrate().await.unwrap();
    store.insert(&record(1)).await.unwrap();
    assert_eq!(stored(&store, record(1).id).await, record(1));
}

/// Another program's script keeps the server busy.
#[tokio::test]
async fn a_busy_server_is_an_outage() {
    let Some(server) = OwnServer::start(&["--lua-time-limit", "1"]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();

    let mut busy = server.connect();
    let endless = std::thread::spawn(move || {
        ::redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut busy).unwrap_err()
    });
    let mut other = server.connect();
    // Until the script runs, `SCRIPT KILL` has nothing to kill and other commands are answered.
    wait_until(|| ::redis::cmd("PING").query::<()>(&mut other).is_err());
    assert_outage(&store).await;
    let _: () = run(&mut other, &["SCRIPT", "KILL"]);
    endless.join().unwrap();
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&record(1)));
}
