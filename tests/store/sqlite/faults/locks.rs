//! Another program that holds on to the database.

use std::time::{Duration, Instant};

use tower_api_key::{
    ApiKeyLayer, KeyId, KeyManager, NewKey, Rejection, RejectionKind,
    manage::ManageError,
    store::{KeyQuery, KeyRepository, KeyUse, SqliteStore, StoreError, StoreErrorKind},
};

use crate::{
    conformance::{at, record, stored},
    sqlite::{File, run, texts},
    support::ask,
};

fn is_outage(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Timeout)
}

fn assert_unavailable(denied: Result<KeyId, Rejection>) {
    let rejection = denied.unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Unavailable);
    assert_eq!(rejection.kind().code(), "store_unavailable");
}

/// Another program writes, or a backup does, and does not come to an end.
#[tokio::test]
async fn a_lock_on_writing_stops_writers_only() {
    let file = File::new();
    let store = file.open().await;
    let manager = KeyManager::new(store.clone());
    let issued = manager.create(NewKey::named("before")).await.unwrap();

    let mut other = file.connect().await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    let refused = manager.create(NewKey::named("meanwhile")).await.unwrap_err();
    let ManageError::Store(error) = refused else { panic!("{refused:?}") };
    assert!(is_outage(&error), "{error:?}");
    assert!(texts(&error).contains("locked"), "{error:?}");
    assert!(is_outage(&store.update(&record(1), &record(1)).await.unwrap_err()));
    assert_eq!(ask(&manager.layer(), issued.secret.expose()).await.unwrap(), issued.record.id);

    run(&mut other, "ROLLBACK").await;
    manager.create(NewKey::named("after")).await.unwrap();
    let names = manager.list(&KeyQuery::new(10)).await.unwrap().items;
    let names: Vec<_> = names.iter().map(|record| &*record.name).collect();
    assert_eq!(names, ["after", "before"]);
}

/// Without WAL, a writer locks readers out, too. An answer that is not to be had is no answer:
/// neither "unknown" nor "come in".
#[tokio::test]
async fn a_lock_on_reading_is_an_outage() {
    let file = File::new();
    let store = SqliteStore::from_pool(file.impatient_pool().await);
    store.migrate().await.unwrap();
    let manager = KeyManager::new(store.clone());
    let issued = manager.create(NewKey::named("shop")).await.unwrap();
    let (key, id) = (issued.secret.expose(), issued.record.id);
    let layer = ApiKeyLayer::new(store.clone());

    let mut other = file.connect().await;
    for _ in 0..2 {
        run(&mut other, "BEGIN EXCLUSIVE").await;
        assert_unavailable(ask(&layer, key).await);
        assert_unavailable(ask(&layer, "key_that_nobody_ever_had_before").await);
        assert!(is_outage(&store.get(id).await.unwrap_err()));
        assert!(is_outage(&store.list(&KeyQuery::new(1)).await.unwrap_err()));
        assert!(is_outage(&store.insert(&record(1)).await.unwrap_err()));
        let key_use = KeyUse::new(id, 1, at(1));
        assert!(is_outage(&store.record_uses(&[key_use]).await.unwrap_err()));
        assert!(is_outage(&store.purge(at(0), None).await.unwrap_err()));

        run(&mut other, "COMMIT").await;
        assert_eq!(ask(&layer, key).await.unwrap(), id);
        assert!(store.get(record(1).id).await.unwrap().is_none());
        assert_eq!(stored(&store, id).await, *issued.record);
    }
}

/// A file that is locked at the start is waited for, and is no reason to never start.
#[tokio::test]
async fn a_locked_file_can_be_opened_later() {
    for lock in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        let file = File::new();
        let mut other = file.connect().await;
        run(&mut other, "CREATE TABLE theirs (x)").await;
        run(&mut other, lock).await;
        let start = Instant::now();
        assert!(is_outage(&SqliteStore::open(&file.path).await.unwrap_err()));
        // SQLite itself does not wait for the lock that a change to WAL needs.
        assert!(start.elapsed() >= Duration::from_secs(1), "{lock}");

        run(&mut other, "ROLLBACK").await;
        file.open().await.insert(&record(1)).await.unwrap();
    }
}
