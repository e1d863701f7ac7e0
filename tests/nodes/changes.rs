//! Every change that one node makes reaches another, whatever carries it. The clock of the other
//! node's cache stands still: nothing is forgotten but what was announced.

use std::{sync::Arc, time::Duration};

use tower_api_key::{
    KeyHasher, KeyManager, KeyPatch, NewKey, Peppers, RejectionKind, Scopes, scope::Scope,
    store::KeyStore,
};

use crate::{
    gate::{Hold, gated},
    node::{Node, ask},
    place::Place,
};

everywhere!(
    revocation,
    update,
    disabling_and_enabling,
    deletion,
    creation_of_a_key_that_was_unknown,
    creation_of_a_key_lists_it,
    no_change_of_another_store,
    renewal_of_a_digest,
    changes_through_the_other_nodes_own_cache,
    a_change_whose_caller_goes_away,
);

async fn revocation(place: &Place) {
    let (manager, node) = (place.manager().await, Node::of(place).await);
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    node.warm(key.secret.expose()).await;
    node.hears(manager.revoke(key.record.id, None)).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

async fn update(place: &Place) {
    let (manager, node) = (place.manager().await, Node::of(place).await);
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    let read: Scope = "orders:read".parse().unwrap();
    node.warm(key.secret.expose()).await;
    assert!(!node.ask(key.secret.expose()).await.unwrap().scopes().allow(&read));
    let scopes = Some(Scopes::parse(["orders:read"]).unwrap());
    let patch = KeyPatch { scopes, ..KeyPatch::default() };
    node.hears(manager.update(key.record.id, patch)).await.unwrap();
    assert!(node.ask(key.secret.expose()).await.unwrap().scopes().allow(&read));
}

async fn disabling_and_enabling(place: &Place) {
    let (manager, node) = (place.manager().await, Node::of(place).await);
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    node.warm(key.secret.expose()).await;
    let patch = |disabled| KeyPatch { disabled: Some(disabled), ..KeyPatch::default() };
    node.hears(manager.update(key.record.id, patch(true))).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Disabled);
    node.hears(manager.update(key.record.id, patch(false))).await.unwrap();
    node.ask(key.secret.expose()).await.unwrap();
}

async fn deletion(place: &Place) {
    let (manager, node) = (place.manager().await, Node::of(place).await);
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    node.warm(key.secret.expose()).await;
    node.hears(manager.delete(key.record.id)).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Unknown);
}

async fn creation_of_a_key_that_was_unknown(place: &Place) {
    // Nobody knows a key before it is made, but somebody may ask for it before it is written.
    let (store, mut gate) = gated(place.store().await, Hold::Insert);
    let manager = KeyManager::new(store).with_invalidations(place.bus().await);
    let node = Node::of(place).await;
    let creating = tokio::spawn(async move { manager.create(NewKey::named("k")).await });
    let digest = gate.arrival().await;
    assert!(node.cache.find(&digest).await.unwrap().is_none());
    assert!(node.cache.find_now(&digest).is_some(), "that it is unknown is cached");
    let key = node
        .hears(async {
            gate.let_one_go();
            creating.await.unwrap().unwrap()
        })
        .await;
    assert_eq!(node.ask(key.secret.expose()).await.unwrap().id(), key.record.id);
}

/// The key's old digest and its new one are both cached elsewhere, the one as found and the other
/// as not found.
/// The filter of known digests has a key that another node has created as soon as this one has heard.
async fn creation_of_a_key_lists_it(place: &Place) {
    let (manager, node) = (place.manager().await, Node::of(place).await);
    // The first lookup has the filter loaded.
    node.ask("a-key-that-there-is-not").await.unwrap_err();
    let listed = || node.cache.stats().filter_keys;
    while listed().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(listed(), Some(0));
    for count in 1..=3 {
        node.hears(manager.create(NewKey::named("k"))).await.unwrap();
        assert_eq!(listed(), Some(count));
    }
}

