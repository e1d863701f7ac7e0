//! Two nodes that count the uses of the same keys in one database.

use std::sync::Arc;

use tokio::{sync::Barrier, time::Instant};
use tower_api_key::{
    ApiKeyLayer, KeyHasher, KeyId, KeyRecord, Timestamp, UsageOutcome, UsageQuery, UsageRecorder,
    store::{KeyRepository, MemoryStore},
};

use crate::{conformance::record, support::ask};

const KEYS: u64 = 100;
const ROUNDS: u64 = 20;
/// Of each key, by each node.
const USES_A_ROUND: u64 = 25;

fn key(number: u64) -> String {
    format!("key-of-two-nodes-{number:04}")
}

fn records() -> Vec<KeyRecord> {
    let hashed = |number| {
        let mut record = record(number);
        record.digest = KeyHasher::sha256().digest(key(number));
        record
    };
    (0..KEYS).map(hashed).collect()
}

/// Serves requests with all keys, and writes their uses when the other node does, too.
async fn serve(store: impl KeyRepository, barrier: Arc<Barrier>) {
    let known = MemoryStore::new();
    for record in records() {
        known.insert(&record).await.unwrap();
    }
    let usage = UsageRecorder::new(store);
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
pub(crate) async fn count_every_use(one: impl KeyRepository, other: impl KeyRepository + Clone) {
    for record in records() {
        other.insert(&record).await.unwrap();
    }
    let (barrier, started) = (Arc::new(Barrier::new(2)), Instant::now());
    let nodes =
        [tokio::spawn(serve(one, barrier.clone())), tokio::spawn(serve(other.clone(), barrier))];
    for node in nodes {
        node.await.unwrap();
    }
    let all = 2 * KEYS * ROUNDS * USES_A_ROUND;
    println!("{all} requests in {:?}", started.elapsed());
    let of_each = all / KEYS;
    let hours = UsageQuery::new(Timestamp::UNIX_EPOCH, Timestamp::from_unix_millis(i64::MAX));
    for record in records() {
        let stored = other.get(record.id).await.unwrap().unwrap();
        assert_eq!(stored.use_count, of_each);
        assert_eq!(of_line(&other, &hours, record.id).await, of_each);
    }
    let lines = other.busiest(&hours, 1_000).await.unwrap();
    assert_eq!(lines.len() as u64, KEYS);
    assert!(lines.iter().all(|line| line.count == of_each));
}

async fn of_line(store: &impl KeyRepository, hours: &UsageQuery, line: KeyId) -> u64 {
    let mut query = hours.clone();
    query.line = Some(line);
    let counts = store.usage(&query).await.unwrap();
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
