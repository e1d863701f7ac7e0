//! Counting uses.

use tokio::task::JoinSet;
use tower_api_key::store::{KeyRepository, KeyUse, Update};

use super::{at, full, record, stored};

fn used(number: u64, count: u64, millis: i64) -> KeyUse {
    KeyUse::new(record(number).id, count, at(millis))
}

pub(crate) async fn uses_add_up(store: impl KeyRepository) {
    let mut one = full(1);
    (one.use_count, one.last_used_at) = (100, None);
    store.insert(&one).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    store.insert(&record(3)).await.unwrap();

    store.record_uses(&[]).await.unwrap();
    store.record_uses(&[used(1, 5, 10), used(2, 1, 20)]).await.unwrap();
    // Twice in one call.
    store.record_uses(&[used(1, 2, 40), used(2, 0, 30), used(1, 3, 30)]).await.unwrap();

    // Nothing else has changed, the revision least of all.
    (one.use_count, one.last_used_at) = (110, Some(at(40)));
    assert_eq!(stored(&store, one.id).await, one);
    let mut two = record(2);
    (two.use_count, two.last_used_at) = (1, Some(at(30)));
    assert_eq!(store.find(&two.digest).await.unwrap().as_deref(), Some(&two));
    assert_eq!(stored(&store, record(3).id).await, record(3));
}

pub(crate) async fn the_last_use_never_moves_back(store: impl KeyRepository) {
    store.insert(&record(1)).await.unwrap();
    for (millis, expected) in [(-5, -5), (-9, -5), (50, 50), (50, 50), (-7, 50), (0, 50)] {
        store.record_uses(&[used(1, 1, millis)]).await.unwrap();
        assert_eq!(stored(&store, record(1).id).await.last_used_at, Some(at(expected)));
    }
    assert_eq!(stored(&store, record(1).id).await.use_count, 6);
}

pub(crate) async fn unknown_keys_are_passed_over(store: impl KeyRepository) {
    store.insert(&record(2)).await.unwrap();
    store.record_uses(&[used(1, 1, 1), used(2, 2, 2), used(3, 3, 3)]).await.unwrap();
    assert!(store.get(record(1).id).await.unwrap().is_none());
    assert!(store.get(record(3).id).await.unwrap().is_none());
    let known = stored(&store, record(2).id).await;
    assert_eq!((known.use_count, known.last_used_at), (2, Some(at(2))));
}

pub(crate) async fn concurrent_uses_all_count(store: impl KeyRepository + Clone) {
    store.insert(&record(1)).await.unwrap();
    store.insert(&record(2)).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 1..=16 {
        let store = store.clone();
        tasks.spawn(async move {
            // In both orders, so that a store that locks row by row must mind deadlocks.
            let mut uses = [used(1, 1, task), used(2, 10, -task)];
            if task % 2 == 0 {
                uses.reverse();
            }
            store.record_uses(&uses).await.unwrap();
        });
    }
    tasks.join_all().await;
    let (one, two) = (stored(&store, record(1).id).await, stored(&store, record(2).id).await);
    assert_eq!((one.use_count, one.last_used_at), (16, Some(at(16))));
    assert_eq!((two.use_count, two.last_used_at), (160, Some(at(-1))));
}

pub(crate) async fn updates_do_not_undo_uses(store: impl KeyRepository) {
    let read = record(1);
    store.insert(&read).await.unwrap();
    store.record_uses(&[used(1, 3, 30)]).await.unwrap();
    let mut renamed = read.clone();
    renamed.name = "renamed".into();
    renamed.revision = 1;
    assert_eq!(store.update(&renamed, read.revision).await.unwrap(), Update::Done);
    (renamed.use_count, renamed.last_used_at) = (3, Some(at(30)));
    assert_eq!(stored(&store, read.id).await, renamed);
}