/// They share a server and a channel, and a key with the same digest.
async fn no_change_of_another_store(place: &Place) {
    let (store, other) = (place.store().await, place.other_store().await);
    let identities = [store.identity().await.unwrap(), other.identity().await.unwrap()];
    assert!(identities[0].is_some() && identities[1].is_some() && identities[0] != identities[1]);
    assert_eq!(place.store().await.identity().await.unwrap(), identities[0], "of another node");
    let manager = place.manager().await;
    let (node, apart) = (Node::of(place).await, Node::over(other.clone(), place.bus().await).await);
    let created = manager.create(NewKey::named("k"));
    let key = node.hears(apart.hears(created)).await.unwrap();
    other.insert(&key.record).await.unwrap();
    for node in [&node, &apart] {
        node.warm(key.secret.expose()).await;
    }
    let (misses, resets) = (apart.cache.stats().misses, apart.cache.stats().resets);
    node.hears(apart.hears(manager.revoke(key.record.id, None))).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
    apart.ask(key.secret.expose()).await.unwrap();
    let stats = apart.cache.stats();
    assert_eq!((stats.misses, stats.resets), (misses, resets), "it was in memory");
    // What is announced of the other store is heard.
    let manager = KeyManager::new(other).with_invalidations(place.bus().await);
    node.hears(apart.hears(manager.revoke(key.record.id, None))).await.unwrap();
    assert_eq!(apart.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

async fn renewal_of_a_digest(place: &Place) {
    let (old, new) = (&[1; 32], &[2; 32]);
    let before = KeyHasher::hmac_sha256(Peppers::new(old).unwrap());
    let after = KeyHasher::hmac_sha256(Peppers::new(new).unwrap().with_retired(old).unwrap());
    let manager = place.manager().await;
    let node = Node::of(place).await.with_hasher(after.clone());
    let create = manager.clone().with_hasher(before.clone());
    let key = node.hears(create.create(NewKey::named("k"))).await.unwrap();
    node.ask(key.secret.expose()).await.unwrap();
    let digests = [&before, &after].map(|hasher| hasher.digest(key.secret.expose()));
    assert!(digests.iter().all(|digest| node.cache.find_now(digest).is_some()));
    // A layer of the manager's stores the key anew.
    let layer = manager.clone().with_hasher(after.clone()).layer();
    node.hears(ask(&layer, key.secret.expose())).await.unwrap();
    assert!(digests.iter().all(|digest| node.cache.find_now(digest).is_none()));
    node.warm(key.secret.expose()).await;
    node.hears(manager.revoke(key.record.id, None)).await.unwrap();
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

/// A node that manages keys, too, has its manager write through its cache.
async fn changes_through_the_other_nodes_own_cache(place: &Place) {
    let (node, other) = (Node::of(place).await, Node::of(place).await);
    let manager = KeyManager::new(node.cache.clone()).with_invalidations(place.bus().await);
    let key = other.hears(manager.create(NewKey::named("k"))).await.unwrap();
    node.until(|progress| progress.heard == 1).await;
    node.warm(key.secret.expose()).await;
    other.warm(key.secret.expose()).await;
    other.hears(manager.revoke(key.record.id, None)).await.unwrap();
    for node in [node, other] {
        assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
    }
}

/// As when an administrator closes the browser: what was written has to be announced all the same.
async fn a_change_whose_caller_goes_away(place: &Place) {
    let node = Node::of(place).await;
    let key = node.hears(place.manager().await.create(NewKey::named("k"))).await.unwrap();
    node.warm(key.secret.expose()).await;

    let (store, mut gate) = gated(place.store().await, Hold::Update);
    let manager = Arc::new(KeyManager::new(store).with_invalidations(place.bus().await));
    let id = key.record.id;
    let revoking = tokio::spawn(async move { manager.revoke(id, None).await.map(drop) });
    gate.arrival().await;
    revoking.abort();
    assert!(revoking.await.unwrap_err().is_cancelled());
    node.hears(async { gate.open() }).await;
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}
