//! Callers who go away: a request that is cancelled, a lookup that took too long.

use std::{future::poll_fn, task::Poll};

use tower_api_key::store::{KeyQuery, KeyRepository, KeyStore, SqliteStore};

use crate::{
    abandoned::give_changes_up,
    conformance::{full, record, stored},
    sqlite::File,
};

/// They leave nothing open and nothing half-done, and do not take a database in memory along.
#[tokio::test]
async fn calls_that_are_dropped_do_no_harm() {
    let file = File::new();
    for store in [file.open().await, SqliteStore::in_memory().await.unwrap()] {
        for number in 0..100 {
            let record = record(number);
            let mut insert = store.insert(&record);
            let mut find = store.find(&record.digest);
            // Polled once: the statement may be on its way, and nobody waits for it.
            poll_fn(|context| {
                let _ = insert.as_mut().poll(context);
                let _ = find.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            drop((insert, find));
        }
        store.insert(&full(1_000)).await.unwrap();
        assert_eq!(stored(&store, full(1_000).id).await, full(1_000));
        let page = store.list(&KeyQuery::new(1_000)).await.unwrap();
        for listed in &page.items {
            assert_eq!(store.find(&listed.digest).await.unwrap().as_ref(), Some(listed));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_are_dropped_are_made_wholly_or_not_at_all() {
    let file = File::new();
    let shared = SqliteStore::from_pool(file.pool().await).with_table("shared").unwrap();
    shared.migrate().await.unwrap();
    for store in [file.open().await, SqliteStore::in_memory().await.unwrap(), shared] {
        give_changes_up(&store, 100, 20).await;
    }
}
