//! A disk that has no room.

use serde_json::Value;
use sqlx::sqlite::SqliteJournalMode;
use tower_api_key::{
    key::KeyRecord,
    store::{KeyRepository, KeyStore, SqliteStore, StoreErrorKind},
};

use crate::{
    conformance::{digest, record, stored},
    sqlite::{File, pool, schema, texts},
};

/// A key that takes some pages.
fn large(number: u64) -> KeyRecord {
    let mut record = record(number);
    record.details.metadata.insert("filler".to_owned(), Value::from("x".repeat(64 * 1024)));
    record
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let file = File::new();
    // WAL, as `open` has it.
    file.open().await.close().await;
    let pool = file.pool().await;
    let store = SqliteStore::from_pool(pool.clone());
    // SQLite's own limit is what can be had without a disk to fill; the error is the same.
    sqlx::query("PRAGMA max_page_count = 200").execute(&pool).await.unwrap();

    let mut written = 0;
    let error = loop {
        match store.insert(&large(written)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(written > 0);
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(texts(&error).contains("full"), "{error:?}");
    // What was acknowledged is there, what was not is not, and it goes on so.
    let error = store.insert(&large(written)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    for number in 0..written {
        assert_eq!(stored(&store, record(number).id).await, large(number));
    }
    assert!(store.get(record(written).id).await.unwrap().is_none());
    assert!(store.find(&digest(written)).await.unwrap().is_none());

    // A key that no longer fits is as it was before.
    let mut grown = large(0);
    grown.details.metadata.insert("more".to_owned(), Value::from("y".repeat(256 * 1024)));
    grown.digest = digest(1_000);
    grown.revision += 1;
    let error = store.update(&large(0), &grown).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.find(&digest(0)).await.unwrap().as_deref(), Some(&large(0)));
    assert!(store.find(&digest(1_000)).await.unwrap().is_none());

    sqlx::query("PRAGMA max_page_count = 100000").execute(&pool).await.unwrap();
    store.insert(&large(written)).await.unwrap();
    store.update(&large(0), &grown).await.unwrap();
    assert_eq!(store.find(&digest(1_000)).await.unwrap().as_deref(), Some(&grown));
    let check: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&pool).await.unwrap();
    assert_eq!(check, "ok");
}

/// A migration that finds no room can be made up for through the same store, wherever it was
/// when the disk was full.
#[tokio::test]
async fn a_migration_on_a_full_disk_changes_nothing() {
    for journal in [SqliteJournalMode::Delete, SqliteJournalMode::Wal] {
        for pages in 1..=5 {
            let file = File::new();
            let options = file.options().journal_mode(journal);
            let pool = pool(options.pragma("max_page_count", pages.to_string())).await;
            let store = SqliteStore::from_pool(pool.clone());
            for _ in 0..2 {
                let error = store.migrate().await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{journal:?}, {pages}");
                assert!(texts(&error).contains("full"), "{journal:?}, {pages}: {error:?}");
                let mut connection = file.connect().await;
                assert_eq!(schema(&mut connection).await, [""; 0]);
            }
            sqlx::query("PRAGMA max_page_count = 1000").execute(&pool).await.unwrap();
            store.migrate().await.unwrap();
            store.insert(&record(1)).await.unwrap();
        }
    }
}

/// A disk that is full only when something is committed makes SQLite roll back by itself. A hook
/// that refuses the commit does the same to it.
#[tokio::test]
async fn what_cannot_be_committed_can_be_made_up_for() {
    let file = File::new();
    let pool = file.pool().await;
    let refuse = async |refuse: bool| {
        let mut connection = pool.acquire().await.unwrap();
        let mut handle = connection.lock_handle().await.unwrap();
        handle.remove_commit_hook();
        if refuse {
            handle.set_commit_hook(|| false);
        }
    };
    let store = SqliteStore::from_pool(pool.clone());
    refuse(true).await;
    assert_eq!(store.migrate().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let mut connection = file.connect().await;
    assert_eq!(schema(&mut connection).await, [""; 0]);
    refuse(false).await;
    store.migrate().await.unwrap();

    for number in 1..=3 {
        refuse(true).await;
        let error = store.insert(&record(number)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        refuse(false).await;
        assert!(store.get(record(number).id).await.unwrap().is_none());
        store.insert(&record(number)).await.unwrap();
    }
}
