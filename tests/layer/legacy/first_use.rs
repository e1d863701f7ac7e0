//! The first use of a key proves it and stores its digest; the second is like any key's.

use futures_util::{FutureExt, future::join_all};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, KeyPatch, NewKey, Peppers,
    key::Details,
    legacy::LegacyHashes,
    store::{KeyRepository, MemoryStore},
};

use super::{argon2_of, bcrypt_of, import, imported, key, let_others_run, store::Watched};
use crate::{
    stores::TestStore,
    support::{NOW, at, clock, record_with, send, send_waiting, with_key},
};

/// 100 keys with a bcrypt hash and 100 with one of argon2, each used twice.
async fn each_pays_once(repository: impl KeyRepository + Clone) {
    const KEYS: usize = 200;
    let store = Watched::new(repository);
    for n in 0..KEYS {
        let hash_of = if n % 2 == 0 { bcrypt_of } else { argon2_of };
        store.insert(&imported(&key(n), &hash_of(&key(n)))).await.unwrap();
    }
    let legacy = LegacyHashes::builder(store.clone()).with_clock(clock()).build();
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    for n in 0..KEYS {
        let answer = send_waiting(&layer, with_key(&key(n))).await;
        assert_eq!(answer.outcome(), "admitted", "key {n}");
        let digest = KeyHasher::sha256().digest(key(n));
        let stored = store.inner.find(&digest).await.unwrap().expect("stored under its digest");
        assert_eq!(stored.details, Details::default());
        assert_eq!(stored.revision, 1);
        assert_eq!(answer.key().id(), stored.id);
    }
    let stats = legacy.stats();
    assert_eq!((stats.left, stats.upgrades, stats.verifications), (0, 200, 200));

    // From now on every key is decided as any other is: by its digest alone.
    let plain = Watched::new(store.inner.clone());
    let without = ApiKeyLayer::new(plain.clone());
    let (reads, lists, writes) = (store.reads(), store.lists(), store.writes());
    for n in 0..KEYS {
        for layer in [&layer, &without] {
            let answer = send_waiting(layer, with_key(&key(n))).await;
            assert_eq!(answer.outcome(), "admitted", "key {n}");
        }
    }
    assert_eq!(legacy.stats(), stats);
    assert_eq!(store.reads() - reads, plain.reads());
    assert_eq!((store.lists(), store.writes()), (lists, writes));
}

#[tokio::test]
async fn a_hundred_of_each_pay_once() {
    each_pays_once(MemoryStore::new()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn so_they_do_in_a_database() {
    each_pays_once(tower_api_key::store::SqliteStore::in_memory().await.unwrap()).await;
}

#[tokio::test]
async fn the_index_is_read_page_by_page() {
    const KEYS: usize = 2001;
    let store = Watched::new(MemoryStore::new());
    let (oldest, youngest) = (0, KEYS - 1);
    let hash = bcrypt_of("nobody's");
    for n in 0..KEYS {
        let is_used = [oldest, youngest].contains(&n);
        let hash = if is_used { bcrypt_of(&key(n)) } else { hash.clone() };
        store.insert(&imported(&key(n), &hash)).await.unwrap();
    }
    let legacy = LegacyHashes::new(store.clone());
    legacy.refresh().await.unwrap();
    assert_eq!((legacy.stats().left, store.lists()), (KEYS, 3));
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy.clone());
    for n in [oldest, youngest] {
        assert_eq!(send_waiting(&layer, with_key(&key(n))).await.outcome(), "admitted");
    }
    assert_eq!((legacy.stats().left, legacy.stats().verifications), (KEYS - 2, 2));
}

#[tokio::test]
async fn the_second_use_does_not_wait() {
    let store = MemoryStore::new();
    import(&store, [1]).await;
    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy);
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "admitted");
}

#[tokio::test]
async fn a_manager_s_layer_accepts_them_beside_its_own() {
    let store = MemoryStore::new();
    import(&store, [1]).await;
    let manager = KeyManager::new(store).with_clock(clock());
    let own = manager.create(NewKey::named("own")).await.unwrap();
    assert_eq!(send(&manager.layer(), with_key(&key(1))).outcome(), "malformed_key");

    let layer = manager.layer().with_legacy_hashes(manager.legacy_hashes());
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    assert_eq!(send(&layer, with_key(own.secret.expose())).outcome(), "admitted");
    let typo = format!("{}x", own.secret.expose());
    assert_eq!(send(&layer, with_key(&typo)).outcome(), "malformed_key");
}

