//! What recorders write: two nodes that count the uses of the same keys in one database, and very
//! many keys at once.

use std::sync::Arc;

use tokio::sync::Barrier;
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, Timestamp, UsageRecorder,
    key::KeyRecord,
    store::{Changes, KeyRepository, MemoryStore},
    usage::{UsageOutcome, UsageQuery},
};

use crate::{conformance::record, support::ask};

/// Of two nodes.
const KEYS: u64 = 100;
const ROUNDS: u64 = 20;
/// Of each key, by each node.
const USES_A_ROUND: u64 = 25;

/// Used since the last flush.
const MANY_KEYS: u64 = 10_000;

fn key(number: u64) -> String {
    format!("key-that-is-used-{number:05}")
}

fn records(keys: u64) -> Vec<KeyRecord> {
    let hashed = |number| {
        let mut record = record(number);
        record.digest = KeyHasher::sha256().digest(key(number));
        record
    };
    (0..keys).map(hashed).collect()
}

/// Serves requests with all keys, and writes their uses when the other node does, too.
async fn serve(store: impl KeyRepository, barrier: Arc<Barrier>) {
    let known = MemoryStore::new();
    for record in records(KEYS) {
        known.insert(&record).await.unwrap();
    }
    let usage = UsageRecorder::new(store).unwrap();
    let layer = ApiKeyLayer::new(known).with_usage(usage.clone());
    for _ in 0..ROUNDS {
        for _ in 0..USES_A_ROUND {
            for number in 0..KEYS {
                ask(&layer, &key(number)).await.unwrap();
            }
        }
        barrier.wait().await;
        usage.flush().await.unwrap();
    }
}

/// Each use is counted once, whoever else writes at the same time.
async fn count_every_use(one: impl KeyRepository, other: impl KeyRepository + Clone) {
    for record in records(KEYS) {
        other.insert(&record).await.unwrap();
    }
    let barrier = Arc::new(Barrier::new(2));
    let nodes =
        [tokio::spawn(serve(one, barrier.clone())), tokio::spawn(serve(other.clone(), barrier))];
    for node in nodes {
        node.await.unwrap();
    }
    let all = 2 * KEYS * ROUNDS * USES_A_ROUND;
    let of_each = all / KEYS;
    let hours = UsageQuery::new(Timestamp::UNIX_EPOCH, Timestamp::from_unix_millis(i64::MAX));
    for record in records(KEYS) {
        let stored = other.get(record.id).await.unwrap().unwrap();
        assert_eq!(stored.use_count, of_each);
        assert_eq!(of_lineage(&other, &hours, record.id).await, of_each);
    }
    let lineages = other.usage_log().unwrap().busiest(&hours, 1_000).await.unwrap();
    assert_eq!(lineages.len() as u64, KEYS);
    assert!(lineages.iter().all(|lineage| lineage.count == of_each));
}

/// A flush after very many keys were used fits into what servers take.
async fn write_many_keys(store: impl KeyRepository + Clone) {
    let known = MemoryStore::new();
    for inserts in records(MANY_KEYS).chunks(500) {
        let changes = Changes::default().with_inserts(inserts.to_vec());
        store.apply(&changes).await.unwrap();
        known.apply(&changes).await.unwrap();
    }
    let usage = UsageRecorder::new(store.clone()).unwrap();
    let layer = ApiKeyLayer::new(known).with_usage(usage.clone());
    for _ in 0..2 {
        for number in 0..MANY_KEYS {
            ask(&layer, &key(number)).await.unwrap();
        }
        usage.flush().await.unwrap();
    }
    let all = UsageQuery::new(Timestamp::UNIX_EPOCH, Timestamp::from_unix_millis(i64::MAX));
    let counts = store.usage_log().unwrap().usage(&all).await.unwrap();
    assert_eq!(counts.iter().map(|usage| usage.count).sum::<u64>(), 2 * MANY_KEYS);
    for number in [0, MANY_KEYS / 2, MANY_KEYS - 1] {
        let stored = store.get(record(number).id).await.unwrap().unwrap();
        assert_eq!(stored.use_count, 2);
    }
}

async fn of_lineage(store: &impl KeyRepository, hours: &UsageQuery, lineage: KeyId) -> u64 {
    let mut query = hours.clone();
    query.lineage = Some(lineage);
    let counts = store.usage_log().unwrap().usage(&query).await.unwrap();
    assert!(counts.iter().all(|usage| usage.outcome == UsageOutcome::Accepted));
    counts.iter().map(|usage| usage.count).sum()
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_counts_every_use_of_two_nodes() {
    let Some((one, database)) = crate::postgres::open().await else { return };
    let other = tower_api_key::store::PostgresStore::connect(database.url()).await.unwrap();
    count_every_use(one, other).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_counts_every_use_of_two_nodes() {
    let Some((one, database)) = crate::mysql::open().await else { return };
    let other = tower_api_key::store::MySqlStore::connect(database.url()).await.unwrap();
    count_every_use(one, other).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_counts_every_use_of_two_nodes() {
    let file = crate::sqlite::File::new();
    count_every_use(file.open().await, file.open().await).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_takes_very_many_keys_at_once() {
    let Some((store, _database)) = crate::postgres::open().await else { return };
    write_many_keys(store).await;
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mysql_takes_very_many_keys_at_once() {
    let Some((store, _database)) = crate::mysql::open().await else { return };
    write_many_keys(store).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_takes_very_many_keys_at_once() {
    let file = crate::sqlite::File::new();
    write_many_keys(file.open().await).await;
}
