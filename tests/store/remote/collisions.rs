//! Nodes that write the same rows at the same time.

use tokio::task::JoinSet;
use tower_api_key::store::{KeyRepository, KeyUse};

use super::{Remote, Session, eventually, open, session};
use crate::{
    conformance::{at, record, stored},
    servers::Database,
};

fn used(number: u64, millis: i64) -> KeyUse {
    KeyUse::new(record(number).id, 1, at(millis))
}

pub(crate) async fn flushes_in_opposite_orders_lose_nothing<R: Remote>(database: &Database) {
    const KEYS: u64 = 100;
    const ROUNDS: u64 = 50;
    let nodes = [open::<R>(database).await, open::<R>(database).await];
    for number in 0..KEYS {
        nodes[0].insert(&record(number)).await.unwrap();
    }
    let mut flushes = JoinSet::new();
    for (node, store) in (0_i64..).zip(nodes.clone()) {
        flushes.spawn(async move {
            for round in 0..ROUNDS {
                let mut uses: Vec<_> = (0..KEYS).map(|number| used(number, node)).collect();
                if node == 0 {
                    uses.reverse();
                }
                let skip = usize::try_from(round % 3).unwrap();
                store.record_uses(&uses[skip..]).await.unwrap();
                store.record_uses(&uses[..skip]).await.unwrap();
            }
        });
    }
    // Meanwhile, somebody edits.
    let editor = nodes[1].clone();
    flushes.spawn(async move {
        for number in (0..KEYS).rev() {
            let mut edited = record(number);
            (edited.name, edited.revision) = (format!("edited {number}").into(), 1);
            editor.update(&edited, 0).await.unwrap();
        }
    });
    flushes.join_all().await;
    for number in 0..KEYS {
        let key = stored(&nodes[0], record(number).id).await;
        assert_eq!((key.use_count, key.last_used_at), (2 * ROUNDS, Some(at(1))), "key {number}");
        assert_eq!((&*key.name, key.revision), (&*format!("edited {number}"), 1));
    }
}

/// Another program locks two rows one way, the store the other way. The database ends one of the
/// two; if it is the store's statement, that is not the end of it.
pub(crate) async fn a_deadlock_is_tried_again<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    for number in 1..=2 {
        store.insert(&record(number)).await.unwrap();
    }
    let (mut other, mut watcher) = (session::<R>(database).await, session::<R>(database).await);
    let lock = |number: u64| {
        let id = R::id(&record(number).id.to_string().replace('-', ""));
        format!("UPDATE api_keys SET tier = 'x' WHERE id = {id}")
    };
    other.run("BEGIN").await.unwrap();
    other.run(&lock(2)).await.unwrap();
    let flush = tokio::spawn({
        let store = store.clone();
        async move { store.record_uses(&[used(1, 5), used(2, 5)]).await }
    });
    // It has the first row and waits for the second.
    eventually(async || (watcher.rows(R::WAITING).await != ["0"]).then_some(())).await;
    let ended = other.run(&lock(1)).await;
    let _ = other.run(if ended.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;

    flush.await.unwrap().unwrap();
    for number in 1..=2 {
        let key = stored(&store, record(number).id).await;
        assert_eq!((key.use_count, key.last_used_at), (1, Some(at(5))));
    }
}
