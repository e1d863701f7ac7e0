//! Each thread keeps answers of its own before the memory of the cache, under the same rules.

use std::{sync::Arc, thread};

use tower_api_key::{
    ApiKeyLayer, KeyFormat, KeyHasher,
    key::KeyDigest,
    store::{KeyStore, Lookup, SharedRecord},
};

use crate::{
    flood::ask,
    support::{Fixture, TTL, digest, record},
};

/// Whether this thread has an answer without waiting that says that the key is good.
fn is_known(fixture: &Fixture, digest: &KeyDigest) -> bool {
    match fixture.cache.find_shared(digest) {
        Some(Lookup::Found(record)) => record.details.revoked_at.is_none(),
        _ => false,
    }
}

/// On this thread, and on another one.
fn are_known(fixture: &Fixture, digest: &KeyDigest) -> [bool; 2] {
    let other = thread::scope(|scope| {
        let both = || [is_known(fixture, digest), is_known(fixture, digest)];
        scope.spawn(both).join().unwrap()
    });
    assert_eq!(other[0], other[1]);
    assert_eq!(is_known(fixture, digest), is_known(fixture, digest));
    [is_known(fixture, digest), other[0]]
}

#[tokio::test]
async fn what_is_forgotten_is_forgotten_by_every_thread() {
    let fixture = Fixture::new();
    let (one, other) = (digest(1), digest(2));
    for digest in [&one, &other] {
        fixture.store.insert(&record(*digest)).await;
        assert!(fixture.cache.find(digest).await.unwrap().is_some());
        assert_eq!(are_known(&fixture, digest), [true, true]);
    }
    fixture.cache.forget(&[one]);
    assert_eq!(are_known(&fixture, &one), [false, false]);
    assert_eq!(are_known(&fixture, &other), [true, true]);
    fixture.cache.clear();
    assert_eq!(are_known(&fixture, &other), [false, false]);
}

#[tokio::test]
async fn a_thread_keeps_a_key_no_longer_than_it_is_fresh() {
    let fixture = Fixture::new();
    let digest = digest(1);
    fixture.store.insert(&record(digest)).await;
    assert!(fixture.cache.find(&digest).await.unwrap().is_some());
    assert_eq!(are_known(&fixture, &digest), [true, true]);
    let asked = fixture.store.lookups();
    // Due: still an answer, and the store is asked in the background.
    fixture.at(TTL - TTL / 10);
    assert!(is_known(&fixture, &digest));
    tokio::task::yield_now().await;
    assert_eq!(fixture.store.lookups(), asked + 1, "a thread's own answer must not hide that");
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_nothing_fresh() {
    let fixture = Fixture::new();
    let digest = digest(1);
    fixture.at(TTL * 10);
    fixture.store.insert(&record(digest)).await;
    assert!(fixture.cache.find(&digest).await.unwrap().is_some());
    assert!(is_known(&fixture, &digest));
    fixture.at(TTL * 5);
    assert!(!is_known(&fixture, &digest));
}

#[tokio::test]
async fn hits_of_threads_are_counted() {
    let fixture = Fixture::new();
    let digest = digest(1);
    fixture.store.insert(&record(digest)).await;
    assert!(fixture.cache.find(&digest).await.unwrap().is_some());
    let before = fixture.cache.stats().hits;
    let find = || (0..10).for_each(|_| assert!(is_known(&fixture, &digest)));
    thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(find))));
    assert_eq!(fixture.cache.stats().hits, before + 30);
}

/// A clone on this thread writes no count that another thread reads.
#[tokio::test]
async fn threads_count_the_same_record_apart() {
    let fixture = Fixture::new();
    let digest = digest(1);
    fixture.store.insert(&record(digest)).await;
    let found = fixture.cache.find(&digest).await.unwrap().unwrap();
    let shared = || -> SharedRecord {
        is_known(&fixture, &digest);
        let Some(Lookup::Found(record)) = fixture.cache.find_shared(&digest) else {
            panic!("it is known");
        };
        record
    };
    let mine = shared();
    let before = Arc::strong_count(&found);
    let clones: Vec<SharedRecord> = (0..10).map(|_| mine.clone()).collect();
    assert_eq!(Arc::strong_count(&found), before);
    assert!(Arc::ptr_eq(&mine, &found) && clones.iter().all(|clone| Arc::ptr_eq(clone, &found)));
}

/// The checksum is not asked of keys in memory. That changes nothing for those which are not.
#[tokio::test]
async fn a_wrong_checksum_is_malformed_whatever_is_remembered() {
    let fixture = Fixture::new();
    let format = KeyFormat::new("acme").unwrap();
    let layer = ApiKeyLayer::new(fixture.cache.clone()).with_formats([format.clone()]);
    let layer = layer.with_clock(fixture.clock.clone());
    let mut key = format.generate().unwrap().expose().to_owned();
    let last = key.pop().unwrap();
    key.push(if last == 'x' { 'y' } else { 'x' });
    let digest = KeyHasher::sha256().digest(&key);
    assert_eq!(ask(&layer, &key).await, "malformed_key");
    assert_eq!((fixture.store.lookups(), fixture.cache.stats().entries), (0, 0), "not kept");
    assert!(fixture.cache.find(&digest).await.unwrap().is_none());
    assert_eq!(fixture.cache.stats().entries, 1);
    assert_eq!(ask(&layer, &key).await, "malformed_key");
    assert_eq!(fixture.store.lookups(), 1);
}

/// Has other keys take the place of these in the cache, and not in this thread's front.
async fn displace(fixture: &Fixture, keys: &[KeyDigest]) {
    for number in 2..200 {
        fixture.store.insert(&record(digest(number))).await;
        for _ in 0..4 {
            assert!(fixture.cache.find(&digest(number)).await.unwrap().is_some());
        }
    }
    for key in keys {
        assert!(fixture.cache.find_now(key).is_none(), "it has left the cache");
        assert!(is_known(fixture, key), "and not this thread's front");
    }
}

/// What leaves the cache for want of room may still be in a thread's front: it is forgotten there, too.
#[tokio::test]
async fn what_has_left_the_cache_is_forgotten_by_every_thread() {
    let fixture = Fixture::with(|cache| cache.with_capacity(4));
    let first = digest(1);
    fixture.store.insert(&record(first)).await;
    assert!(fixture.cache.find(&first).await.unwrap().is_some());
    assert_eq!(are_known(&fixture, &first), [true, true]);
    displace(&fixture, &[first]).await;
    fixture.cache.forget(&[first]);
    assert_eq!(are_known(&fixture, &first), [false, false]);
}

/// The same where another thread has asked, and found the key changed.
#[tokio::test]
async fn one_thread_does_not_let_in_what_another_one_has_refused() {
    let fixture = Fixture::with(|cache| cache.with_capacity(4));
    let (deleted, revoked) = (digest(1), digest(2_000));
    for digest in [deleted, revoked] {
        fixture.store.insert(&record(digest)).await;
        assert!(fixture.cache.find(&digest).await.unwrap().is_some());
        assert!(is_known(&fixture, &digest));
    }
    displace(&fixture, &[deleted, revoked]).await;
    fixture.store.delete(&deleted).await;
    fixture.store.revoke(&revoked).await;
    // Past this thread's front: as another thread does.
    assert!(fixture.cache.find(&deleted).await.unwrap().is_none());
    assert!(fixture.cache.find(&revoked).await.unwrap().unwrap().details.revoked_at.is_some());
    assert!(!is_known(&fixture, &deleted));
    assert!(!is_known(&fixture, &revoked));
}
