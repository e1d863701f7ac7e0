//! The server that carries the messages between nodes is stopped and started, while the keys are
//! elsewhere. Known keys live so long that only a message, or the want of one, makes a node ask
//! again.

use std::{sync::Arc, time::Duration};

use tower_api_key::{
    KeyManager,
    store::{KeyRepository, MemoryStore},
};

use crate::{
    load::Load,
    node::{Key, Node},
    place::{Place, Trouble},
    servers::Server,
    tally::{Kind, Outcome, Phase},
};

const TTL: Duration = Duration::from_hours(1);
/// Nobody has to wait: it is only there lest a test hang.
const LOOKUP_TIMEOUT: Duration = Duration::from_mins(1);
const KEYS: usize = 6;
const MANY: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_postgres() {
    the_bus_is_stopped(Server::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_redis() {
    the_bus_is_stopped(Server::Redis).await;
}

async fn the_bus_is_stopped(server: Server) {
    let Some(mut place) = Place::new(server, Trouble::Stopped).await else { return };
    let store: Arc<dyn KeyRepository> = Arc::new(MemoryStore::new());
    let node = Node::with_times(store.clone(), place.bus().await, TTL, LOOKUP_TIMEOUT);
    let elsewhere = KeyManager::new(store).with_invalidations(place.bus().await.unwrap());
    let title = format!("{}, as the bus", place.title(Trouble::Stopped));
    let load = Load::start(title, &node, false);
    load.until(|_| node.cache.stats().resets > 0).await;
    load.add(Kind::Cached, accepted(&load, node.create(KEYS).await).await);
    let [before, during, after] =
        [node.create(KEYS).await, node.create(KEYS).await, node.create(KEYS).await];
    let to_revoke = [node.create(1).await, node.create(1).await, node.create(1).await];
    let [heard, missed, heard_again] = to_revoke;

    let heard = accepted(&load, heard).await;
    elsewhere.revoke(heard[0].id, None).await.unwrap();
    refused(&load, heard).await;
    everybody_goes_on(&load, before).await;

    load.enter(Phase::During, || ());
    let resets = node.cache.stats().resets;
    place.begin(Trouble::Stopped).await;
    load.until(|_| node.cache.stats().resets > resets).await;
    let missed = accepted(&load, missed).await;
    elsewhere.revoke(missed[0].id, None).await.unwrap();
    let missed = accepted(&load, missed).await;
    everybody_goes_on(&load, during).await;

    load.enter(Phase::Recovering, || ());
    place.end();
    refused(&load, missed).await;
    load.enter(Phase::After, || ());
    let heard_again = accepted(&load, heard_again).await;
    elsewhere.revoke(heard_again[0].id, None).await.unwrap();
    refused(&load, heard_again).await;
    everybody_goes_on(&load, after).await;
    load.finish();
}

/// Keys that are let in now, and are in the cache.
async fn accepted(load: &Load, keys: Vec<Key>) -> Vec<Key> {
    load.until_right(Kind::Cached, &keys).await;
    keys
}

/// Waits until these keys are refused. From then on, they must be.
async fn refused(load: &Load, keys: Vec<Key>) {
    load.until_right(Kind::Revoked, &keys).await;
    load.add(Kind::Revoked, keys);
}

async fn everybody_goes_on(load: &Load, uncached: Vec<Key>) {
    load.add(Kind::Uncached, uncached);
    load.until(|tally| {
        tally.count(Kind::Cached, Outcome::Accepted) >= MANY
            && tally.count(Kind::Uncached, Outcome::Accepted) >= KEYS
            && tally.count(Kind::Revoked, Outcome::Refused) >= MANY
            && tally.count(Kind::Unknown, Outcome::Refused) >= MANY
    })
    .await;
}