#[tokio::test]
async fn first_uses_at_once_make_one_verification() {
    let store = Watched::new(MemoryStore::new());
    let id = import(&store, [1]).await;
    let writes = store.writes();
    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    let key = key(1);
    let answers = join_all((0..64).map(|_| send_waiting(&layer, with_key(&key)))).await;
    for answer in answers {
        assert_eq!(answer.key().id(), id);
    }
    let stats = legacy.stats();
    assert_eq!((stats.verifications, stats.upgrades), (1, 1));
    assert_eq!((store.lists(), store.writes() - writes), (1, 1));
}

#[tokio::test]
async fn who_goes_away_takes_nothing_along() {
    let store = MemoryStore::new();
    let id = import(&store, [1]).await;
    let legacy = LegacyHashes::new(store.clone());
    legacy.refresh().await.unwrap();
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    let mut gone = Box::pin(send_waiting(&layer, with_key(&key(1))));
    assert!(gone.as_mut().now_or_never().is_none(), "hashing is waited for");
    // It begins.
    let_others_run().await;
    drop(gone);
    while store.get(id).await.unwrap().unwrap().details.legacy_hash.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "admitted");
    assert_eq!(legacy.stats().verifications, 1);
}

#[tokio::test]
async fn keys_that_begin_alike_are_told_apart() {
    let store = MemoryStore::new();
    let keys: Vec<_> = (0..5).map(|n| format!("sk_live_of-another-system-{n}")).collect();
    let mut ids = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let mut record = imported(key, &argon2_of(key));
        // One was kept with a longer start, and says more than the others.
        record.start = key[..if n == 3 { key.len() } else { 8 }].into();
        store.insert(&record).await.unwrap();
        ids.push(record.id);
    }
    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store).with_legacy_hashes(legacy.clone());
    assert_eq!(send_waiting(&layer, with_key(&keys[3])).await.key().id(), ids[3]);
    assert_eq!(legacy.stats().verifications, 1);
    for n in [0, 4, 1, 2] {
        assert_eq!(send_waiting(&layer, with_key(&keys[n])).await.key().id(), ids[n], "{n}");
    }
    assert_eq!(legacy.stats().left, 0);
}

#[tokio::test]
async fn the_digest_is_stored_under_the_current_pepper() {
    let (new, old) = (Peppers::new(&[1; 32]).unwrap(), [2; 32]);
    let rotated = Peppers::new(&[1; 32]).unwrap().with_retired(&old).unwrap();
    for peppers in [new.clone(), rotated] {
        let store = MemoryStore::new();
        import(&store, [1]).await;
        let manager = KeyManager::new(store).with_hasher(KeyHasher::hmac_sha256(peppers));
        let layer = manager.layer().with_legacy_hashes(manager.legacy_hashes());
        assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
        let layer = layer.with_hasher(KeyHasher::hmac_sha256(new.clone()));
        assert_eq!(send(&layer, with_key(&key(1))).outcome(), "admitted");
    }
}

#[tokio::test]
async fn every_status_rule_applies_and_refused_keys_pay_once_as_well() {
    let net = "10.0.0.0/8".parse().unwrap();
    for (change, expected) in [
        (KeyPatch { disabled: Some(true), ..KeyPatch::default() }, "disabled_key"),
        (KeyPatch { expires_at: Some(Some(at(1))), ..KeyPatch::default() }, "expired_key"),
        (KeyPatch { not_before: Some(Some(at(2))), ..KeyPatch::default() }, "not_yet_valid_key"),
        (
            KeyPatch { allowed_addresses: Some(vec![net]), ..KeyPatch::default() },
            "address_not_allowed",
        ),
    ] {
        let (store, clock) = (MemoryStore::new(), clock());
        let id = import(&store, [1]).await;
        let manager = KeyManager::new(store).with_clock(clock.clone());
        let legacy = manager.legacy_hashes();
        let layer = manager.layer().with_legacy_hashes(legacy.clone());
        // What the key may do is what its record says now, not when the index was read.
        legacy.refresh().await.unwrap();
        manager.update(id, change).await.unwrap();
        clock.set(at(1));
        let answer = send_waiting(&layer, with_key(&key(1))).await;
        assert_eq!(answer.outcome(), expected);
        assert_eq!(answer.rejection().key(), Some(id));
        assert_eq!(send(&layer, with_key(&key(1))).outcome(), expected);
        assert_eq!(legacy.stats().verifications, 1);
    }
}

