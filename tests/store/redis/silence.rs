//! Servers that say nothing, and ways to them that lead nowhere.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey,
    store::{KeyQuery, KeyRepository, KeyStore, RedisStore, StoreErrorKind},
};

use super::{
    Prefix, assert_outage, assert_unavailable, is_outage,
    server::{OwnServer, free_port},
};
use crate::{
    conformance::{digest, full, record, stored},
    proxy::Proxy,
    silent::lookups_do_not_wait,
    support::ask,
};

/// Far longer than a caller may wait; a test that hangs ends all the same.
const FAR_TOO_LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn nobody_there_is_an_outage() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let error = RedisStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let store = RedisStore::new(&url).unwrap();
    assert_outage(&store).await;
    assert_unavailable(ask(&ApiKeyLayer::new(store), "key_that_nobody_ever_had_before").await);
}

/// The connection is accepted, by the operating system, and then nothing.
#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let store = RedisStore::new(&url).unwrap();
    let layer = ApiKeyLayer::new(store.clone());
    let start = Instant::now();
    let error = timeout(FAR_TOO_LONG, store.find(&digest(1))).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    let asked = ask(&layer, "key_that_nobody_ever_had_before");
    assert_unavailable(timeout(FAR_TOO_LONG, asked).await.unwrap());
    timeout(FAR_TOO_LONG, assert_outage(&store)).await.unwrap();
    // It was waited for.
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn lookups_do_not_wait_for_a_silent_server() {
    let Some(prefix) = Prefix::new() else { return };
    let mut proxy = Proxy::before(&prefix.url);
    let store = RedisStore::new(proxy.url()).unwrap().with_prefix(&prefix.name).unwrap();
    store.migrate().await.unwrap();
    lookups_do_not_wait(store, &mut proxy).await;
}

/// A server that hangs in the middle of its work, and goes on later.
#[tokio::test]
async fn a_server_that_hangs_is_a_timeout() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.insert(&full(1)).await.unwrap();
    server.signal("STOP");
    let error = timeout(FAR_TOO_LONG, store.find(&digest(1))).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    timeout(FAR_TOO_LONG, assert_outage(&store)).await.unwrap();
    server.signal("CONT");
    // What hung may have been done after all, so this key is not looked at.
    store.insert(&record(2)).await.unwrap();
    assert_eq!(stored(&store, record(2).id).await, record(2));
}

/// A way to a server that can be cut without either side being told.
struct Way {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Way {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::<AtomicBool>::default();
        let is_cut = cut.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(forward(client, server, is_cut.clone()));
            }
        });
        Self { address, cut }
    }
}

/// One connection. When the way is cut, it is lost for good, but stays open.
async fn forward(client: TcpStream, server: TcpStream, cut: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut bytes = [0; 4096];
    loop {
        let count = from_client.read(&mut bytes).await.unwrap();
        if count == 0 {
            break;
        }
        if cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        to_server.write_all(&bytes[..count]).await.unwrap();
    }
    answers.abort();
}

/// The layer gives up before the store does. The connection is not used again all the same.
#[tokio::test]
async fn a_dead_connection_is_replaced_though_its_callers_left() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let way = Way::to((Ipv4Addr::LOCALHOST, server.port()).into()).await;
    let store = RedisStore::connect(&format!("redis://{}", way.address)).await.unwrap();
    let issued = KeyManager::new(store.clone()).create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    let layer = ApiKeyLayer::new(store).with_lookup_timeout(Duration::from_millis(700));
    assert_eq!(ask(&layer, key).await.unwrap(), id);

    way.cut.store(true, Ordering::SeqCst);
    assert_unavailable(ask(&layer, key).await);
    way.cut.store(false, Ordering::SeqCst);
    assert_eq!(ask(&layer, key).await.unwrap(), id);
}

/// Who goes away leaves nothing half-done, and takes no connection along.
#[tokio::test]
async fn calls_that_are_dropped_do_no_harm() {
    let Some(prefix) = Prefix::new() else { return };
    let store = prefix.open().await;
    for number in 0..100 {
        let record = record(number);
        let mut insert = store.insert(&record);
        let mut find = store.find(&record.digest);
        // Polled once: the command may be on its way, and nobody waits for it.
        poll_fn(|context| {
            let _ = insert.as_mut().poll(context);
            let _ = find.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        drop((insert, find));
    }
    store.insert(&full(1_000)).await.unwrap();
    assert_eq!(stored(&store, full(1_000).id).await, full(1_000));
    let page = store.list(&KeyQuery::new(1_000)).await.unwrap();
    for listed in &page.items {
        assert_eq!(store.find(&listed.digest).await.unwrap().as_ref(), Some(listed));
    }
}

/// A server that speaks another protocol.
#[tokio::test]
async fn something_else_on_the_port_is_an_outage() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = client.write_all(answer).await;
        }
    });
    let error = RedisStore::connect(&url).await.unwrap_err();
    assert!(is_outage(&error), "{error:?}");
}
