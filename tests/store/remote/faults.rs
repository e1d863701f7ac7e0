//! Servers that stop, fall silent or are busy with something else.

use std::{
    future::{pending, poll_fn},
    task::Poll,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey, RejectionKind,
    store::{KeyQuery, KeyRepository, KeyStore, StoreErrorKind},
};

use super::{Remote, Session, eventually, open, session};
use crate::{
    abandoned::give_changes_up,
    conformance::{digest, full, record, stored},
    proxy::Proxy,
    servers::Database,
    silent::lookups_do_not_wait,
    support::{ask, texts},
};

/// Enough to open every connection that a store may have.
async fn lookups<R: Remote>(store: &R::Store, within: Duration) -> usize {
    let mut lookups = JoinSet::new();
    for _ in 0..40 {
        let store = store.clone();
        lookups.spawn(async move {
            // Dropped when time is up, as the layer does.
            let found = timeout(within, store.find(&digest(1))).await;
            found.is_ok_and(|found| found.is_ok_and(|found| found.is_some()))
        });
    }
    lookups.join_all().await.into_iter().filter(|found| *found).count()
}

pub(crate) async fn killed_connections_are_replaced<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    store.insert(&record(1)).await.unwrap();
    let mut session = session::<R>(database).await;
    for _ in 0..3 {
        eventually(async || (lookups::<R>(&store, super::LONG).await == 40).then_some(())).await;
        for kill in session.rows(R::KILL).await {
            // An error says that it is gone already.
            let _ = session.run(&kill).await;
        }
        // Each connection that is gone may cost one call, but not a wrong answer.
        eventually(async || match store.find(&digest(1)).await {
            Ok(found) => {
                assert_eq!(found.as_deref(), Some(&record(1)));
                Some(())
            }
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                assert!(std::error::Error::source(&error).is_some());
                None
            }
        })
        .await;
    }
    eventually(async || store.insert(&full(2)).await.is_ok().then_some(())).await;
    assert_eq!(stored(&store, full(2).id).await, full(2));
}

pub(crate) async fn an_outage_is_no_denial_and_passes<R: Remote>(database: &Database) {
    let mut proxy = Proxy::before(database.url());
    let store = R::connect(proxy.url()).await.unwrap();
    let manager = KeyManager::new(store.clone());
    let layer = manager.layer();
    let issued = manager.create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    assert_eq!(ask(&layer, key).await.unwrap(), id);

    proxy.cut().await;
    let rejection = ask(&layer, key).await.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    assert_eq!(ask(&layer, "key_of_nobody_at_all").await.unwrap_err().kind().status(), 401);
    let error = store.insert(&record(1)).await.unwrap_err();
    assert!(matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Timeout));

    proxy.pass();
    eventually(async || match ask(&layer, key).await {
        Ok(found) => {
            assert_eq!(found, id);
            Some(())
        }
        Err(rejection) => {
            assert_eq!(rejection.kind(), RejectionKind::Unavailable);
            None
        }
    })
    .await;
}

/// A server that vanished without a word, and another in its place.
pub(crate) struct Failover {
    url: String,
    lost: watch::Sender<()>,
}

impl Failover {
    pub(crate) async fn before(url: &str) -> Self {
        let real = Proxy::before(url);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |url: &str| {
            let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
            authority.rsplit('@').next().unwrap().to_owned()
        };
        let behind = address(real.url());
        let url = real.url().replace(&behind, &listener.local_addr().unwrap().to_string());
        let lost = watch::Sender::new(());
        let losing = lost.clone();
        tokio::spawn(async move {
            let _real = real;
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (behind, mut lost) = (behind.clone(), losing.subscribe());
                connections.spawn(async move {
                    let mut server = TcpStream::connect(behind).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Open, and nobody there.
                        _ = lost.changed() => pending().await,
                    }
                });
            }
        });
        Self { url, lost }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The connections that there are say nothing more. New ones are served.
    pub(crate) fn happen(&self) {
        self.lost.send_replace(());
    }
}

