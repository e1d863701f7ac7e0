//! Caches that notice what another process writes to the file.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use tower_api_key::{
    clock::SettableClock,
    key::KeyRecord,
    store::{ApplyOutcome, CachedStore, KeyRepository, KeyStore, KeyUse, SqliteStore},
};

use super::File;
use crate::conformance::{at, digest, record};

/// With a clock that stands still: no key's time is ever up.
fn cached(store: SqliteStore) -> CachedStore<SqliteStore> {
    CachedStore::builder(store).with_clock(SettableClock::new(at(1_795_392_000_000))).build()
}

async fn find(store: &impl KeyStore) -> Option<Arc<KeyRecord>> {
    store.find(&digest(1)).await.unwrap()
}

/// A minute is no expectation, but an end.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_mins(1);
    while !is_so().await {
        assert!(Instant::now() < give_up, "it never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_another_process_changes_is_noticed() {
    let file = File::new();
    let (cache, other) = (cached(file.open().await), file.open().await);
    assert!(find(&cache).await.is_none());
    other.insert(&record(1)).await.unwrap();
    until(async || find(&cache).await.is_some()).await;
    let mut revoked = record(1);
    revoked.details.revoked_at = Some(at(2));
    revoked.revision += 1;
    assert_eq!(other.update(&record(1), &revoked).await.unwrap(), ApplyOutcome::Done);
    until(async || find(&cache).await.is_some_and(|key| key.details.revoked_at.is_some())).await;
}

/// Nor does a store take its own writes for another's.
#[tokio::test]
async fn where_nothing_changes_nothing_is_looked_up_again() {
    let file = File::new();
    let cache = cached(file.open().await);
    cache.insert(&record(1)).await.unwrap();
    // The watch has begun, and nothing that was read before is trusted.
    until(async || cache.stats().resets == 1).await;
    assert!(find(&cache).await.is_some());
    let misses = cache.stats().misses;
    for use_count in 0..20 {
        cache.record_uses(&[KeyUse::new(record(1).id, 1, at(use_count))]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(find(&cache).await.is_some());
    }
    assert_eq!((cache.stats().resets, cache.stats().misses), (1, misses));
}

/// One answer to begin with, and then one for what was committed, however much that was.
#[tokio::test]
async fn a_watch_sleeps_until_there_is_something() {
    let file = File::new();
    let (store, other) = (file.open().await, file.open().await);
    let mut watch = store.watch().expect("a file can be watched");
    watch.changed().await.unwrap();
    let quiet = Duration::from_millis(350);
    assert!(timeout(quiet, watch.changed()).await.is_err());
    other.insert(&record(1)).await.unwrap();
    other.insert(&record(2)).await.unwrap();
    watch.changed().await.unwrap();
    assert!(timeout(quiet, watch.changed()).await.is_err());
    // A store that is closed is an error, and not asked without a pause.
    store.close().await;
    assert!(watch.changed().await.is_err());
}

/// Nobody else can write to it, or one of the pool's own connections would look like another.
#[tokio::test]
async fn other_databases_are_not_watched() {
    let memory = SqliteStore::in_memory().await.unwrap();
    assert!(memory.watch().is_none());
    let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
    assert!(SqliteStore::from_pool(pool).watch().is_none());
}
