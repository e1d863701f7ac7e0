//! A repository that fails: nobody is told that a good key is bad.

use std::time::Duration;

use tower_api_key::{
    ApiKeyLayer,
    clock::SettableClock,
    legacy::LegacyHashes,
    store::{KeyRepository, MemoryStore},
};

use super::{import, key, let_others_run, store::Watched};
use crate::support::{clock, send, send_waiting, with_key};

async fn setup() -> (Watched, SettableClock, LegacyHashes, ApiKeyLayer) {
    let store = Watched::new(MemoryStore::new());
    import(&store, [1]).await;
    let clock = clock();
    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock.clone()).build();
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    (store, clock, legacy, layer)
}

#[tokio::test]
async fn without_an_index_nobody_is_unknown() {
    let (store, clock, legacy, layer) = setup().await;
    store.set_cannot_list(true);
    for unknown in [key(1), key(2)] {
        let answer = send_waiting(&layer, with_key(&unknown)).await;
        assert_eq!(answer.outcome(), "store_unavailable");
        assert_eq!(answer.response.status(), 503);
    }
    // A store that fails is not asked by every request.
    assert_eq!(store.lists(), 1);
    store.set_cannot_list(false);
    clock.advance(Duration::from_secs(1));
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    assert_eq!(store.lists(), 2);
    assert_eq!(send(&layer, with_key(&key(2))).outcome(), "unknown_key");
    assert_eq!(legacy.stats().verifications, 1);
}

#[tokio::test]
async fn the_last_index_goes_on_for_five_minutes() {
    let (store, clock, legacy, layer) = setup().await;
    legacy.refresh().await.unwrap();
    store.set_cannot_list(true);
    clock.advance(Duration::from_secs(60 + 299));
    assert_eq!(send_waiting(&layer, with_key(&key(2))).await.outcome(), "unknown_key");
    let_others_run().await;
    assert_eq!(store.lists(), 2);
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    clock.advance(Duration::from_secs(1));
    assert_eq!(send_waiting(&layer, with_key(&key(2))).await.outcome(), "store_unavailable");
    // Keys that the store knows do not need it.
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "admitted");
    assert!(legacy.refresh().await.is_err());
}

#[tokio::test]
async fn a_key_whose_record_cannot_be_read_is_told_to_come_again() {
    let (store, _, legacy, layer) = setup().await;
    store.set_cannot_get(true);
    for _ in 0..2 {
        let answer = send_waiting(&layer, with_key(&key(1))).await;
        assert_eq!(answer.outcome(), "store_unavailable");
    }
    store.set_cannot_get(false);
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    // Proven once is enough.
    assert_eq!(legacy.stats().verifications, 1);
}

#[tokio::test]
async fn an_upgrade_that_cannot_be_written_is_made_up_for() {
    let (store, _, legacy, layer) = setup().await;
    store.set_cannot_write(true);
    let before = store.writes();
    for uses in 1..=3 {
        assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
        assert_eq!(store.writes() - before, uses);
    }
    assert_eq!((legacy.stats().upgrades, legacy.stats().left), (0, 1));
    store.set_cannot_write(false);
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "admitted");
    let stats = legacy.stats();
    assert_eq!((stats.upgrades, stats.left, stats.verifications), (1, 0, 1));
}

#[tokio::test]
async fn a_key_that_is_proven_can_still_be_taken_away() {
    let (store, _, legacy, layer) = setup().await;
    store.set_cannot_write(true);
    let id = send_waiting(&layer, with_key(&key(1))).await.key().id();
    store.set_cannot_write(false);
    let manager = tower_api_key::KeyManager::new(store.clone());
    manager.revoke(id, None).await.unwrap();
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "revoked_key");
    assert!(store.get(id).await.unwrap().unwrap().details.legacy_hash.is_none());
    assert_eq!(legacy.stats().verifications, 1);
}
