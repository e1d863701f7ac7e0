//! A pooler that gives out connections by transaction: statements are answered, and what a
//! subscription listens to is forgotten.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::{
    contract::{digest, next},
    place::{Place, TURNS, chain},
};

/// The messages of a simple query: the statement, behind how many bytes follow.
const QUESTION: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";
const FORGET: &[u8] = b"Q\0\0\0\x0fUNLISTEN *\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_hears_nothing_is_lost() {
    let _turn = TURNS.read().await;
    let Some(place) = Place::postgres().await else { return };
    let forgets = Arc::new(AtomicBool::new(false));
    let url = pooled(place.url(), forgets.clone()).await;
    let keep_alive = (Duration::from_millis(50), Duration::from_millis(500));
    let bus = place.asking_bus_at(&url, keep_alive).await;
    let mut subscription = bus.subscribe().await.unwrap();
    bus.publish(&[digest(1)].into()).await.unwrap();
    assert_eq!(next(&mut subscription).await.unwrap(), [digest(1)]);

    forgets.store(true, Ordering::Relaxed);
    for error in [
        next(&mut subscription).await.unwrap_err(),
        // Another one does not begin.
        bus.subscribe().await.err().unwrap(),
    ] {
        assert!(chain(&error).contains("PgBouncer"), "{error:?}");
    }
    // What is published is well all the while.
    let mut elsewhere = place.bus().await.subscribe().await.unwrap();
    bus.publish(&[digest(2)].into()).await.unwrap();
    assert_eq!(next(&mut elsewhere).await.unwrap(), [digest(2)]);
}

/// The address of something in between that has the keep-alive's question undo every `LISTEN`.
async fn pooled(url: &str, forgets: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (start, rest) = url.rsplit_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let url = format!("{start}@{}/{database}", listener.local_addr().unwrap());
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let forgets = forgets.clone();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    let said = &bytes[..length];
                    let forgets = forgets.load(Ordering::Relaxed);
                    let said = if forgets && said == QUESTION { FORGET } else { said };
                    if to_server.write_all(said).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}
