//! A lookup takes time. What it read before a key was changed must not be what is known
//! afterwards.

use std::time::Duration;

use tower_api_key::{IssuedKey, KeyManager, NewKey, RejectionKind, store::KeyStore};

use crate::{
    gate::{Gate, Hold, gated},
    node::{Node, revoke_silently},
    place::Place,
};

everywhere!(a_lookup_while_the_key_is_revoked, a_refresh_while_the_key_is_revoked);

/// A node whose lookups wait at a gate, and a key of which it does not know.
async fn at_a_gate(place: &Place) -> (Node, Gate, IssuedKey) {
    let (store, gate) = gated(place.store().await, Hold::Find);
    let node = Node::over(store, place.bus().await).await;
    let key = node.hears(place.manager().await.create(NewKey::named("k"))).await.unwrap();
    (node, gate, key)
}

async fn a_lookup_while_the_key_is_revoked(place: &Place) {
    let (node, mut gate, key) = at_a_gate(place).await;
    let asking = tokio::spawn({
        let (node, key) = (node.clone(), key.secret.expose().to_owned());
        async move { node.ask(&key).await }
    });
    gate.arrival().await;
    node.hears(place.manager().await.revoke(key.record.id, None)).await.unwrap();
    gate.open();
    // Who waits is told what is so now.
    assert_eq!(asking.await.unwrap().unwrap_err(), RejectionKind::Revoked);
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

async fn a_refresh_while_the_key_is_revoked(place: &Place) {
    let (node, mut gate, key) = at_a_gate(place).await;
    gate.let_one_go();
    node.ask(key.secret.expose()).await.unwrap();
    gate.arrival().await;
    // Of 27 to 30 seconds, in the last fifth: fresh enough to be let in, and looked up again.
    node.clock.advance(Duration::from_secs(25));
    node.ask(key.secret.expose()).await.unwrap();
    gate.arrival().await;
    node.hears(place.manager().await.revoke(key.record.id, None)).await.unwrap();
    gate.open();
    // Nobody waits for the refresh. It comes in between.
    for _ in 0..100 {
        assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
        tokio::task::yield_now().await;
    }
}

/// The same for a cache that is emptied, because it may have missed something.
#[tokio::test]
async fn a_lookup_while_the_cache_is_emptied() {
    let place = Place::local().await.unwrap();
    let (node, mut gate, key) = at_a_gate(&place).await;
    let asking = tokio::spawn({
        let (node, key) = (node.clone(), key.secret.expose().to_owned());
        async move { node.ask(&key).await }
    });
    gate.arrival().await;
    revoke_silently(&*place.store().await, &key.record).await;
    node.cache.clear();
    gate.open();
    assert_eq!(asking.await.unwrap().unwrap_err(), RejectionKind::Revoked);
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

/// A lookup of a key that is then created must not leave behind that there is none.
#[tokio::test]
async fn a_lookup_while_the_key_is_created() {
    let place = Place::local().await.unwrap();
    let (store, mut gate) = gated(place.store().await, Hold::Find);
    let node = Node::over(store, place.bus().await).await;
    let (bus, manager) = (place.bus().await, KeyManager::new(place.store().await));
    // Its digest has to be known while it does not exist.
    let key = manager.create(NewKey::named("k")).await.unwrap();
    let record = key.record.clone();
    manager.delete(record.id).await.unwrap();
    let asking = tokio::spawn({
        let (cache, digest) = (node.cache.clone(), record.digest);
        async move { cache.find(&digest).await }
    });
    gate.arrival().await;
    let deleted = place.store().await.get(record.id).await.unwrap().unwrap();
    let mut again = deleted.as_ref().clone();
    (again.details.deleted_at, again.revision) = (None, deleted.revision + 1);
    place.store().await.update(&deleted, &again).await.unwrap();
    node.hears(async { bus.publish(&[record.digest].into()).await.unwrap() }).await;
    gate.open();
    assert_eq!(asking.await.unwrap().unwrap().unwrap().id, record.id);
    assert_eq!(node.ask(key.secret.expose()).await.unwrap().id(), record.id);
}
