//! Rotation with a grace from the first use: the old key waits for the new one.

use std::time::Duration;

use tower_api_key::{
    IssuedKey, KeyManager, KeyPatch,
    key::{KeyStatus, Rotation},
    manage::RotationGrace,
};

use crate::{
    managed::{Managed, retirement},
    rotation::hours,
    support::{at, send, with_key},
};

const HOUR: i64 = 3_600_000;

async fn rotate(managed: &Managed, key: &IssuedKey, grace: RotationGrace) -> IssuedKey {
    managed.manager.rotate(key.record.id, grace).await.unwrap()
}

async fn rotation(managed: &Managed, key: &IssuedKey) -> Rotation {
    managed.row(key.record.id).await.details.rotation.clone()
}

#[tokio::test]
async fn the_old_key_works_until_the_new_one_was_used_and_the_grace_is_over() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new = rotate(&managed, &old, RotationGrace::FromFirstUse(hours(1))).await;
    assert!(rotation(&managed, &new).await.is_awaited);
    assert_eq!(rotation(&managed, &old).await.grace_after_use, Some(3_600_000));
    // However long it takes.
    managed.set(at(10_000 * HOUR));
    managed.use_key(&old).await;
    assert!(rotation(&managed, &new).await.is_awaited, "the old key's uses are not the new one's");

    managed.use_key(&new).await;
    let (ended, used) = (rotation(&managed, &old).await, rotation(&managed, &new).await);
    assert_eq!(ended.retires_at, Some(at(10_001 * HOUR)));
    assert_eq!(ended.grace_after_use, None);
    assert!(!used.is_awaited);
    assert_eq!(retirement(&managed.send(&old).response)[1], Some("Thu, 13 Jan 2028 17:00:00 GMT"));
    // Later uses change nothing.
    managed.set(at(10_001 * HOUR - 1));
    managed.use_key(&new).await;
    managed.use_key(&old).await;
    managed.set(at(10_001 * HOUR));
    assert_eq!(managed.outcome(&old), "expired_key");
    assert_eq!(rotation(&managed, &old).await, ended);
    assert_eq!(rotation(&managed, &new).await, used);
}

#[tokio::test]
async fn without_a_grace_the_first_use_is_the_old_keys_end() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new = rotate(&managed, &old, RotationGrace::FromFirstUse(Duration::ZERO)).await;
    managed.use_key(&old).await;
    managed.use_key(&new).await;
    assert_eq!(managed.outcome(&old), "expired_key");
}

#[tokio::test]
async fn the_longest_grace_has_no_end_to_speak_of() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new = rotate(&managed, &old, RotationGrace::FromFirstUse(Duration::MAX)).await;
    managed.use_key(&new).await;
    managed.set(at(1_000_000 * HOUR));
    assert_eq!(managed.outcome(&old), "admitted");
}

/// A use that was refused is none.
#[tokio::test]
async fn a_denied_request_starts_nothing() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new = rotate(&managed, &old, RotationGrace::FromFirstUse(hours(1))).await;
    managed.manager.disable(new.record.id).await.unwrap();
    assert_eq!(managed.outcome(&new), "disabled_key");
    let elsewhere = Some(vec!["192.0.2.1/32".parse().unwrap()]);
    let elsewhere =
        KeyPatch { allowed_addresses: elsewhere, disabled: Some(false), ..KeyPatch::default() };
    managed.manager.update(new.record.id, elsewhere).await.unwrap();
    assert_eq!(managed.outcome(&new), "address_not_allowed");
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(rotation(&managed, &new).await.is_awaited);
}

/// A → B → C, and B is never used: A waits for the first use of either.
#[tokio::test]
async fn a_key_that_was_replaced_unused_passes_the_wait_on() {
    for last in [
        RotationGrace::NONE,
        RotationGrace::FromNow(hours(5)),
        RotationGrace::FromFirstUse(hours(2)),
    ] {
        let managed = Managed::new();
        let a = managed.issue().await;
        let b = rotate(&managed, &a, RotationGrace::FromFirstUse(hours(1))).await;
        let c = rotate(&managed, &b, last).await;
        managed.set(at(100));
        managed.use_key(&a).await;
        managed.use_key(&c).await;
        assert_eq!(rotation(&managed, &a).await.retires_at, Some(at(HOUR + 100)), "{last:?}");
        let expected = match last {
            RotationGrace::FromFirstUse(_) => at(2 * HOUR + 100),
            RotationGrace::FromNow(grace) => at(0).saturating_add(grace),
            other => panic!("{other:?}"),
        };
        assert_eq!(rotation(&managed, &b).await.retires_at, Some(expected));
        for key in [&a, &b, &c] {
            let Rotation { is_awaited, grace_after_use, .. } = rotation(&managed, key).await;
            assert_eq!((is_awaited, grace_after_use), (false, None));
        }
    }
}

