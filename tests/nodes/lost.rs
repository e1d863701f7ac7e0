//! What happens while a node does not hear the others, and afterwards. The clock of its cache
//! stands still, so that nothing is forgotten but by what the test does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::mpsc, time::timeout};
use tower_api_key::{
    KeyManager, NewKey, RejectionKind,
    store::{
        Announcement, Invalidations, KeyStore, MemoryStore, StoreError, StoreErrorKind,
        Subscription,
    },
};

use crate::{
    node::{Node, TTL, revoke_silently},
    place::Place,
    proxy::Proxy,
    watched::TIMEOUT,
};

on_servers!(
    within_the_ttl,
    emptied_when_it_is_back,
    with_the_store,
    before_it_is_there,
    publishing
);

/// A node that hears the others through a proxy and reads the keys beside it.
async fn node_behind(place: &Place, proxy: &Proxy) -> Node {
    Node::over(place.store().await, place.bus_at(proxy.url()).await).await
}

/// Ends the subscription and waits until the node has taken note of it.
async fn cut(proxy: &mut Proxy, node: &Node) {
    let before = node.progress().attempts;
    proxy.cut().await;
    node.until(|progress| progress.attempts > before).await;
}

/// Lets the node hear the others again.
async fn mend(proxy: &mut Proxy, node: &Node) {
    let before = node.progress().subscriptions;
    proxy.pass();
    node.until(|progress| progress.subscriptions > before).await;
}

async fn within_the_ttl(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let (manager, node) = (place.manager().await, node_behind(place, &proxy).await);
    let known = node.hears(manager.create(NewKey::named("known before"))).await.unwrap();
    node.warm(known.secret.expose()).await;
    cut(&mut proxy, &node).await;

    // What is known from before the loss is asked for again, since nobody knows what was missed.
    revoke_silently(&*place.store().await, &known.record).await;
    assert_eq!(node.ask(known.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);

    let key = manager.create(NewKey::named("known since")).await.unwrap();
    node.warm(key.secret.expose()).await;
    manager.revoke(key.record.id, None).await.unwrap();
    assert!(node.ask(key.secret.expose()).await.is_ok(), "nobody has told this node");
    node.clock.advance(TTL);
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

async fn emptied_when_it_is_back(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let (manager, node) = (place.manager().await, node_behind(place, &proxy).await);
    cut(&mut proxy, &node).await;

    let missed = manager.create(NewKey::named("revoked unheard")).await.unwrap();
    node.warm(missed.secret.expose()).await;
    manager.revoke(missed.record.id, None).await.unwrap();
    assert!(node.ask(missed.secret.expose()).await.is_ok(), "nobody has told this node");
    mend(&mut proxy, &node).await;
    assert!(node.cache.find_now(&missed.record.digest).is_none(), "it was not emptied");
    assert_eq!(node.ask(missed.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);

    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    node.warm(key.secret.expose()).await;
    node.hears(manager.revoke(key.record.id, None)).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

/// The server that carries the messages may be the one that has the keys. When it goes away, keys
/// that are known go on, as they do without a bus.
async fn with_the_store(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let node = Node::over(place.store_at(proxy.url()).await, place.bus_at(proxy.url()).await).await;
    let manager = place.manager().await;
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    let new = node.hears(manager.create(NewKey::named("not asked for yet"))).await.unwrap();
    node.warm(key.secret.expose()).await;
    cut(&mut proxy, &node).await;

    for _ in 0..3 {
        node.ask(key.secret.expose()).await.unwrap();
    }
    assert!(node.cache.stats().stale >= 3, "{:?}", node.cache.stats());
    assert_eq!(node.ask(new.secret.expose()).await.unwrap_err(), RejectionKind::Unavailable);

    manager.revoke(key.record.id, None).await.unwrap();
    mend(&mut proxy, &node).await;
    // After so long, nobody knows any more whether the store is down.
    node.clock.advance(Duration::from_secs(5));
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
    node.ask(new.secret.expose()).await.unwrap();
}

/// A node may start while the bus is away.
async fn before_it_is_there(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let bus = place.bus_at(proxy.url()).await;
    proxy.cut().await;
    assert!(bus.subscribe().await.is_err());
    proxy.pass();
    let node = Node::over(place.store().await, bus).await;
    let key = node.hears(place.manager().await.create(NewKey::named("k"))).await.unwrap();
    node.ask(key.secret.expose()).await.unwrap();
}

/// A change that cannot be announced is made all the same, and soon.
async fn publishing(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let bus = place.bus_at(proxy.url()).await;
    let manager = KeyManager::new(place.store().await).with_invalidations(bus.clone());
    let node = Node::of(place).await;
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();

    proxy.freeze();
    let error = bus.publish(&[key.record.digest].into()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    manager.revoke(key.record.id, None).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);

    proxy.cut().await;
    assert!(bus.publish(&[key.record.digest].into()).await.is_err());

    proxy.pass();
    node.hears(async { bus.publish(&[key.record.digest].into()).await.unwrap() }).await;
}

/// A listener ends with its cache, and gives its connection back.
#[tokio::test]
async fn a_listener_ends_with_its_cache() {
    struct Held(mpsc::Sender<()>);

    #[async_trait]
    impl Invalidations for Held {
        async fn publish(&self, _: &Announcement) -> Result<(), StoreError> {
            Ok(())
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
            Ok(Box::new(Held(self.0.clone())))
        }
    }

    #[async_trait]
    impl Subscription for Held {
        async fn next(&mut self) -> Result<Announcement, StoreError> {
            std::future::pending().await
        }
    }

    let (sender, mut held) = mpsc::channel(1);
    let node = Node::over(Arc::new(MemoryStore::new()), Arc::new(Held(sender))).await;
    drop(node);
    assert_eq!(timeout(TIMEOUT, held.recv()).await, Ok(None));
}
