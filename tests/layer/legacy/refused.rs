//! What is no key of the other system, and what it may cost to find out.

use std::time::Duration;

use futures_util::{FutureExt, future::join_all};
use tower_api_key::{
    ApiKeyLayer, KeyFormat,
    key::LegacyHash,
    legacy::LegacyHashes,
    store::{KeyRepository, MemoryStore},
};

use super::{argon2_of, bcrypt_of, import, imported, key, let_others_run, store::Watched};
use crate::support::{Answer, clock, send, send_waiting, with_key};

/// A layer over a store with one imported key, and an index that was read.
async fn ready() -> (Watched, LegacyHashes, ApiKeyLayer) {
    let store = Watched::new(MemoryStore::new());
    import(&store, [1]).await;
    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock()).build();
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    (store, legacy, layer)
}

#[tokio::test]
async fn a_wrong_key_is_hashed_once() {
    let (store, legacy, layer) = ready().await;
    let wrong = format!("{}x", key(1));
    let counts = (store.reads(), store.lists(), store.writes());
    assert_eq!(send_waiting(&layer, with_key(&wrong)).await.outcome(), "unknown_key");
    assert_eq!(legacy.stats().verifications, 1);
    for _ in 0..10 {
        // Without waiting for anything.
        assert_eq!(send(&layer, with_key(&wrong)).outcome(), "unknown_key");
    }
    assert_eq!(legacy.stats().verifications, 1);
    assert_eq!((store.reads(), store.lists(), store.writes()), counts);
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
}

#[tokio::test]
async fn a_wrong_key_is_tried_again_after_five_minutes() {
    let store = MemoryStore::new();
    import(&store, [1]).await;
    let clock = clock();
    let legacy = LegacyHashes::builder(store.clone())
        .with_clock(clock.clone())
        .with_refresh_interval(Duration::from_hours(1))
        .build();
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy.clone());
    let wrong = format!("{}x", key(1));
    for (wait, verifications) in [(0, 1), (299, 1), (1, 2)] {
        clock.advance(Duration::from_secs(wait));
        assert_eq!(send_waiting(&layer, with_key(&wrong)).await.outcome(), "unknown_key");
        assert_eq!(legacy.stats().verifications, verifications);
    }
}

#[tokio::test]
async fn wrong_keys_at_once_are_hashed_once() {
    let (_, legacy, layer) = ready().await;
    let wrong = format!("{}x", key(1));
    for answer in join_all((0..64).map(|_| send_waiting(&layer, with_key(&wrong)))).await {
        assert_eq!(answer.outcome(), "unknown_key");
    }
    assert_eq!(legacy.stats().verifications, 1);
}

#[tokio::test]
async fn a_key_that_begins_otherwise_costs_nothing() {
    let (store, legacy, layer) = ready().await;
    let counts = (store.reads(), store.lists(), store.writes());
    let shorter_than_a_start = &key(1)[..7];
    for unknown in [key(2), key(1).to_uppercase().replace("00000001", "0000000l")] {
        assert_eq!(send(&layer, with_key(&unknown)).outcome(), "unknown_key");
    }
    assert_eq!(send(&layer, with_key(shorter_than_a_start)).outcome(), "malformed_key");
    assert_eq!((store.reads(), store.lists(), store.writes()), counts);
    assert_eq!(legacy.stats().verifications, 0);
}

#[tokio::test]
async fn without_keys_of_another_system_nothing_waits() {
    let store = Watched::new(MemoryStore::new());
    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock()).build();
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy);
    for n in 0..10 {
        assert_eq!(send(&layer, with_key(&key(n))).outcome(), "unknown_key");
    }
    assert_eq!((store.reads(), store.lists()), (0, 1));
}

#[tokio::test]
async fn too_many_different_keys_are_told_to_come_again() {
    let store = MemoryStore::new();
    import(&store, 0..4).await;
    let legacy =
        LegacyHashes::builder(store.clone()).with_max_at_once(1).with_max_waiting(2).build();
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy.clone());
    let keys: Vec<_> = (0..4).map(key).collect();
    // Known keys, and those that wait already, are not among them.
    let order = [0, 1, 0, 2, 1, 3];
    let answers = order.map(|n| send_waiting(&layer, with_key(&keys[n])));
    let answers = join_all(answers).await;
    let outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    let (good, busy) = ("admitted", "lookup_overloaded");
    assert_eq!(outcomes, [good, good, good, busy, good, busy]);
    for answer in answers.iter().filter(|answer| answer.seen.is_none()) {
        assert_eq!(answer.response.status(), 503);
        assert!(answer.response.headers().contains_key("retry-after"));
    }
    assert_eq!((legacy.stats().shed, legacy.stats().verifications), (2, 2));
    // There is room again.
    for key in &keys {
        assert_eq!(send_waiting(&layer, with_key(key)).await.outcome(), "admitted");
    }
}

