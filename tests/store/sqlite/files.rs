//! A file that lasts.

use tower_api_key::store::{KeyRepository, KeyStore, SqliteStore, StoreErrorKind};

use super::{File, number, run, texts};
use crate::conformance::{digest, full, record};

#[tokio::test]
async fn keys_outlive_the_store() {
    let file = File::new();
    let store = file.open().await;
    store.insert(&full(1)).await.unwrap();
    store.close().await;
    assert_eq!(store.find(&digest(1)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.insert(&record(2)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);

    let again = file.open().await;
    assert_eq!(again.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
    assert!(again.get(record(2).id).await.unwrap().is_none());
}

/// What is acknowledged is in the files, whatever becomes of the process: another reader of a
/// copy of them, made while the store is open, finds it.
#[tokio::test]
async fn what_was_acknowledged_is_on_disk() {
    let file = File::new();
    let store = file.open().await;
    store.insert(&full(1)).await.unwrap();

    let copy = File::new();
    for suffix in ["", "-wal"] {
        let name = |file: &File| format!("{}{suffix}", file.path.display());
        std::fs::copy(name(&file), name(&copy)).unwrap();
    }
    let recovered = copy.open().await;
    assert_eq!(recovered.find(&digest(1)).await.unwrap().as_deref(), Some(&full(1)));
}

#[tokio::test]
async fn two_stores_on_one_file_see_each_others_changes() {
    let file = File::new();
    let (one, two) = (file.open().await, file.open().await);
    assert!(two.find(&digest(1)).await.unwrap().is_none());
    one.insert(&record(1)).await.unwrap();
    assert!(two.find(&digest(1)).await.unwrap().is_some());
    let mut deleted = record(1);
    (deleted.details.deleted_at, deleted.revision) =
        (Some(deleted.created_at), deleted.revision + 1);
    two.update(&record(1), &deleted).await.unwrap();
    assert!(one.find(&digest(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn the_file_is_in_wal_mode() {
    let file = File::new();
    let _store = file.open().await;
    let mut connection = file.connect().await;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn what_cannot_be_opened_is_an_error() {
    let file = File::new();
    let error = SqliteStore::open(file.path.join("no/such/directory.db")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(SqliteStore::open("").await.unwrap_err().kind(), StoreErrorKind::Unavailable);

    std::fs::write(&file.path, "This is a text and not a database. ".repeat(100)).unwrap();
    let error = SqliteStore::open(&file.path).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(texts(&error).contains("not a database"), "{error:?}");
}

/// Every store in memory is its own, also by the name that SQLite has for it.
#[tokio::test]
async fn stores_in_memory_are_separate() {
    let one = SqliteStore::in_memory().await.unwrap();
    let two = SqliteStore::open(":memory:").await.unwrap();
    one.insert(&record(1)).await.unwrap();
    assert!(two.find(&digest(1)).await.unwrap().is_none());
    assert!(one.clone().find(&digest(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_hundred_thousand_keys() {
    const COUNT: i64 = 100_000;
    let file = File::new();
    file.open().await.close().await;
    let mut connection = file.connect().await;
    run(
        &mut connection,
        "INSERT INTO api_keys (id, digest, name, created_at, updated_at)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         SELECT randomblob(16), unhex(printf('%064x', i)), 'key ' || i, i, i FROM n",
    )
    .await;
    assert_eq!(number(&mut connection, "SELECT count(*) FROM api_keys").await, COUNT);

    let store = file.open().await;
    for number in [1, 2, 777, COUNT / 2, COUNT] {
        let mut digest = [0; 32];
        digest[24..].copy_from_slice(&number.to_be_bytes());
        let digest = tower_api_key::key::KeyDigest::from_bytes(digest);
        let found = store.find(&digest).await.unwrap().unwrap();
        assert_eq!(&*found.name, format!("key {number}"));
        assert_eq!(found.created_at.as_unix_millis(), number);
    }
    assert!(store.find(&digest(1)).await.unwrap().is_none());
}