/// TCP would take a quarter of an hour to notice.
pub(crate) async fn a_silent_server_does_not_block_the_pool<R: Remote>(database: &Database) {
    let failover = Failover::before(database.url()).await;
    let store = R::connect(failover.url()).await.unwrap();
    store.insert(&record(1)).await.unwrap();
    assert_eq!(lookups::<R>(&store, super::LONG).await, 40);

    failover.happen();
    lookups::<R>(&store, Duration::from_millis(200)).await;
    let within = Duration::from_secs(1);
    eventually(async || (lookups::<R>(&store, within).await == 40).then_some(())).await;
}

pub(crate) async fn a_server_that_never_answers_is_a_timeout<R: Remote>(database: &Database) {
    let mut proxy = Proxy::before(database.url());
    proxy.freeze();
    let error = R::connect(proxy.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout, "{error:?}");
}

pub(crate) async fn lookups_do_not_wait_for_a_silent_server<R: Remote>(database: &Database) {
    let mut proxy = Proxy::before(database.url());
    let store = R::connect(proxy.url()).await.unwrap();
    lookups_do_not_wait(store, &mut proxy).await;
}

/// Not after the time in which the pool tries again and again.
pub(crate) async fn a_closed_port_is_an_error_at_once<R: Remote>(database: &Database) {
    let mut proxy = Proxy::before(database.url());
    proxy.cut().await;
    let error = R::connect(proxy.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(texts(&error).contains("refused"), "{error:?}");
}

pub(crate) async fn a_locked_table_is_a_timeout<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    store.insert(&record(1)).await.unwrap();
    let mut other = session::<R>(database).await;
    other.run(R::LOCK).await.unwrap();
    let (first, second) = (digest(1), record(2));
    let (found, inserted) = tokio::join!(store.find(&first), store.insert(&second));
    for error in [found.unwrap_err(), inserted.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Timeout, "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
    }
    drop(other);
    eventually(async || store.find(&digest(1)).await.ok().flatten()).await;
    store.insert(&second).await.unwrap();
}

pub(crate) async fn an_exhausted_pool_is_a_timeout<R: Remote>(database: &Database) {
    open::<R>(database).await.insert(&record(1)).await.unwrap();
    let (store, connection) = R::exhausted(database.url()).await;
    let error = store.find(&digest(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout, "{error:?}");
    let rejection = ask(&ApiKeyLayer::new(store.clone()), "key_of_nobody_at_all").await;
    assert_eq!(rejection.unwrap_err().kind(), RejectionKind::Unavailable);
    drop(connection);
    eventually(async || store.find(&digest(1)).await.ok().flatten()).await;
}

pub(crate) async fn a_closed_store_is_an_error<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    store.insert(&full(1)).await.unwrap();
    R::close(&store).await;
    assert_eq!(store.find(&digest(1)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.insert(&record(2)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let again = open::<R>(database).await;
    assert_eq!(again.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
}

/// Callers who go away leave nothing open, nothing half-done, and no answer for somebody else.
pub(crate) async fn calls_that_are_dropped_do_no_harm<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    for number in 0..200 {
        let record = record(number);
        let mut insert = store.insert(&record);
        let mut find = store.find(&record.digest);
        // Given up at one time or another: before the statement is sent, prepared or answered.
        for _ in 0..number % 10 {
            poll_fn(|context| {
                let done = insert.as_mut().poll(context).is_ready();
                Poll::Ready(done || find.as_mut().poll(context).is_ready())
            })
            .await
            .then(|| {
                insert = Box::pin(pending());
                find = Box::pin(pending());
            });
            tokio::task::yield_now().await;
        }
        drop((insert, find));
    }
    store.insert(&full(1_000)).await.unwrap();
    assert_eq!(stored(&store, full(1_000).id).await, full(1_000));
    let page = store.list(&KeyQuery::new(1_000)).await.unwrap();
    for listed in &page.items {
        assert_eq!(store.find(&listed.digest).await.unwrap().as_ref(), Some(listed));
    }
}

pub(crate) async fn changes_that_are_dropped_are_made_wholly_or_not_at_all<R: Remote>(
    database: &Database,
) {
    let store = open::<R>(database).await;
    give_changes_up(&store, 150, 25).await;
}
