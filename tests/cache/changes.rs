//! Changes that are made through the cache, and what it can be put in front of.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tower_api_key::{
    KeyManager, KeyPatch, NewKey,
    key::KeyRecord,
    manage::{KeySet, RotationGrace},
    store::{
        ApplyOutcome, CachedStore, KeyRepository, KeyStore, LocalInvalidations, MemoryStore,
        StoreErrorKind,
    },
};

use crate::{
    flood::ask,
    support::{
        Answer::{Good, Revoked, Unknown},
        Fixture, Mode, NOW, TTL, digest, record, until,
    },
};

fn revoked(record: &KeyRecord) -> KeyRecord {
    let mut revoked = record.clone();
    revoked.details.revoked_at = Some(NOW);
    revoked.revision += 1;
    revoked
}

#[tokio::test]
async fn they_are_forgotten_at_once() {
    let fixture = Fixture::new();
    let record = record(digest(1));
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
    fixture.cache.insert(&record).await.unwrap();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.cache.update(&record, &revoked(&record)).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
    assert_eq!(fixture.cache.purge(NOW.saturating_add(TTL), None).await.unwrap(), 1);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
}

/// Those that a plan turns out to change.
#[tokio::test]
async fn so_are_the_keys_of_a_set() {
    let cache = CachedStore::new(MemoryStore::new());
    let manager = KeyManager::new(cache.clone());
    let create = async || manager.create(NewKey::named("k")).await.unwrap();
    let keys = [create().await, create().await, create().await];
    for is_revoked in [false, true] {
        for key in &keys {
            let found = cache.find(&key.record.digest).await.unwrap().unwrap();
            assert_eq!(found.details.revoked_at.is_some(), is_revoked);
        }
        let set = KeySet::of_ids(keys.iter().map(|key| key.record.id));
        manager.revoke_all(set, None).await.unwrap();
    }
}

#[tokio::test]
async fn so_is_the_digest_that_a_key_had_before() {
    let fixture = Fixture::new();
    let old = record(digest(1));
    fixture.cache.insert(&old).await.unwrap();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    let mut new = old.clone();
    (new.digest, new.revision) = (digest(2), old.revision + 1);
    assert_eq!(fixture.cache.update(&old, &new).await.unwrap(), ApplyOutcome::Done);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Unknown));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Good));
}

/// The manager has read what it changes: nothing on the way to the store reads it again.
#[tokio::test]
async fn a_change_takes_no_read_beyond_the_managers() {
    let bus = LocalInvalidations::new();
    let fixture = Fixture::with(|cache| cache.with_invalidations(bus.clone()));
    let through_all = KeyManager::new(fixture.cache.clone()).with_invalidations(bus);
    for manager in [KeyManager::new(fixture.store.clone()), through_all] {
        let manager = manager.with_clock(fixture.clock.clone());
        let id = manager.create(NewKey::named("test")).await.unwrap().record.id;
        let mut reads = vec![fixture.store.reads()];
        let patch = KeyPatch { name: Some("renamed".into()), ..KeyPatch::default() };
        manager.update(id, patch).await.unwrap();
        reads.push(fixture.store.reads());
        manager.rotate(id, RotationGrace::FromNow(TTL)).await.unwrap();
        reads.push(fixture.store.reads());
        manager.revoke(id, None).await.unwrap();
        reads.push(fixture.store.reads());
        let reads: Vec<_> = reads.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(reads, [1, 1, 1]);
    }
}

/// An error does not say that nothing was written.
#[tokio::test]
async fn and_those_that_may_have_been_made() {
    let fixture = Fixture::new();
    let record = record(digest(1));
    fixture.cache.insert(&record).await.unwrap();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    fixture.store.set(Mode::Fail(StoreErrorKind::Unavailable));
    fixture.cache.update(&record, &revoked(&record)).await.unwrap_err();
    fixture.store.set(Mode::Answer);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
}

