//! A peer that vanished without closing the connection: nothing comes any more, and nothing says
//! so.

use std::time::Duration;

use tokio::time::timeout;
use tower_api_key::{
    NewKey, RejectionKind,
    key::KeyDigest,
    store::{BackEnd, StoreErrorKind},
};

use crate::{
    node::{Node, TTL},
    place::Place,
    proxy::Proxy,
    watched::TIMEOUT,
};

on_servers!(is_noticed, until_it_is_noticed_the_ttl_holds, idle_is_not_silent, subscribing);

/// Asks after so long, and waits so long for the answer: what a subscription has of each.
type KeepAlive = (Duration, Duration);

const SHORT: KeepAlive = (Duration::from_millis(50), Duration::from_millis(500));
const NEVER: KeepAlive = (Duration::from_hours(1), Duration::from_hours(1));

async fn is_noticed(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let mut subscription = place.asking_bus_at(proxy.url(), SHORT).await.subscribe().await.unwrap();
    proxy.freeze();
    let end = timeout(TIMEOUT, subscription.next()).await.expect("it is noticed");
    let error = end.unwrap_err();
    assert_eq!((error.kind(), error.back_end()), (StoreErrorKind::Timeout, BackEnd::Bus));
    // It is over, also when the network is back: something may have been missed.
    proxy.pass();
    let end = timeout(TIMEOUT, subscription.next()).await.expect("it is over");
    assert_eq!(end.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

async fn until_it_is_noticed_the_ttl_holds(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let (manager, bus) = (place.manager().await, place.asking_bus_at(proxy.url(), NEVER).await);
    let node = Node::over(place.store().await, bus).await;
    let key = node.hears(manager.create(NewKey::named("k"))).await.unwrap();
    node.warm(key.secret.expose()).await;
    proxy.freeze();
    manager.revoke(key.record.id, None).await.unwrap();
    assert!(node.ask(key.secret.expose()).await.is_ok(), "nobody has told this node");
    node.clock.advance(TTL);
    assert_eq!(node.ask(key.secret.expose()).await.unwrap_err(), RejectionKind::Revoked);
}

/// Nothing to say for a while, and many questions and answers meanwhile.
async fn idle_is_not_silent(place: &Place) {
    let proxy = Proxy::before(place.url());
    let bus = place.asking_bus_at(proxy.url(), (Duration::from_millis(5), TIMEOUT)).await;
    let mut subscription = bus.subscribe().await.unwrap();
    let digest = KeyDigest::from_bytes([1; 32]);
    let talk = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        bus.publish(&[digest].into()).await.unwrap();
    };
    let (message, ()) = tokio::join!(subscription.next(), talk);
    assert_eq!(message.unwrap(), [digest].into());
}

async fn subscribing(place: &Place) {
    let mut proxy = Proxy::before(place.url());
    let bus = place.asking_bus_at(proxy.url(), SHORT).await;
    proxy.freeze();
    let subscribed = timeout(TIMEOUT, bus.subscribe()).await.expect("it is given up");
    assert_eq!(subscribed.err().unwrap().kind(), StoreErrorKind::Timeout);
}
