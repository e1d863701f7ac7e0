//! What an eviction policy, or somebody with `redis-cli`, does to a store.

use tower_api_key::{
    store::{
        ApplyOutcome, BalanceStore, KeyQuery, KeyRepository, KeyStore, KeyUse, RedisStore,
        StoreErrorKind, UsageLog,
    },
    usage::UsageQuery,
};

use super::{PARTS, Prefix, counted, indexed, request, run, texts};
use crate::conformance::{assert_duplicate, at, digest, full, record, stored};

async fn store_with_keys(prefix: &Prefix) -> RedisStore {
    let store = prefix.open().await;
    for number in 1..=3 {
        store.insert(&indexed(number)).await.unwrap();
    }
    store
}

/// A request that is answered already must not be new, nor a legacy key nobody's.
#[tokio::test]
async fn no_eviction_makes_a_request_new() {
    for part in ["requests", "legacy"] {
        let Some(prefix) = Prefix::new() else { return };
        let store = store_with_keys(&prefix).await;
        let _: u64 = run(&mut prefix.connect(), &["DEL", &prefix.key(part)]);
        let mut again = record(4);
        again.details.request = Some(request(1));
        assert_eq!(store.insert(&again).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
        let mut query = KeyQuery::new(10);
        match part {
            "requests" => query.request = Some(request(1)),
            _ => query.legacy = true,
        }
        let error = store.list(&query).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{part}");
        assert!(texts(&error).contains("evicted"), "{error:?}");

        // Keys go on being found, and can be revoked: what is written anew is found again.
        for number in 1..=3 {
            let old = stored(&store, record(number).id).await;
            let mut revoked = old.clone();
            revoked.details.revoked_at = Some(at(1));
            revoked.revision += 1;
            let update = store.update(&old, &revoked).await.unwrap();
            assert_eq!(update, ApplyOutcome::Done);
            assert_eq!(store.find(&digest(number)).await.unwrap().as_deref(), Some(&revoked));
        }
        assert!(!store.list(&query).await.unwrap().items.is_empty());
        assert_duplicate(store.insert(&again).await);
    }
}

/// A key that is there is found or not to be judged. It is never unknown.
#[tokio::test]
async fn no_eviction_makes_a_key_unknown() {
    for first in PARTS {
        for second in PARTS {
            let Some(prefix) = Prefix::new() else { return };
            let store = store_with_keys(&prefix).await;
            let _: u64 =
                run(&mut prefix.connect(), &["DEL", &prefix.key(first), &prefix.key(second)]);
            match store.find(&digest(1)).await {
                Ok(found) => assert_eq!(found.unwrap().id, full(1).id, "{first}, {second}"),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{first}, {second}");
                    assert!(texts(&error).contains("evicted"), "{error:?}");
                }
            }
            let essential = ["schema", "keys", "digests"];
            if essential.contains(&first) || essential.contains(&second) {
                store.find(&digest(1)).await.unwrap_err();
                // Nor is it made worse.
                let error = store.insert(&record(9)).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{first}, {second}");
                let error = store.find(&digest(9)).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{first}, {second}");
            }
        }
    }
}

/// Everything is gone, as after the restart of a Redis without persistence. The store says so
/// until somebody decides to begin anew.
#[tokio::test]
async fn a_flushed_store_is_corrupt_until_it_is_migrated() {
    let Some(prefix) = Prefix::new() else { return };
    let store = store_with_keys(&prefix).await;
    for part in PARTS {
        let _: u64 = run(&mut prefix.connect(), &["DEL", &prefix.key(part)]);
    }
    let id = full(1).id;
    let key_use = KeyUse::new(id, 1, at(1));
    let all = UsageQuery::new(at(i64::MIN), at(i64::MAX));
    for error in [
        store.find(&digest(1)).await.unwrap_err(),
        store.get(id).await.unwrap_err(),
        store.insert(&record(1)).await.unwrap_err(),
        store.update(&full(1), &full(1)).await.unwrap_err(),
        store.record_uses(&[key_use]).await.unwrap_err(),
        store.purge(at(0), None).await.unwrap_err(),
        store.balances(&[id]).await.unwrap_err(),
        store.record_usage(&[counted(1, 0, 1)]).await.unwrap_err(),
        store.usage(&all).await.unwrap_err(),
        store.busiest(&all, 1).await.unwrap_err(),
        store.forget_usage(at(0)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }
    assert_eq!(prefix.keys(), [""; 0]);
    store.migrate().await.unwrap();
    assert!(store.find(&digest(1)).await.unwrap().is_none());
    store.insert(&record(1)).await.unwrap();
}

/// One row of a hash, which only a person can remove.
#[tokio::test]
async fn half_a_key_is_corrupt() {
    let Some(prefix) = Prefix::new() else { return };
    let store = store_with_keys(&prefix).await;
    let mut other = prefix.connect();
    let _: u64 = run(&mut other, &["HDEL", &prefix.key("keys"), &full(1).id.to_string()]);
    let _: u64 = run(&mut other, &["HDEL", &prefix.key("digests"), &digest(2).to_hex()]);
    for number in [1, 2] {
        let error = store.find(&digest(number)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }
    // The others are as good as before.
    assert_eq!(store.find(&digest(3)).await.unwrap().as_deref(), Some(&indexed(3)));
}