#[tokio::test]
async fn and_those_whose_caller_went_away() {
    let fixture = Fixture::new();
    let record = record(digest(1));
    fixture.cache.insert(&record).await.unwrap();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    fixture.store.set(Mode::Hang);
    let updated = revoked(&record);
    assert!(fixture.cache.update(&record, &updated).now_or_never().is_none());
    fixture.store.set(Mode::Answer);
    assert_eq!(fixture.find(&digest(1)).await, Ok(Revoked));
}

/// A purge removes nobody knows which keys, and yet makes nobody unknown.
#[tokio::test]
async fn a_purge_leaves_the_others_to_be_looked_up() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    let lookups = fixture.store.lookups();
    assert_eq!(fixture.cache.purge(NOW, None).await.unwrap(), 0);
    fixture.store.set(Mode::Fail(StoreErrorKind::Unavailable));
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good), "the store fails");
    assert_eq!(fixture.store.lookups(), lookups + 1, "but it was asked");
}

#[tokio::test]
async fn uses_are_recorded_and_nothing_is_forgotten() {
    let fixture = Fixture::new();
    let record = record(digest(1));
    fixture.cache.insert(&record).await.unwrap();
    assert_eq!(fixture.find(&digest(1)).await, Ok(Good));
    let used = tower_api_key::store::KeyUse::new(record.id, 3, NOW);
    fixture.cache.record_uses(&[used]).await.unwrap();
    assert_eq!(fixture.cache.get(record.id).await.unwrap().unwrap().use_count, 3);
    assert!(fixture.find_now(&digest(1)).is_some());
}

#[tokio::test]
async fn it_goes_in_front_of_a_store_that_is_chosen_at_start() {
    let repository: Arc<dyn KeyRepository> = Arc::new(MemoryStore::new());
    let cache = CachedStore::builder(repository).with_ttl(Duration::from_secs(10)).build();
    let manager = KeyManager::new(cache.clone());
    let issued = manager.create(NewKey::named("test")).await.unwrap();
    let layer = manager.layer();
    for expected in ["admitted", "admitted"] {
        assert_eq!(ask(&layer, issued.secret.expose()).await, expected);
    }
    manager.revoke(issued.record.id, None).await.unwrap();
    assert_eq!(ask(&layer, issued.secret.expose()).await, "revoked_key");
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits), (2, 1));

    let store: Arc<dyn KeyStore> = Arc::new(cache);
    let twice = CachedStore::builder(store).with_capacity(10).build();
    let digest = issued.record.digest;
    assert_eq!(crate::support::find(&twice, &digest).await, Ok(Revoked));
}

/// Another node stores a key under another digest, as it does when a pepper was retired, and
/// nothing says so. Whoever learns that the old digest is gone must not take the new one, which
/// was asked for before, for unknown any longer.
#[tokio::test]
async fn a_key_that_is_gone_may_have_another_digest_now() {
    let fixture = Fixture::knowing(&[digest(1)]).await;
    fixture.at(TTL - Duration::from_secs(5));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown));
    let old = fixture.store.find(&digest(1)).await.unwrap().unwrap();
    let mut new = KeyRecord::clone(&old);
    (new.digest, new.revision) = (digest(2), old.revision + 1);
    assert_eq!(fixture.store.update(&old, &new).await.unwrap(), ApplyOutcome::Done);
    fixture.at(TTL - Duration::from_secs(4));
    assert_eq!(fixture.find(&digest(2)).await, Ok(Unknown), "not yet");

    // In its last fifth, it is looked up again in the background.
    let answers = fixture.store.answers();
    assert_eq!(fixture.find_now(&digest(1)), Some(Good));
    fixture.store.answered(answers + 1).await;
    until(|| fixture.find_now(&digest(1)) == Some(Unknown)).await;
    assert_eq!(fixture.find(&digest(2)).await, Ok(Good));
}