/// A → B → C, and B is used although C exists: that starts A's grace, and B waits for C.
#[tokio::test]
async fn a_replaced_key_that_is_used_after_all_ends_the_wait_for_it() {
    let managed = Managed::new();
    let a = managed.issue().await;
    let b = rotate(&managed, &a, RotationGrace::FromFirstUse(hours(1))).await;
    let c = rotate(&managed, &b, RotationGrace::FromFirstUse(hours(2))).await;
    managed.set(at(100));
    managed.use_key(&b).await;
    assert_eq!(rotation(&managed, &a).await.retires_at, Some(at(HOUR + 100)));
    assert_eq!(rotation(&managed, &b).await.retires_at, None);
    assert!(rotation(&managed, &c).await.is_awaited);
    managed.set(at(200));
    managed.use_key(&c).await;
    assert_eq!(rotation(&managed, &a).await.retires_at, Some(at(HOUR + 100)), "not once more");
    assert_eq!(rotation(&managed, &b).await.retires_at, Some(at(2 * HOUR + 200)));
    managed.set(at(HOUR + 100));
    assert_eq!(managed.outcome(&a), "expired_key");
    managed.use_key(&b).await;
    managed.set(at(2 * HOUR + 200));
    assert_eq!(managed.outcome(&b), "expired_key");
    assert_eq!(managed.outcome(&c), "admitted");
}

/// More than are written at once.
#[tokio::test]
async fn a_long_line_of_unused_keys_ends_as_a_whole() {
    let managed = Managed::new();
    let mut keys = vec![managed.issue().await];
    for _ in 0..100 {
        let next =
            rotate(&managed, keys.last().unwrap(), RotationGrace::FromFirstUse(hours(1))).await;
        keys.push(next);
    }
    managed.use_key(keys.last().unwrap()).await;
    managed.set(at(HOUR));
    let (last, old) = keys.split_last().unwrap();
    for key in old {
        assert_eq!(managed.outcome(key), "expired_key");
    }
    assert_eq!(managed.outcome(last), "admitted");
}

#[tokio::test]
async fn keys_before_that_were_deleted_or_purged_stop_nothing() {
    let managed = Managed::new();
    let a = managed.issue().await;
    let b = rotate(&managed, &a, RotationGrace::FromFirstUse(hours(1))).await;
    managed.manager.delete(a.record.id).await.unwrap();
    let c = rotate(&managed, &b, RotationGrace::FromFirstUse(hours(1))).await;
    managed.use_key(&c).await;
    assert_eq!(rotation(&managed, &b).await.retires_at, Some(at(HOUR)));
    assert_eq!(managed.outcome(&a), "unknown_key");

    let d = rotate(&managed, &c, RotationGrace::FromFirstUse(hours(1))).await;
    managed.manager.revoke(c.record.id, None).await.unwrap();
    managed.set(at(1));
    managed.manager.purge(at(1)).await.unwrap();
    managed.use_key(&d).await;
    assert!(!rotation(&managed, &d).await.is_awaited);
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_when_the_new_one_is_used() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new = rotate(&managed, &old, RotationGrace::FromFirstUse(hours(1))).await;
    managed.manager.revoke(old.record.id, Some("leaked")).await.unwrap();
    managed.use_key(&new).await;
    assert_eq!(managed.status(old.record.id).await, KeyStatus::Revoked);
    assert_eq!(managed.row(old.record.id).await.details.revoked_reason.as_deref(), Some("leaked"));
}

#[cfg(feature = "cache")]
/// Another node's cache has the old key without an end, and hears that it has one.
#[tokio::test]
async fn caches_learn_that_the_grace_has_begun() {
    use tower_api_key::store::{CachedStore, KeyStore, LocalInvalidations};

    let managed = Managed::new();
    let bus = LocalInvalidations::new();
    let node = CachedStore::builder(managed.store.clone())
        .with_clock(managed.clock.clone())
        .with_invalidations(bus.clone())
        .build();
    let manager = managed.manager.clone().with_invalidations(bus);
    let old = managed.issue().await;
    let new = manager.rotate(old.record.id, RotationGrace::FromFirstUse(hours(1))).await.unwrap();
    let hold = node.find(&old.record.digest).await.unwrap().unwrap();
    assert_eq!(hold.ends_at(), None);
    assert_eq!(send(&manager.layer(), with_key(new.secret.expose())).outcome(), "admitted");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        if node.find(&old.record.digest).await.unwrap().unwrap().ends_at() == Some(at(HOUR)) {
            return;
        }
    }
    panic!("the cache never learnt of it");
}

/// A store that has the change later than a cache in front of it is asked by one request at a
/// time for each key.
#[tokio::test]
async fn many_first_uses_are_one() {
    let managed = Managed::new();
    let old = managed.issue().await;
    let new = rotate(&managed, &old, RotationGrace::FromFirstUse(hours(1))).await;
    let layer = KeyManager::layer(&managed.manager);
    for _ in 0..100 {
        assert_eq!(send(&layer, with_key(new.secret.expose())).outcome(), "admitted");
    }
    managed.use_key(&new).await;
    assert_eq!(managed.row(new.record.id).await.revision, new.record.revision + 1);
    assert_eq!(managed.row(old.record.id).await.revision, old.record.revision + 2);
}
