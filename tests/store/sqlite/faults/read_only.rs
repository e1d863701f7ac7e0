//! A database that cannot be written.

use tower_api_key::{
    ApiKeyLayer, KeyManager, NewKey,
    store::{KeyRepository, KeyStore, KeyUse, SqliteStore, StoreErrorKind},
};

use crate::{
    conformance::{at, digest, full, record, stored},
    sqlite::{File, pool, texts},
    support::ask,
};

#[tokio::test]
async fn a_read_only_database_is_read() {
    let file = File::new();
    let store = file.open().await;
    store.insert(&full(1)).await.unwrap();
    let issued = KeyManager::new(store.clone()).create(NewKey::named("shop")).await.unwrap();
    store.close().await;

    let store = SqliteStore::from_pool(pool(file.options().read_only(true)).await);
    // It is up to date, so there is nothing to write.
    store.migrate().await.unwrap();
    let layer = ApiKeyLayer::new(store.clone());
    assert_eq!(ask(&layer, issued.secret.expose()).await.unwrap(), issued.record.id);
    assert_eq!(store.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));

    refuses_to_write(&store).await;
    assert_eq!(ask(&layer, issued.secret.expose()).await.unwrap(), issued.record.id);
}

#[tokio::test]
async fn a_database_that_becomes_writable_again_is_written() {
    let file = File::new();
    let pool = file.pool().await;
    let store = SqliteStore::from_pool(pool.clone());
    store.migrate().await.unwrap();
    store.insert(&full(1)).await.unwrap();

    sqlx::query("PRAGMA query_only = ON").execute(&pool).await.unwrap();
    refuses_to_write(&store).await;
    sqlx::query("PRAGMA query_only = OFF").execute(&pool).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    assert_eq!(stored(&store, record(2).id).await, record(2));
}

/// Every way to write is an outage, and the key `full(1)` stays as it is.
async fn refuses_to_write(store: &SqliteStore) {
    let mut changed = full(1);
    changed.name = "changed".into();
    changed.revision += 1;
    let key_use = KeyUse::new(changed.id, 1, at(i64::MAX));
    for error in [
        store.insert(&record(2)).await.unwrap_err(),
        store.update(&full(1), &changed).await.map(drop).unwrap_err(),
        store.record_uses(&[key_use]).await.unwrap_err(),
        store.purge(at(i64::MAX), None).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(texts(&error).contains("readonly"), "{error:?}");
    }
    assert_eq!(stored(store, changed.id).await, full(1));
    assert!(store.get(record(2).id).await.unwrap().is_none());
}