#[tokio::test]
async fn revoked_and_deleted_keys_stay_so() {
    let store = MemoryStore::new();
    let (revoked, deleted) = (import(&store, [1]).await, import(&store, [2]).await);
    let manager = KeyManager::new(store);
    let legacy = manager.legacy_hashes();
    let layer = manager.layer().with_legacy_hashes(legacy.clone());
    legacy.refresh().await.unwrap();
    manager.revoke(revoked, None).await.unwrap();
    manager.delete(deleted).await.unwrap();
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "revoked_key");
    assert_eq!(send_waiting(&layer, with_key(&key(2))).await.outcome(), "unknown_key");
    assert!(legacy.stats().left == 0 && legacy.stats().upgrades == 1);
}

#[tokio::test]
async fn a_key_that_another_node_has_upgraded_is_let_in() {
    let store = MemoryStore::new();
    let id = import(&store, [1]).await;
    // This node's cache says that the key is unknown, and its index is from before.
    let legacy = LegacyHashes::new(store.clone());
    legacy.refresh().await.unwrap();
    let behind = ApiKeyLayer::new(TestStore::new([])).with_legacy_hashes(legacy.clone());
    let other = LegacyHashes::new(store.clone());
    let ahead = ApiKeyLayer::new(store.clone()).with_legacy_hashes(other);
    assert_eq!(send_waiting(&ahead, with_key(&key(1))).await.key().id(), id);

    for _ in 0..3 {
        assert_eq!(send_waiting(&behind, with_key(&key(1))).await.key().id(), id);
    }
    let stats = legacy.stats();
    assert_eq!((stats.verifications, stats.upgrades, stats.left), (1, 0, 0));
    assert_eq!(store.get(id).await.unwrap().unwrap().revision, 1);
}

#[tokio::test]
async fn nodes_at_once_write_once() {
    let store = MemoryStore::new();
    let id = import(&store, [1]).await;
    let layers: Vec<_> = (0..4)
        .map(|_| {
            let legacy = LegacyHashes::new(store.clone());
            ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy)
        })
        .collect();
    let key = key(1);
    let answers = join_all(layers.iter().map(|layer| send_waiting(layer, with_key(&key)))).await;
    for answer in answers {
        assert_eq!(answer.key().id(), id);
    }
    assert_eq!(store.get(id).await.unwrap().unwrap().revision, 1);
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn a_cache_learns_of_the_upgrade() {
    use tower_api_key::store::CachedStore;
    let store = CachedStore::new(MemoryStore::new());
    // Known to be unknown, and then imported.
    let manager = KeyManager::new(store.clone());
    let legacy = manager.legacy_hashes();
    let layer = manager.layer().with_legacy_hashes(legacy.clone());
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "unknown_key");
    import(&store, [1]).await;
    legacy.refresh().await.unwrap();
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    assert_eq!(send_waiting(&layer, with_key(&key(1))).await.outcome(), "admitted");
    let_others_run().await;
    assert_eq!(send(&layer, with_key(&key(1))).outcome(), "admitted");
    assert_eq!(legacy.stats().verifications, 1);
}

#[tokio::test]
async fn a_key_that_was_imported_twice_is_stored_once() {
    let store = MemoryStore::new();
    let (first, second) = (import(&store, [1]).await, import(&store, [1]).await);
    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    let id = send_waiting(&layer, with_key(&key(1))).await.key().id();
    assert!([first, second].contains(&id));
    assert_eq!(send(&layer, with_key(&key(1))).key().id(), id);
    assert_eq!(legacy.stats().left, 1);
}

#[tokio::test]
async fn a_digest_that_is_taken_leaves_the_key_as_it_is() {
    let store = MemoryStore::new();
    // A deleted key keeps its digest.
    let taken = record_with(&key(1), |record| record.details.deleted_at = Some(NOW));
    store.insert(&taken).await.unwrap();
    let id = import(&store, [1]).await;
    let legacy = LegacyHashes::new(store.clone());
    let layer = ApiKeyLayer::new(store.clone()).with_legacy_hashes(legacy.clone());
    for _ in 0..2 {
        assert_eq!(send_waiting(&layer, with_key(&key(1))).await.key().id(), id);
    }
    assert_eq!((legacy.stats().verifications, legacy.stats().upgrades), (1, 0));
}