#[tokio::test]
async fn a_slow_hash_is_not_waited_for_longer_than_a_store() {
    let (_, _, layer) = ready().await;
    let hasty = layer.clone().with_lookup_timeout(Duration::ZERO);
    let answer = send_waiting(&hasty, with_key(&key(1))).await;
    assert_eq!(answer.outcome(), "store_unavailable");
    // Nothing was found out about it.
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
}

#[tokio::test]
async fn rows_that_cannot_be_used_harm_nobody() {
    let store = MemoryStore::new();
    let keys: Vec<_> = (0..4).map(key).collect();
    let endless = bcrypt_of(&keys[0]).replace("$04$", "$31$");
    let huge = argon2_of(&keys[1]).replace("m=16", "m=4194304");
    for (n, hash) in [endless, huge, "md5:5f4dcc3b5aa765d6".into()].into_iter().enumerate() {
        let mut record = imported(&keys[n], &bcrypt_of(&keys[n]));
        record.details.legacy_hash = Some(LegacyHash::new(hash));
        store.insert(&record).await.unwrap();
    }
    // Every unknown key begins like this one.
    let mut anybody = imported(&keys[3], &bcrypt_of(&keys[3]));
    anybody.start = "".into();
    store.insert(&anybody).await.unwrap();
    import(&store, [5]).await;

    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock()).build();
    legacy.refresh().await.unwrap();
    assert_eq!(legacy.stats().left, 1);
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy.clone());
    for key in &keys {
        assert_eq!(send(&layer, with_key(key)).outcome(), "unknown_key");
    }
    assert_eq!(legacy.stats().verifications, 0);
    assert_eq!(send_waiting(&layer, with_key(&key(5))).await.outcome(), "admitted");
}

#[tokio::test]
async fn what_bcrypt_does_not_read_is_no_part_of_a_key() {
    let store = MemoryStore::new();
    let good = key(1) + &"k".repeat(80);
    store.insert(&imported(&good, &bcrypt_of(&good))).await.unwrap();
    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy);
    let other_end = good.clone() + "x";
    for key in [&good, &other_end] {
        assert_eq!(send_waiting(&layer, with_key(key)).await.outcome(), "unknown_key");
    }
}

#[tokio::test]
async fn what_was_unknown_is_known_after_its_import() {
    let (store, legacy, layer) = ready().await;
    // Begins like a key that there is, and was hashed for that.
    let late = format!("{}-later", key(1));
    assert_eq!(send_waiting(&layer, with_key(&late)).await.outcome(), "unknown_key");
    assert_eq!(send(&layer, with_key(&late)).outcome(), "unknown_key");
    store.insert(&imported(&late, &argon2_of(&late))).await.unwrap();
    legacy.refresh().await.unwrap();
    assert_eq!(send_waiting(&layer, with_key(&late)).await.outcome(), "admitted");
}

#[tokio::test]
async fn an_import_elsewhere_is_known_after_a_minute() {
    let store = Watched::new(MemoryStore::new());
    let clock = clock();
    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock.clone()).build();
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy);
    import(&store, [1]).await;
    clock.advance(Duration::from_secs(59));
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "unknown_key");
    let_others_run().await;
    assert_eq!(store.lists(), 1);
    clock.advance(Duration::from_secs(1));
    // The one who finds that it is time does not wait for it, and one reading is enough for all.
    for _ in 0..3 {
        let answer = send_waiting(&layer, with_key(&key(1))).now_or_never().unwrap();
        assert_eq!(answer.outcome(), "unknown_key");
    }
    let_others_run().await;
    assert_eq!(store.lists(), 2);
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
}

#[tokio::test]
async fn formats_can_be_chosen_afterwards() {
    let (_, _, layer) = ready().await;
    let layer = layer.with_formats([KeyFormat::new("key").unwrap()]);
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "malformed_key");
}
