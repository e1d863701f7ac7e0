//! What a layer in shadow keeps to itself: it stores nothing, and counts failures apart.

use std::net::IpAddr;

use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyManager, NewKey, Peppers,
    auth::{Enforcement, FailureThrottle, ShadowLayer, Unidentified},
    legacy::LegacyHashes,
    limit::Quota,
    manage::RotationGrace,
    nonzero,
    store::{KeyRepository, MemoryStore},
};

use super::{send, send_now};
use crate::{
    legacy,
    limits::failures::from,
    stores::TestStore,
    support::{KEY, at, clock, record, send_waiting, with_key},
};

const CLIENT: &str = "192.0.2.1";

/// The ways in which a layer does not enforce a good key.
fn in_shadow(layer: &ApiKeyLayer) -> [ShadowLayer; 3] {
    let shadow = || layer.clone().shadow_until(at(1_000));
    let for_no_key =
        |unidentified| shadow().with_enforcement(Enforcement::by(|_| false, unidentified));
    [shadow(), for_no_key(Unidentified::Shadow), for_no_key(Unidentified::Enforce)]
}

/// Lets spawned work that does not wait for anything finish; there is one thread.
async fn let_others_run() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_hash_stays() {
    let store = MemoryStore::new();
    let id = legacy::import(&store, [1]).await;
    let hashes = LegacyHashes::builder(store.clone()).with_clock(clock()).build();
    let layer = ApiKeyLayer::new(store.clone()).with_clock(clock()).with_legacy_hashes(hashes);
    let has_hash = async || store.get(id).await.unwrap().unwrap().details.legacy_hash.is_some();
    for shadow in in_shadow(&layer) {
        // The first ones may not wait for the hash to its end.
        while send(&shadow, with_key(&legacy::key(1))).await.identity().is_none() {}
        let_others_run().await;
        assert!(has_hash().await);
    }
    assert_eq!(send_waiting(&layer, with_key(&legacy::key(1))).await.outcome(), "admitted");
    assert!(!has_hash().await);
}

#[tokio::test]
async fn a_digest_and_a_grace_stay() {
    const OLD: &[u8] = b"the old pepper of the tests, 32 bytes";
    const NEW: &[u8] = b"the new pepper of the tests, 32 bytes";

    let store = MemoryStore::new();
    let manager = |peppers| {
        KeyManager::new(store.clone())
            .with_clock(clock())
            .with_hasher(KeyHasher::hmac_sha256(peppers))
    };
    let old = manager(Peppers::new(OLD).unwrap());
    let first = old.create(NewKey::named("k")).await.unwrap();
    let grace = RotationGrace::FromFirstUse(std::time::Duration::ZERO);
    let issued = old.rotate(first.record.id, grace).await.unwrap();
    let layer = manager(Peppers::new(NEW).unwrap().with_retired(OLD).unwrap()).layer();
    for shadow in in_shadow(&layer) {
        let passed = send_now(&shadow, with_key(issued.secret.expose()));
        assert_eq!(passed.identity(), Some("k"));
        let_others_run().await;
        let kept = store.get(issued.record.id).await.unwrap().unwrap();
        assert_eq!(kept, issued.record);
    }
    // One is written at a time.
    for _ in 0..2 {
        let answer = send_waiting(&layer, with_key(issued.secret.expose())).await;
        assert_eq!(answer.outcome(), "admitted");
        let_others_run().await;
    }
    let kept = store.get(issued.record.id).await.unwrap().unwrap();
    assert!(kept.digest != issued.record.digest && !kept.details.rotation.is_awaited);
}

/// A layer that lets them on counts failures for itself; one that denies them counts them for all.
#[tokio::test]
async fn failures_are_counted_where_they_are_denied() {
    for make in [TestStore::new, TestStore::waiting] {
        for (form, is_denied) in [(0, false), (1, false), (2, true)] {
            let throttle = FailureThrottle::builder(Quota::per_hour(nonzero!(2)));
            let layer = ApiKeyLayer::new(make([record(KEY)]))
                .with_clock(clock())
                .with_client_address(|request| request.extensions.get::<IpAddr>().copied())
                .with_failure_throttle(throttle.with_clock(clock()).build())
                .unwrap();
            let unknown = || from(CLIENT, with_key("unknown-key-of-these-tests-0123"));
            let shadow = &in_shadow(&layer)[form];
            for _ in 0..4 {
                assert_eq!(send(shadow, unknown()).await.response.status() != 200, is_denied);
            }
            let expected = if is_denied { "too_many_failures" } else { "unknown_key" };
            assert_eq!(send_waiting(&layer, unknown()).await.outcome(), expected);
        }
    }
}
