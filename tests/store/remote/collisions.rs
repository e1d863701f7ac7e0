//! Nodes that write the same rows at the same time.

use tokio::task::JoinSet;
use tower_api_key::{
    credits::Balance,
    store::{ApplyOutcome, BalanceUpdate, Changes, KeyRepository, KeyUse, StoreError},
    usage::{HourlyUsage, UsageOutcome, UsageQuery},
};

use super::{Remote, Session, eventually, open, session};
use crate::{
    conformance::{at, record, stored},
    first_version::hex_of,
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
            (edited.name, edited.revision) =
                (format!("edited {number}").into(), edited.revision + 1);
            editor.update(&record(number), &edited).await.unwrap();
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
///
/// `lock` makes the statement that changes the row with an id.
async fn tried_again<R: Remote, T: Send + 'static>(
    database: &Database,
    lock: impl Fn(String) -> String,
    flush: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> T {
    let (mut other, mut watcher) = (session::<R>(database).await, session::<R>(database).await);
    let lock = |number: u64| lock(R::id(&hex_of(&record(number)).0));
    other.run("BEGIN").await.unwrap();
    other.run(&lock(2)).await.unwrap();
    let flush = tokio::spawn(flush);
    // It has the first row and waits for the second.
    eventually(async || (watcher.rows(R::WAITING).await != ["0"]).then_some(())).await;
    let ended = other.run(&lock(1)).await;
    let _ = other.run(if ended.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    flush.await.unwrap().unwrap()
}

pub(crate) async fn a_deadlock_is_tried_again<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    for number in 1..=2 {
        store.insert(&record(number)).await.unwrap();
    }
    let lock = |id| format!("UPDATE api_keys SET tier = 'x' WHERE id = {id}");
    let flusher = store.clone();
    let flush = async move { flusher.record_uses(&[used(1, 5), used(2, 5)]).await };
    tried_again::<R, _>(database, lock, flush).await;
    for number in 1..=2 {
        let key = stored(&store, record(number).id).await;
        assert_eq!((key.use_count, key.last_used_at), (1, Some(at(5))));
    }
}

pub(crate) async fn a_deadlock_over_usage_is_tried_again<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let usage =
        [1, 2].map(|number| HourlyUsage::new(record(number).id, at(0), UsageOutcome::Accepted, 3));
    store.usage_log().unwrap().record_usage(&usage).await.unwrap();
    let lock = |id| format!("UPDATE api_keys_usage SET owner = 'x' WHERE line = {id}");
    let flusher = store.clone();
    let flush = async move { flusher.usage_log().unwrap().record_usage(&usage).await };
    tried_again::<R, _>(database, lock, flush).await;
    let counts = store.usage_log().unwrap().usage(&UsageQuery::new(at(0), at(1))).await.unwrap();
    assert_eq!(counts.iter().map(|usage| usage.count).collect::<Vec<_>>(), [12]);
}

/// Whatever their order in the changes. What was done before the deadlock is done again as well.
pub(crate) async fn a_deadlock_over_balances_is_tried_again<R: Remote>(database: &Database) {
    let store = open::<R>(database).await;
    let balance = Balance::new(10, None, at(0));
    let written = |number, revision, expected| {
        let mut balance = balance.clone();
        balance.revision = revision;
        BalanceUpdate { lineage: record(number).id, balance, expected, due: None }
    };
    let of = |balances: Vec<_>| Changes::default().with_balances(balances);
    store.apply(&of(vec![written(1, 0, None), written(2, 0, None)])).await.unwrap();
    let lock = |id| format!("UPDATE api_keys_credits SET since = 1 WHERE line = {id}");
    let taken = vec![written(2, 1, Some(0)), written(1, 1, Some(0))];
    let (node, inserts) = (store.clone(), vec![record(1)]);
    let take = async move { node.apply(&of(taken).with_inserts(inserts)).await };
    assert_eq!(tried_again::<R, _>(database, lock, take).await, ApplyOutcome::Done);
    assert_eq!(stored(&store, record(1).id).await, record(1));
    for number in 1..=2 {
        let found =
            store.balance_store().unwrap().balances(&[record(number).id]).await.unwrap().items;
        assert_eq!(found, [(record(number).id, written(number, 1, None).balance)]);
    }
}
